package cluster

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A container of each containerd answers, and nothing of it is left behind.
func TestContainerd(t *testing.T) {
	for _, r := range Runtimes() {
		t.Run(string(r), func(t *testing.T) {
			before := machine(t)
			var used *slot
			ok := t.Run("runs", func(t *testing.T) { used = runsContainer(t, r) })
			if ok {
				before.same(t, used)
			}
		})
	}
}

func runsContainer(t *testing.T, r Runtime) *slot {
	n := Containerd(t, r)
	if want := strings.TrimPrefix(string(r), "containerd-"); !strings.HasPrefix(n.Version, want) {
		t.Errorf("containerd says it is %q", n.Version)
	}
	image, err := WebImage(t.Context(), "amd64", "")
	if err != nil {
		t.Fatal(err)
	}
	const name = "docker.io/library/web:1"
	if err := n.Import(t.Context(), image, name); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	if out, err := n.Run(t.Context(), "ctr", "run", "-d", "--net-host", name, "web", "/program", "web", port); err != nil {
		t.Fatal(out, err)
	}
	if got := get(t, "http://127.0.0.1:"+port); !strings.Contains(got, "hello") {
		t.Errorf("the container answers %q", got)
	}
	out, err := n.Run(t.Context(), "ctr", "plugins", "ls")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 3 && strings.Contains(f[0]+f[1], "cri") && f[len(f)-1] != "ok" {
			t.Errorf("the CRI is not served: %s", line)
		}
	}
	if left := leftOf(t, n.slot); len(left["processes"]) < 3 || len(left["cgroups"]) == 0 {
		t.Errorf("the test would not see what is left behind: it sees %v", left)
	}
	return n.slot
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// get asks until there is an answer.
func get(t *testing.T, url string) string {
	t.Helper()
	var body []byte
	err := wait(t.Context(), 10*time.Second, url, func() error {
		resp, err := http.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", resp.Status)
		}
		body, err = io.ReadAll(resp.Body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
