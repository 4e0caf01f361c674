package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	contentv1 "github.com/containerd/containerd/api/services/content/v1"
	diffv1 "github.com/containerd/containerd/api/services/diff/v1"
	imagesv1 "github.com/containerd/containerd/api/services/images/v1"
	introspectionv1 "github.com/containerd/containerd/api/services/introspection/v1"
	leasesv1 "github.com/containerd/containerd/api/services/leases/v1"
	snapshotsv1 "github.com/containerd/containerd/api/services/snapshots/v1"
	versionv1 "github.com/containerd/containerd/api/services/version/v1"
	contentapi "github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/core/leases"
	leasesproxy "github.com/containerd/containerd/v2/core/leases/proxy"
	"github.com/containerd/containerd/v2/core/snapshots"
	snapshotsproxy "github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

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

// maxMessage is what containerd itself allows in one message.
const maxMessage = 16 << 20

// Containerd is a containerd that is spoken with through its API. The parts of
// its client library that run containers are left out: they would cost every
// start of ferry some milliseconds.
type Containerd struct {
	conn *grpc.ClientConn
	// where is the socket, as people name it.
	where string

	content contentapi.Store
	leases  leases.Manager
	images  imagesv1.ImagesClient
	diff    diffv1.DiffClient
	cri     runtimeapi.ImageServiceClient
	// snapshotter is the one that the kubelet's images are unpacked with.
	snapshotter *introspectionv1.Plugin

	// loaded: something was loaded a moment ago, of which the CRI may not have
	// heard yet.
	loaded atomic.Bool
	// renamed: and among it was a name that was there before.
	renamed atomic.Bool
	// silent: the CRI was seen not to tell that an image is pinned.
	silent atomic.Bool
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
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	// The first connection is tried here: gRPC would hide why it fails.
	probe, err := dial(ctx)
	if err != nil {
		return nil, &SocketError{Socket: where, Err: reachError(err)}
	}
	_ = probe.Close()
	conn, err := grpc.NewClient("passthrough:///containerd",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: dialPatience}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, &SocketError{Socket: where, Err: err}
	}
	c := &Containerd{
		conn: conn, where: where,
		content: contentproxy.NewContentStore(contentv1.NewContentClient(conn)),
		leases:  leasesproxy.NewLeaseManager(leasesv1.NewLeasesClient(conn)),
		images:  imagesv1.NewImagesClient(conn),
		diff:    diffv1.NewDiffClient(conn),
		cri:     runtimeapi.NewImageServiceClient(conn),
	}
	if err := c.answers(ctx); err != nil {
		return nil, errors.Join(&SocketError{Socket: where, Err: fmt.Errorf("no containerd answers: %w", err)}, conn.Close())
	}
	if err := c.findSnapshotter(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// answers asks for the version.
func (c *Containerd) answers(ctx context.Context) error {
	_, err := versionv1.NewVersionClient(c.conn).Version(ctx, &emptypb.Empty{})
	return errgrpc.ToNative(err)
}

// Close ends the connection.
func (c *Containerd) Close() error { return c.conn.Close() }

// Where is the socket, as people name it.
func (c *Containerd) Where() string { return c.where }

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
func (c *Containerd) Platform(context.Context) (ocispec.Platform, error) {
	p := c.snapshotter.Platforms[0]
	return ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}, nil
}

func (c *Containerd) findSnapshotter(ctx context.Context) error {
	r, err := introspectionv1.NewIntrospectionClient(c.conn).Plugins(ctx,
		&introspectionv1.PluginsRequest{Filters: []string{"type==" + snapshotterType}})
	if err != nil {
		return c.failed("ask for its platform", errgrpc.ToNative(err))
	}
	c.snapshotter = pickSnapshotter(r.Plugins, c.imageFolders(ctx))
	if c.snapshotter == nil {
		return fmt.Errorf("containerd at %s has no snapshotter that works, so it can run nothing", c.where)
	}
	return nil
}

const snapshotterType = "io.containerd.snapshotter.v1"

// imageFolders is where the CRI keeps unpacked images, by its own word; none
// where no CRI answers.
func (c *Containerd) imageFolders(ctx context.Context) []string {
	r, err := c.cri.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
	if err != nil {
		return nil
	}
	var folders []string
	for _, fs := range r.ImageFilesystems {
		folders = append(folders, fs.GetFsId().GetMountpoint())
	}
	return folders
}

// pickSnapshotter takes the one whose folder the CRI names; without a CRI
// overlayfs, containerd's own choice on Linux, or else the first that works.
func pickSnapshotter(all []*introspectionv1.Plugin, folders []string) *introspectionv1.Plugin {
	works := slices.DeleteFunc(slices.Clone(all), func(p *introspectionv1.Plugin) bool {
		return p.InitErr != nil || len(p.Platforms) == 0
	})
	for _, is := range []func(*introspectionv1.Plugin) bool{
		func(p *introspectionv1.Plugin) bool {
			return p.Exports["root"] != "" && slices.Contains(folders, p.Exports["root"])
		},
		func(p *introspectionv1.Plugin) bool { return p.ID == "overlayfs" },
		// blockfile and erofs want layers made for them.
		func(p *introspectionv1.Plugin) bool { return p.ID != "blockfile" && p.ID != "erofs" },
	} {
		if i := slices.IndexFunc(works, is); i >= 0 {
			return works[i]
		}
	}
	return nil
}

// snapshots are the unpacked layers of the kubelet's images.
func (c *Containerd) snapshots() snapshots.Snapshotter {
	return snapshotsproxy.NewSnapshotter(snapshotsv1.NewSnapshotsClient(c.conn), c.snapshotter.ID)
}

// failed says what could not be done at containerd, in its words.
func (c *Containerd) failed(deed string, err error) error {
	if gone(err) {
		return fmt.Errorf("%s: containerd at %s went away: %w", deed, c.where, err)
	}
	return fmt.Errorf("%s: %w", deed, err)
}

// gone says whether err is that nobody answers any more.
func gone(err error) bool { return errdefs.IsUnavailable(err) || errors.Is(err, io.EOF) }

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
