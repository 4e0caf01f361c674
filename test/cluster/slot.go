package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// slots is how many clusters and containerds may run on a machine at once.
const slots = 8

// markVariable marks every process of a slot, through its environment: what a
// killed run left is found by it, with no list that could be behind the truth.
const markVariable = "FERRY_TEST_CLUSTER"

// A slot is a place for one cluster: its number gives it a folder, a bridge,
// subnets and cgroups of its own. It is held by a lock on a file, which the
// system lets go when the holder dies, however it dies: who takes a slot
// clears what its last holder left.
type slot struct {
	number int
	dir    string
	lock   *os.File
}

// baseDir lies on a real disk: containerd mounts overlays there. It is short,
// since the path of a unix socket has room for 107 bytes.
func baseDir() string {
	if dir := os.Getenv("FERRY_TEST_CLUSTER_DIR"); dir != "" {
		return dir
	}
	return "/var/tmp/ferry-test"
}

// takeSlot waits for a free slot. On the way it clears every slot whose holder
// is gone.
func takeSlot(ctx context.Context) (*slot, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("start a test cluster: only root can make namespaces, cgroups and links")
	}
	for {
		free, err := freeSlots(ctx)
		if err != nil {
			return nil, err
		}
		if len(free) > 0 {
			for _, other := range free[1:] {
				other.release()
			}
			return free[0], os.MkdirAll(free[0].dir, 0o755)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("start a test cluster: all %d places are taken: %w", slots, ctx.Err())
		case <-time.After(time.Second):
		}
	}
}

// Clear removes what killed runs left on this machine.
func Clear(ctx context.Context) error {
	free, err := freeSlots(ctx)
	for _, s := range free {
		s.release()
	}
	return err
}

// freeSlots locks every slot that nobody holds, and clears it.
func freeSlots(ctx context.Context) ([]*slot, error) {
	if err := os.MkdirAll(baseDir(), 0o755); err != nil {
		return nil, err
	}
	var free []*slot
	for i := range slots {
		s := &slot{number: i, dir: filepath.Join(baseDir(), strconv.Itoa(i))}
		var err error
		if s.lock, err = os.OpenFile(s.dir+".lock", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			_ = s.lock.Close()
			continue
		}
		if err := s.clear(ctx); err != nil {
			return nil, err
		}
		free = append(free, s)
	}
	return free, nil
}

func (s *slot) release() { _ = s.lock.Close() }

// mark is the entry of the environment that all processes of the slot have.
func (s *slot) mark() string { return markVariable + "=" + s.dir }

// clear kills, undoes and removes all that belongs to the slot. Mounts end
// with the processes that live among them.
func (s *slot) clear(ctx context.Context) error {
	if err := s.kill(ctx); err != nil {
		return err
	}
	if err := s.removeLinks(ctx); err != nil {
		return err
	}
	if err := removeCgroups(s.cgroupPrefix()); err != nil {
		return err
	}
	left, err := mountsBelow(s.dir)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("clear %s: there are mounts in it: %v", s.dir, left)
	}
	return os.RemoveAll(s.dir)
}

// kill ends the slot's processes, until a look at all processes finds none.
func (s *slot) kill(ctx context.Context) error {
	for end := time.Now().Add(20 * time.Second); ; {
		pids, err := s.processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if time.Now().After(end) {
			return fmt.Errorf("clear %s: processes %v do not end", s.dir, pids)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// processes finds the live processes that have the slot's mark.
func (s *slot) processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	mark := []byte(s.mark())
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A process that is gone, or a zombie, has no environment.
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.Equal(v, mark) }) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func mountsBelow(dir string) ([]string, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	var found []string
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			found = append(found, f[4])
		}
	}
	return found, err
}

// command makes a command whose process has the slot's mark.
func (s *slot) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), s.mark())
	return cmd
}

// daemon starts a program of the slot, outside of its nodes; it writes to
// NAME.log and lives until the slot is cleared.
func (s *slot) daemon(name string, argv ...string) error {
	return start(s.command(context.Background(), argv...), filepath.Join(s.dir, name+".log"))
}

// start starts a command that nobody waits for, in a session of its own.
func start(cmd *exec.Cmd, log string) error {
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go func() { _ = cmd.Wait() }() // or it stays a zombie
	return nil
}

// run runs a command that takes a moment, and tells what it said if it fails.
func run(ctx context.Context, argv ...string) error {
	_, err := output(exec.CommandContext(ctx, argv[0], argv[1:]...))
	return err
}

func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, tail(stderr.String()))
	}
	return stdout.String(), nil
}

// tail is the end of a long output, where the reason stands.
func tail(s string) string {
	const most = 4000
	return s[max(0, len(s)-most):]
}
