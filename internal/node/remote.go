package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"

	"ferry/internal/command"
	"ferry/internal/ssh"
)

// Destination is what ssh://[USER@]HOST[:PORT][/SOCKET] names.
type Destination struct {
	User, Host string
	Port       int
	// Socket is the runtime's; "" is found out.
	Socket string
}

// String writes d as ParseDestination reads it.
func (d Destination) String() string {
	return "ssh://" + ssh.Options{User: d.User, Host: d.Host, Port: d.Port}.String() + d.Socket
}

// ParseDestination reads an ssh:// address.
func ParseDestination(s string) (Destination, error) {
	wrong := func(why string) (Destination, error) {
		return Destination{}, fmt.Errorf("%q %s: write ssh://user@host, ssh://user@host:port, or ssh://user@host/path/of/the/runtime.sock", s, why)
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "ssh" || u.Opaque != "" {
		return wrong("is no address of a machine")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return wrong("has more than a machine and a socket")
	}
	d := Destination{Host: u.Hostname()}
	if d.Host == "" || strings.HasPrefix(d.Host, "-") {
		return wrong("names no host")
	}
	if u.User != nil {
		d.User = u.User.Username()
		if _, has := u.User.Password(); has {
			return Destination{}, errors.New("ferry takes no passwords for SSH, least of all on a command line: use a key")
		}
	}
	if p := u.Port(); p != "" {
		if d.Port, err = strconv.Atoi(p); err != nil || d.Port < 1 || d.Port > 65535 {
			return wrong("has no possible port")
		}
	}
	if u.Path != "" && u.Path != "/" {
		if path.Clean(u.Path) != u.Path {
			return wrong("has a path that is not plain")
		}
		d.Socket = u.Path
	}
	return d, nil
}

// SSH returns the node behind a destination. base has keys, host keys and the
// user where the destination names none.
func SSH(ctx context.Context, d Destination, base ssh.Options, connect func(context.Context, ssh.Options) (*ssh.Client, error)) (*Node, error) {
	o := base
	o.Host, o.Port = d.Host, d.Port
	if d.User != "" {
		o.User = d.User
	}
	n, err := overSSH(ctx, &Node{Name: d.Host, Kind: KindSSH, Socket: d.Socket}, o, connect)
	if err != nil {
		return nil, err
	}
	if err := n.Find(ctx); err != nil {
		return nil, errors.Join(err, n.End())
	}
	return n, nil
}

// overSSH connects n.
func overSSH(ctx context.Context, n *Node, o ssh.Options, connect func(context.Context, ssh.Options) (*ssh.Client, error)) (*Node, error) {
	c, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	n.Shell, n.Close = o.Command(), c.Close
	if o.User == "root" {
		n.Runner, n.Dial = c, c.DialUnix
		return n, nil
	}
	n.Shell = append(n.Shell, "sudo")
	n.Runner = asRoot{c}
	n.Dial = func(ctx context.Context, socket string) (net.Conn, error) {
		conn, err := c.DialUnix(ctx, socket)
		var refused *ssh.ForwardError
		if errors.As(err, &refused) && refused.Why != ssh.Absent {
			// The user may not open it; root may, where socat is at hand.
			if conn, piped := dialThrough(ctx, n.Runner, socket); piped == nil {
				return conn, nil
			}
		}
		return conn, err
	}
	return n, nil
}

// Find looks which runtime serves the kubelet on n, where that is not known.
func (n *Node) Find(ctx context.Context) error {
	if n.Runtime != "" {
		return nil
	}
	if n.Socket != "" {
		if n.Runtime = runtimeOf(n.Socket); n.Runtime == "" {
			n.Runtime = Containerd // the only one whose socket people put elsewhere
		}
		return nil
	}
	// k3s first: a machine that has docker too runs k3s beside it. cri-dockerd
	// is there only where the kubelet uses docker, which brings a containerd
	// that the kubelet does not look into.
	candidates := []string{socketK3s, socketCRIO, socketDockerCRI, socketContainerd, socketDocker}
	const look = `for s; do if test -S "$s"; then echo "$s"; fi; done`
	out, err := ask(ctx, n.Runner, append([]string{"sh", "-c", look, "sh"}, candidates...)...)
	if err != nil {
		return fmt.Errorf("look which container runtime is there: %w", err)
	}
	first, _, _ := bytes.Cut(out, []byte("\n"))
	n.Socket = string(first)
	n.Runtime = runtimeOf(n.Socket)
	if n.Runtime == "" {
		return &NotFoundError{
			What: n.Name + " has no container runtime where ferry looks: " + strings.Join(candidates, ", "),
			Next: "Name its socket: ssh://user@host/path/of/the/runtime.sock",
		}
	}
	if n.Runtime == Docker {
		n.Socket = socketDocker
	}
	return nil
}

// runtimeOf tells a runtime by its socket's name.
func runtimeOf(socket string) Runtime {
	name := path.Base(socket)
	switch {
	case strings.Contains(name, "docker"):
		return Docker
	case strings.Contains(name, "crio"):
		return CRIO
	case strings.Contains(name, "containerd"):
		return Containerd
	}
	return ""
}

// Here is this machine as a node.
func Here(local command.Runner, runtime Runtime, socket string) *Node {
	return &Node{Name: KindHost, Kind: KindHost, Runtime: runtime, Socket: socket, Runner: local, Dial: dialHere}
}

func dialHere(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", socket)
}
