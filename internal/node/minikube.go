package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ferry/internal/command"
	"ferry/internal/quote"
	"ferry/internal/ssh"
)

// maxConfig is the most that is read of one of minikube's files, in bytes.
const maxConfig = 1 << 20

// Minikube finds the nodes of a minikube cluster by the files that minikube
// keeps: address, port, user and key of a machine stand there, and nothing of
// it is guessed. An address that looks right may belong to a network that only
// the virtual machine sees.
type Minikube struct {
	// Home is the folder with profiles and machines: ~/.minikube.
	Home string
	// Engines reaches machines that are containers.
	Engines Engines
	// Connect opens SSH connections.
	Connect func(ctx context.Context, o ssh.Options) (*ssh.Client, error)
}

// MinikubeHome is where minikube keeps its files.
func MinikubeHome(getenv func(string) string, home string) string {
	h := getenv("MINIKUBE_HOME")
	switch {
	case h == "":
		return filepath.Join(home, ".minikube")
	case filepath.Base(h) == ".minikube":
		return h
	}
	return filepath.Join(h, ".minikube")
}

// profile is what ferry reads of profiles/NAME/config.json.
type profile struct {
	Name             string
	Driver           string
	VMDriver         string // older
	KubernetesConfig struct{ ContainerRuntime string }
	Nodes            []struct {
		Name             string
		ContainerRuntime string
	}
}

// machine is what ferry reads of machines/NAME/config.json.
type machine struct {
	DriverName string
	Driver     struct {
		IPAddress   string
		SSHUser     string
		SSHPort     int
		SSHKeyPath  string
		MachineName string
		StorePath   string
	}
}

// Nodes returns the nodes of a profile; "" is "minikube".
func (m Minikube) Nodes(ctx context.Context, name string) ([]*Node, error) {
	if name == "" {
		name = "minikube"
	}
	p, err := m.profile(name)
	if err != nil {
		return nil, err
	}
	var nodes []*Node
	for i := range p.Nodes {
		n, err := m.node(ctx, p, i)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("minikube's node %s: %w", p.machineName(i), err), End(nodes))
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func (m Minikube) profile(name string) (*profile, error) {
	missing := &NotFoundError{
		What: fmt.Sprintf("there is no minikube profile %s in %s", name, m.Home),
		Next: "minikube profile list tells which there are; ferry load --to minikube:PROFILE takes another. MINIKUBE_HOME names another folder.",
	}
	if name != filepath.Base(name) || name == ".." || name == "." {
		return nil, missing // a name, and not a path
	}
	var p profile
	err := readJSON(filepath.Join(m.Home, "profiles", name, "config.json"), &p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	if p.Name == "" {
		p.Name = name
	}
	if p.Driver == "" {
		p.Driver = p.VMDriver
	}
	if len(p.Nodes) == 0 {
		return nil, &NotFoundError{What: fmt.Sprintf("minikube profile %s has no nodes", name), Next: "Start it: " + quote.Shell("minikube", "start", "-p", name)}
	}
	return &p, nil
}

// machineName is what a node is called by Kubernetes and by minikube's files.
func (p *profile) machineName(i int) string {
	if n := p.Nodes[i].Name; n != "" && len(p.Nodes) > 1 {
		return p.Name + "-" + n
	}
	return p.Name
}

func (p *profile) runtime(i int) Runtime {
	s := p.Nodes[i].ContainerRuntime
	if s == "" {
		s = p.KubernetesConfig.ContainerRuntime
	}
	if s == "" {
		return Docker // minikube's default, which older profiles do not name
	}
	return ParseRuntime(s)
}

func (m Minikube) node(ctx context.Context, p *profile, i int) (*Node, error) {
	name, runtime := p.machineName(i), p.runtime(i)
	if runtime == "" {
		return nil, fmt.Errorf("its container runtime is none that ferry knows: %q", p.KubernetesConfig.ContainerRuntime)
	}
	n := &Node{Name: name, Kind: KindMinikube, Cluster: p.Name, Runtime: runtime}
	switch p.Driver {
	case "docker", "podman":
		return m.inEngine(ctx, n, p.Driver)
	case "none":
		// minikube without a machine: its node is this one.
		n.Runner, n.Dial = m.Engines.Local, dialHere
		return n, nil
	}
	return m.bySSH(ctx, n, p)
}

// inEngine reaches a machine that is a container: its SSH port is published
// under a number that only the engine knows, which can run programs there
// itself.
func (m Minikube) inEngine(ctx context.Context, n *Node, program string) (*Node, error) {
	all, err := m.Engines.inspect(ctx, program, []string{n.Name})
	if err != nil {
		return nil, err
	}
	if len(all) != 1 || all[0].Config.Labels[labelMinikube] == "" {
		return nil, fmt.Errorf("the container %s is not minikube's", n.Name)
	}
	if !all[0].State.Running {
		return nil, &NotFoundError{What: fmt.Sprintf("the container is %s", all[0].State.Status), Next: "Start it: minikube start"}
	}
	n.Shell = []string{program, "exec", "--privileged", "-i", n.Name}
	n.Runner = inContainer{m.Engines.Local, program, n.Name}
	return n, nil
}

func (m Minikube) bySSH(ctx context.Context, n *Node, p *profile) (*Node, error) {
	var conf machine
	file := filepath.Join(m.Home, "machines", n.Name, "config.json")
	if err := readJSON(file, &conf); err != nil {
		return nil, err
	}
	o, err := conf.options(n.Name, m.Home)
	if err != nil {
		return nil, &NotFoundError{What: fmt.Sprintf("%s: %v", file, err), Next: "Is it running? " + quote.Shell("minikube", "start", "-p", p.Name)}
	}
	return overSSH(ctx, n, o, m.Connect)
}

// options are how minikube itself connects to a machine.
func (c machine) options(name, home string) (ssh.Options, error) {
	d := c.Driver
	o := ssh.Options{Host: d.IPAddress, Port: d.SSHPort, User: d.SSHUser}
	if c.DriverName == "virtualbox" {
		// Its machines are reached through a port of this one.
		o.Host = "127.0.0.1"
	}
	if o.Host == "" {
		return o, errors.New("it has no address")
	}
	if o.User == "" {
		o.User = "docker" // what minikube's drivers set when they start
	}
	key := d.SSHKeyPath
	if key == "" {
		key = filepath.Join(home, "machines", name, "id_rsa")
	}
	o.KeyFiles = []string{key}
	// minikube keeps no host keys, and neither checks any: the machine is one
	// that it made here, and the key opens nothing else.
	o.HostKeys = &ssh.HostKeys{Unchecked: true}
	return o, nil
}

func readJSON(file string, v any) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.Size() > maxConfig {
		return fmt.Errorf("%s is larger than %d bytes", file, maxConfig)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s is not the expected JSON: %w", file, err)
	}
	return nil
}

// asRoot runs programs with sudo.
type asRoot struct{ command.Runner }

// Run implements command.Runner.
func (r asRoot) Run(ctx context.Context, cmd command.Command) error {
	argv := []string{"sudo", "-n"}
	if len(cmd.Env) > 0 {
		argv = append(append(argv, "env"), cmd.Env...)
	}
	cmd.Argv, cmd.Env = append(argv, cmd.Argv...), nil
	return r.Runner.Run(ctx, cmd)
}
