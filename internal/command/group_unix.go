//go:build unix

package command

import (
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// ownGroup starts cmd in a process group of its own, and lets the end of its
// context reach the whole group. The function it returns ends the waiting.
func ownGroup(cmd *exec.Cmd) func() {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var (
		mu    sync.Mutex
		timer *time.Timer
	)
	cmd.Cancel = func() error {
		group := -cmd.Process.Pid
		mu.Lock()
		defer mu.Unlock()
		timer = time.AfterFunc(grace, func() { _ = syscall.Kill(group, syscall.SIGKILL) })
		return syscall.Kill(group, syscall.SIGTERM)
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		// Whoever of the group is left when its leader is gone has had its time.
		if timer != nil && timer.Stop() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	}
}
