package ferry

import (
	"context"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
	"ferry/internal/diagnose"
	"ferry/internal/ref"
)

// Cluster is a Kubernetes cluster that is read, never written.
type Cluster interface {
	// Place says which cluster it is.
	Place() diagnose.Place
	// Facts reads what there is to know of the images in scope. What could
	// not be looked at is named in them; an error means that nothing could.
	Facts(ctx context.Context, scope diagnose.Scope) (*diagnose.Facts, error)
	// Changed returns when it is time to look at scope again: something
	// changed since facts were read, or that can no longer be told.
	Changed(ctx context.Context, scope diagnose.Scope, facts *diagnose.Facts) error
}

// Prober asks registries from this machine, in a pod's name.
type Prober interface {
	// Way tries the way to the registry of n: name, connection, TLS.
	Way(ctx context.Context, n ref.Name) Way
	// Open returns the repository of n as login sees it; nil means without
	// one. It opens no connection.
	Open(n ref.Name, login *diagnose.Login) (Probed, error)
}

// Probed is a repository as a pod sees it.
type Probed interface {
	content.Source
	// Fetch returns the manifest or index under a tag or digest, checked.
	Fetch(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error)
	// Tags returns at most limit tags.
	Tags(ctx context.Context, limit int) ([]string, error)
}

// Way is how far the way to a registry goes from this machine.
type Way struct {
	Host string // as in URLs, with a port that is not the usual: registry-1.docker.io
	Name string // the same without a port
	// Proxy is set where requests go through one; no step is tried then.
	Proxy string
	// Steps that were tried, in their order. The last may have failed.
	Steps []WayStep
	// PlainHTTP says that the server speaks HTTP where TLS was spoken to it.
	PlainHTTP bool
}

// WayStep is one step of the way.
type WayStep struct {
	Name string // dns, tcp or tls
	To   string // what was found, or tried: addresses
	Took time.Duration
	// Why it failed, in words; "" where it did not.
	Why string
}

// Connects says whether something answers there, be it that no TLS comes of it.
func (w Way) Connects() bool {
	return w.Open() || slices.ContainsFunc(w.Steps, func(s WayStep) bool { return s.Name == "tls" })
}

// Open says whether all steps went well.
func (w Way) Open() bool {
	return w.Proxy != "" || len(w.Steps) > 0 && w.Steps[len(w.Steps)-1].Why == ""
}
