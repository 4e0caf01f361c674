package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/pflag"

	"ferry/internal/archive"
	"ferry/internal/command"
	"ferry/internal/content"
	"ferry/internal/engine"
	"ferry/internal/ferry"
	"ferry/internal/node"
	"ferry/internal/quote"
	"ferry/internal/ssh"
	"ferry/internal/ui"
	"ferry/internal/workload"
)

// nodeFlags are the flags of every command that reaches nodes.
type nodeFlags struct {
	ways         []string
	keys         []string
	hostKeyCheck string
}

func (f *nodeFlags) register(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.ways, "node", nil, "how a node of the cluster is reached: NAME=ssh://user@host or NAME=containerd:SOCKET (repeatable)")
	flags.StringArrayVar(&f.keys, "ssh-key", nil, "log in to machines with this key and no other (repeatable; default: the agent's, then ~/.ssh/id_*)")
	flags.StringVar(&f.hostKeyCheck, "host-key-check", "ask", "of machines reached by SSH, as OpenSSH's StrictHostKeyChecking: yes, ask, accept-new or no")
}

// nodes reaches nodes as they are: over SSH, through the engines of this
// machine, by its own sockets.
type nodes struct {
	ways map[string]string // targets by the names of nodes
	base ssh.Options
	env  environment
	// cluster lists the nodes of the cluster that is meant; nil is none.
	cluster func(context.Context) ([]workload.Node, error)
}

// environment is what of this process decides where nodes are looked for.
type environment struct {
	home, hostname, minikube string
}

func newNodes(f *nodeFlags, ask func(address, kind, fingerprint string) bool) (*nodes, error) {
	check, err := ssh.ParseCheck(f.hostKeyCheck)
	if err != nil {
		return nil, &ferry.UsageError{Text: "--host-key-check: " + err.Error()}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = ""
	}
	n := &nodes{ways: map[string]string{}, env: environment{home: home, hostname: hostname, minikube: node.MinikubeHome(os.Getenv, home)}}
	for _, way := range f.ways {
		name, target, ok := strings.Cut(way, "=")
		kind, _, _ := strings.Cut(target, ":")
		if !ok || name == "" || kind != "ssh" && kind != "containerd" {
			return nil, &ferry.UsageError{Text: fmt.Sprintf("--node %s: write NAME=ssh://user@host or NAME=containerd:SOCKET", way)}
		}
		n.ways[name] = target
	}
	n.base = ssh.Options{
		User: userName(), KeyFiles: f.keys, Agent: os.Getenv("SSH_AUTH_SOCK"),
		HostKeys: &ssh.HostKeys{Check: check, Asker: ask, Files: []string{
			filepath.Join(home, ".ssh", "known_hosts"), filepath.Join(home, ".ssh", "known_hosts2"), "/etc/ssh/ssh_known_hosts",
		}},
	}
	for _, key := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		n.base.DefaultKeyFiles = append(n.base.DefaultKeyFiles, filepath.Join(home, ".ssh", key))
	}
	return n, nil
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}

// askHostKey asks on the terminal, one host after another. nil is nobody there
// to be asked.
func (a *app) askHostKey(ctx context.Context) func(address, kind, fingerprint string) bool {
	if !a.printer.Terminal || !ui.IsTerminal(os.Stdin) {
		return nil
	}
	return func(address, kind, fingerprint string) bool {
		fmt.Fprintf(a.printer.Err, "%s is not known yet. Its host key is %s %s\nConnect, and remember it? [y/N] ",
			quote.Terminal(address), quote.Terminal(kind), quote.Terminal(fingerprint))
		return a.answerYes(ctx, os.Stdin)
	}
}

// answerYes reads one line, and takes only yes for yes. Ctrl-C is no, though
// the line that was to be read goes on being read.
func (a *app) answerYes(ctx context.Context, r io.Reader) bool {
	line := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(r).ReadString('\n') // what came before an error is the line
		line <- s
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.printer.Err) // the question's line ends here
		return false
	case s := <-line:
		word := strings.ToLower(strings.TrimSpace(s))
		return word == "y" || word == "yes"
	}
}

func (n *nodes) engines() node.Engines {
	return node.Engines{Local: command.Local{}, Programs: []string{"docker", "podman"}}
}

func (n *nodes) minikube() node.Minikube {
	return node.Minikube{Home: n.env.minikube, Engines: n.engines(), Connect: ssh.Dial}
}

// targets are the nodes behind a target of load; ok is false where the target
// is of another kind.
func (n *nodes) targets(ctx context.Context, target string) (all []ferry.NamedRuntime, ok bool, err error) {
	kind, rest, _ := strings.Cut(target, ":")
	var found []*node.Node
	switch kind {
	case "cluster":
		if rest != "" || n.cluster == nil {
			return nil, false, nil
		}
		all, err = n.ofCluster(ctx)
		return all, true, err
	case "minikube":
		found, err = n.minikube().Nodes(ctx, rest)
	case "kind":
		found, err = n.engines().Kind(ctx, rest)
	case "k3d":
		found, err = n.engines().K3d(ctx, rest)
	case "ssh":
		d, err := node.ParseDestination(target)
		if err != nil {
			return nil, true, &ferry.UsageError{Text: "--to " + err.Error()}
		}
		return []ferry.NamedRuntime{n.overSSH(d.String(), d)}, true, nil
	default:
		return nil, false, nil
	}
	for _, f := range found {
		all = append(all, nodeRuntime(f.Name, func(context.Context) (*node.Node, error) { return f, nil }))
	}
	return all, true, err
}

// ofCluster are all nodes of the cluster that is meant.
func (n *nodes) ofCluster(ctx context.Context) ([]ferry.NamedRuntime, error) {
	list, err := n.cluster(ctx)
	if err != nil {
		return nil, err
	}
	var all []ferry.NamedRuntime
	for _, f := range list {
		all = append(all, n.clusterNode(ctx, f))
	}
	if len(all) == 0 {
		return nil, &node.NotFoundError{What: "the cluster has no nodes", Next: "kubectl get nodes tells which there are."}
	}
	return all, nil
}

// or asks others for the targets that are no nodes.
func (n *nodes) or(others func(context.Context, string) ([]ferry.NamedRuntime, error)) func(context.Context, string) ([]ferry.NamedRuntime, error) {
	return func(ctx context.Context, target string) ([]ferry.NamedRuntime, error) {
		all, ok, err := n.targets(ctx, target)
		if ok {
			return all, err
		}
		return others(ctx, target)
	}
}

func (n *nodes) overSSH(name string, d node.Destination) ferry.NamedRuntime {
	return nodeRuntime(name, func(ctx context.Context) (*node.Node, error) {
		return node.SSH(ctx, d, n.base, ssh.Dial)
	})
}

// nodeRuntime is a node as load sees it. It is reached when it is asked for the
// first time: one that cannot be reached fails alone.
func nodeRuntime(name string, find func(context.Context) (*node.Node, error)) ferry.NamedRuntime {
	l := &lateRuntime{find: find}
	return ferry.NamedRuntime{Name: name, Kind: "node", Runtime: l, ByHand: l.byHand}
}

// lateRuntime is a node's runtime, by the best way there is to it.
type lateRuntime struct {
	find func(context.Context) (*node.Node, error)

	once sync.Once
	node *node.Node
	ferry.Runtime
	err error
}

func (l *lateRuntime) open(ctx context.Context) error {
	l.once.Do(func() {
		if l.node, l.err = l.find(ctx); l.err != nil {
			return
		}
		s := streamNode{Node: l.node}
		if l.node.Runtime == node.Docker {
			docker := engine.Engine{Program: "docker", Run: l.node.Runner}
			s.inContainerd, l.err = docker.InContainerd(ctx)
		}
		l.Runtime = s
		if l.node.Runtime != node.Containerd || l.node.Dial == nil {
			return
		}
		c, err := engine.OpenContainerd(ctx, l.node.Address(), func(ctx context.Context) (net.Conn, error) {
			return l.node.Dial(ctx, l.node.Address())
		})
		if err == nil {
			l.Runtime = containerdNode{c}
			return
		}
		// Where its API cannot be reached, the runtime's own client may do, if
		// a program can be run there.
		if l.node.Answers(ctx) != nil {
			l.err = err
		}
	})
	return l.err
}

// Platform reaches the node.
func (l *lateRuntime) Platform(ctx context.Context) (ocispec.Platform, error) {
	if err := l.open(ctx); err != nil {
		return ocispec.Platform{}, err
	}
	return l.Runtime.Platform(ctx)
}

// Opened is the runtime that the node turned out to have.
func (l *lateRuntime) Opened() ferry.Runtime { return l.Runtime }

// Close ends the connection.
func (l *lateRuntime) Close() error {
	var errs []error
	if l.Runtime != nil {
		errs = append(errs, l.Runtime.Close())
	}
	if l.node != nil {
		errs = append(errs, l.node.End())
	}
	return errors.Join(errs...)
}

// byHand are the words that a person would type for this node.
func (l *lateRuntime) byHand(file string, _ []ferry.LoadImage) [][]string {
	if l.node == nil {
		return nil
	}
	return l.node.ByHand(file)
}

// streamNode is a node whose runtime takes an archive from its importer's
// input.
type streamNode struct {
	*node.Node
	// inContainerd: its docker keeps images there, with their digests.
	inContainerd bool
}

// Platform is what the node's kernel says.
func (s streamNode) Platform(ctx context.Context) (ocispec.Platform, error) {
	p, err := s.Node.Platform(ctx)
	if err != nil {
		return ocispec.Platform{}, err
	}
	return content.ParsePlatform(p)
}

// Close does nothing: the node is closed by whoever opened it.
func (streamNode) Close() error { return nil }

// Load writes the images as one stream: what is read from the bundle goes
// straight into the importer.
func (s streamNode) Load(ctx context.Context, d ferry.Delivery) error {
	write := archive.WriteDocker
	if s.Runtime == node.Containerd || s.inContainerd {
		write = archive.WriteOCI
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(write(ctx, w, d.Source, entries(d.Images), d.Sent)) }()
	err := s.Import(ctx, r)
	r.CloseWithError(errors.New("the importer ended"))
	if err != nil || !d.Pin {
		return err
	}
	for _, img := range d.Images {
		for _, name := range s.names(img) {
			if err := s.Pin(ctx, name); err != nil {
				return fmt.Errorf("pin %s: %w", name, err)
			}
		}
	}
	return nil
}

// names are those that the importer gives an image.
func (s streamNode) names(img ferry.LoadImage) []string {
	if s.Runtime == node.Containerd {
		return img.Names()
	}
	return []string{img.Label()}
}

// Holds asks the runtime for each name.
func (s streamNode) Holds(ctx context.Context, img ferry.LoadImage) (ferry.Held, error) {
	if s.Runtime != node.Containerd && img.Name == "" {
		return ferry.Held{}, fmt.Errorf("%s takes no image that has only a digest for a name; give it a tag when you pack it", s.Runtime)
	}
	var held ferry.Held
	for _, name := range s.names(img) {
		h, err := s.Look(ctx, name)
		if errors.Is(err, node.ErrNoImage) {
			return held, fmt.Errorf("%s: %w", name, content.ErrNotFound)
		}
		if err != nil {
			return held, err
		}
		held = s.held(h, img)
		if !held.Is(img) {
			return held, nil
		}
	}
	return held, nil
}

func (s streamNode) held(h node.Held, img ferry.LoadImage) ferry.Held {
	platform := content.FormatPlatform(&img.Platform)
	held := ferry.Held{
		Config: h.ID, Complete: h.Platform == "" || slices.Contains(strings.Split(h.Platform, ","), platform),
		Pin: ferry.PinCannot, As: "by " + string(s.Runtime) + "'s word",
	}
	if s.Runtime == node.Containerd {
		held.As, held.Pin = "in "+engine.Namespace, ferry.PinNo
		if h.Pinned {
			held.Pin = ferry.PinYes
		}
		if len(h.Digests) > 0 {
			held.Digest = h.Digests[0]
		}
		return held
	}
	switch {
	case s.inContainerd:
		held.Digest, held.Config = h.ID, ""
	case slices.Contains(h.Digests, img.Top.Digest):
		held.Digest = img.Top.Digest
	}
	return held
}
