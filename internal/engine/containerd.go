package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"ferry/internal/content"
)

// Namespace is where the kubelet looks for images.
const Namespace = "k8s.io"

// Sockets are where containerd listens by default, and where k3s and rke2
// have their own.
func Sockets() []string {
	return []string{"/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock"}
}

// dialPatience is how long containerd may take to answer for the first time.
const dialPatience = 10 * time.Second

// Containerd is a containerd that is spoken with through its API.
type Containerd struct {
	client *containerd.Client
	conn   *grpc.ClientConn
	// where is the socket, as people name it.
	where string
}

// Dial opens a connection to containerd's socket, wherever that is.
type Dial func(ctx context.Context) (net.Conn, error)

// LocalSocket dials a socket of this machine.
func LocalSocket(path string) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
}

// OpenContainerd connects to a containerd and asks for its version.
func OpenContainerd(ctx context.Context, where string, dial Dial) (*Containerd, error) {
	// The first connection is tried here: gRPC would hide why it fails.
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	probe, err := dial(ctx)
	if err != nil {
		return nil, &SocketError{Socket: where, Err: reachError(err)}
	}
	_ = probe.Close()
	conn, err := grpc.NewClient("passthrough:///containerd",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: dialPatience}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20), grpc.MaxCallSendMsgSize(16<<20)))
	if err != nil {
		return nil, &SocketError{Socket: where, Err: err}
	}
	client, err := containerd.NewWithConn(conn, containerd.WithDefaultNamespace(Namespace))
	if err != nil {
		return nil, errors.Join(&SocketError{Socket: where, Err: err}, conn.Close())
	}
	if _, err := client.Version(ctx); err != nil {
		return nil, errors.Join(&SocketError{Socket: where, Err: fmt.Errorf("no containerd answers: %w", err)}, client.Close())
	}
	return &Containerd{client: client, conn: conn, where: where}, nil
}

// Close ends the connection.
func (c *Containerd) Close() error { return c.client.Close() }

// SocketError says that a containerd could not be spoken with.
type SocketError struct {
	Socket string
	Err    error
}

func (e *SocketError) Error() string { return fmt.Sprintf("containerd at %s: %v", e.Socket, e.Err) }

func (e *SocketError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *SocketError) Hint() string {
	switch {
	case errors.Is(e.Err, os.ErrPermission):
		return "Its socket belongs to root: run ferry with sudo."
	case errors.Is(e.Err, os.ErrNotExist):
		return "Is containerd running here? Another socket is written --to containerd:/path/to/containerd.sock (k3s: /run/k3s/containerd/containerd.sock)."
	}
	return "Is containerd running, and is that its socket?"
}

// reachError takes the address out of err: SocketError names it.
func reachError(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err
	}
	return err
}

// Platform is what the runtime's snapshots are for, by its own word.
func (c *Containerd) Platform(ctx context.Context) (ocispec.Platform, error) {
	r, err := c.client.IntrospectionService().Plugins(ctx, `type~="io.containerd.snapshotter.*"`)
	if err != nil {
		return ocispec.Platform{}, c.failed("ask for its platform", err)
	}
	plugin := snapshotterOf(r.Plugins)
	if plugin == nil {
		return ocispec.Platform{}, fmt.Errorf("containerd at %s has no snapshotter that works, so it can run nothing", c.where)
	}
	p := plugin.Platforms[0]
	return ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}, nil
}

// snapshotterOf is the snapshotter that images are unpacked with: overlayfs,
// containerd's own choice on Linux, where it works.
func snapshotterOf(all []*introspection.Plugin) *introspection.Plugin {
	var first *introspection.Plugin
	for _, p := range all {
		if p.InitErr != nil || len(p.Platforms) == 0 {
			continue
		}
		if p.ID == "overlayfs" {
			return p
		}
		if first == nil && slices.Contains([]string{"native", "stargz", "fuse-overlayfs", "zfs", "btrfs", "devmapper"}, p.ID) {
			first = p
		}
	}
	return first
}

// failed says what could not be done at containerd, in its words.
func (c *Containerd) failed(deed string, err error) error {
	if errdefs.IsUnavailable(err) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: containerd at %s went away: %w", deed, c.where, err)
	}
	return fmt.Errorf("%s: %w", deed, err)
}

// inNamespace is ctx for the kubelet's images.
func inNamespace(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, Namespace)
}

// notFound is err, or content.ErrNotFound where that is what it says.
func notFound(err error, name string) error {
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%s: %w", name, content.ErrNotFound)
	}
	return err
}

// addSource adds a repository to a source label, which lists several.
func addSource(had, repository string) string {
	if had == "" {
		return repository
	}
	all := strings.Split(had, ",")
	if slices.Contains(all, repository) {
		return had
	}
	return strings.Join(append(all, repository), ",")
}
