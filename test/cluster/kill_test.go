package cluster

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A run that is killed leaves a cluster; the next run finds and clears it, and
// leaves others alone that are in use.
func TestKilledRunIsCleared(t *testing.T) {
	other := Containerd(t, V2)
	before := machine(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestHelperIsKilled$", "-test.v")
	cmd.Env = append(os.Environ(), "FERRY_TEST_BE_KILLED=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &slot{number: -1}
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		if _, dir, ok := strings.Cut(scanner.Text(), "UP IN "); ok {
			s.dir = dir
			s.number, _ = strconv.Atoi(dir[strings.LastIndexByte(dir, '/')+1:])
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if s.number < 0 || s.number == other.slot.number {
		t.Fatalf("the helper ran in slot %d, this test in %d", s.number, other.slot.number)
	}
	left := leftOf(t, s)
	for _, what := range []string{"folder", "processes", "links", "cgroups"} {
		if len(left[what]) == 0 {
			t.Errorf("the killed run left no %s, so this test proves nothing", what)
		}
	}
	if err := Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	before.same(t, s)
	if _, err := other.Run(t.Context(), "ctr", "version"); err != nil {
		t.Errorf("a containerd in use was cleared as well: %v", err)
	}
}

// TestHelperIsKilled is no test: TestKilledRunIsCleared runs and kills it.
func TestHelperIsKilled(t *testing.T) {
	if os.Getenv("FERRY_TEST_BE_KILLED") == "" {
		return
	}
	c := Up(t, Options{})
	fmt.Println("UP IN " + c.Dir)
	time.Sleep(time.Minute)
}

// What a node sends reaches the bridge's address and no other, not even this
// machine's own.
func TestNothingLeavesTheNode(t *testing.T) {
	c := Up(t, Options{})
	elsewhere := otherAddress(t, c.Gateway)
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	dial := func(host string) error {
		_, err := c.Nodes[0].Run(t.Context(), "timeout", "2", "bash", "-c", "</dev/tcp/"+host+"/"+port)
		return err
	}
	if err := dial(c.Gateway); err != nil {
		t.Errorf("the node cannot reach the bridge: %v", err)
	}
	if err := dial(elsewhere); err == nil {
		t.Errorf("the node reached %s", elsewhere)
	}
}

// otherAddress is an IPv4 address of this machine that is not the bridge's.
func otherAddress(t *testing.T, not string) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !strings.HasPrefix(n.IP.String(), "10.250.") && n.IP.String() != not {
			return n.IP.String()
		}
	}
	t.Fatal("this machine has no other address to try")
	return ""
}

// The first process ends all others of its node: a test of the harness's own
// promise, that nothing has to be listed to be ended.
func TestFirstProcessEndsTheNode(t *testing.T) {
	n := Containerd(t, V2)
	if err := n.Start("sleeper", "sleep", "1000"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := wait(t.Context(), 5*time.Second, "the node to end", func() error {
		pids, err := n.slot.processes()
		if err == nil && len(pids) > 0 {
			err = fmt.Errorf("there are still %v", pids)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
