package engine

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	contentapi "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"ferry/internal/content"
)

// sending brings blobs to containerd, each once.
type sending struct {
	c     *Containerd
	src   content.Source
	lease leases.Lease
	opts  LoadOptions
	// end ends the whole load, for what concerns all images.
	end context.CancelCauseFunc

	blobs map[digest.Digest]*parcel
	// queue are the configs and layers in the order in which they are sent.
	// Manifests are not in it: they are sent when all that they name is there,
	// so that whoever finds one finds the image.
	queue    []*parcel
	arrivals flights
}

// parcel is a blob with its labels.
type parcel struct {
	desc   ocispec.Descriptor
	labels map[string]string
	// sources are the repositories it belongs to, by registry.
	sources map[string][]string
}

func newSending(c *Containerd, src content.Source, lease leases.Lease, all []Image, opts LoadOptions) *sending {
	s := &sending{c: c, src: src, lease: lease, opts: opts, blobs: map[digest.Digest]*parcel{}}
	for _, img := range all {
		for _, d := range img.Nodes[0].Children() {
			if p, first := s.parcel(d, img); first {
				s.queue = append(s.queue, p)
				s.arrivals.of(d.Digest)
			}
		}
		for _, n := range img.Nodes {
			p, _ := s.parcel(n.Desc, img)
			maps.Copy(p.labels, children(n, img))
		}
	}
	return s
}

func (s *sending) parcel(d ocispec.Descriptor, img Image) (p *parcel, first bool) {
	p = s.blobs[d.Digest]
	if first = p == nil; first {
		p = &parcel{
			desc:   ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size},
			labels: map[string]string{}, sources: map[string][]string{},
		}
		s.blobs[d.Digest] = p
	}
	if !slices.Contains(p.sources[img.Registry], img.Repository) {
		p.sources[img.Registry] = append(p.sources[img.Registry], img.Repository)
	}
	return p, first
}

// children are the labels that keep what n names from garbage collection. Of
// an index only what is sent counts: a label for a child that is not there
// would stop nothing and help nobody.
func children(n *content.Node, img Image) map[string]string {
	labels := map[string]string{}
	for i, m := range n.Manifests {
		if above(img, m.Digest) {
			labels[fmt.Sprintf("%sm.%d", labelGC, i)] = m.Digest.String()
		}
	}
	if n.Config != nil {
		labels[labelGC+"config"] = n.Config.Digest.String()
	}
	for i, l := range n.Layers {
		labels[fmt.Sprintf("%sl.%d", labelGC, i)] = l.Digest.String()
	}
	return labels
}

// above says whether d is one of img's manifests.
func above(img Image, d digest.Digest) bool {
	return slices.ContainsFunc(img.Nodes, func(n *content.Node) bool { return n.Desc.Digest == d })
}

func (s *sending) jobs() int { return max(s.opts.Jobs, 1) }

// work sends the queue.
func (s *sending) work(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(s.jobs())
	for _, p := range s.queue {
		g.Go(func() error {
			w, _ := s.arrivals.of(p.desc.Digest)
			w.err = s.bring(ctx, p)
			close(w.done)
			return nil
		})
	}
	_ = g.Wait()
}

// arrived waits until a blob of the queue is there.
func (s *sending) arrived(ctx context.Context, d digest.Digest) error {
	w, _ := s.arrivals.of(d)
	return w.wait(ctx)
}

// once brings a manifest.
func (s *sending) once(ctx context.Context, d digest.Digest) error {
	return s.arrivals.do(ctx, d, func() error { return s.bring(ctx, s.blobs[d]) })
}

// bring sends p unless it is there, and labels it.
func (s *sending) bring(ctx context.Context, p *parcel) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// Leased before it is asked for: what is there and belongs to no image
	// could be collected between the answer and the image's name.
	if err := s.c.leases.AddResource(ctx, s.lease, leases.Resource{ID: p.desc.Digest.String(), Type: "content"}); err != nil {
		return s.c.failed(fmt.Sprintf("lease %s", p.desc.Digest), err)
	}
	info, err := s.c.content.Info(ctx, p.desc.Digest)
	if errdefs.IsNotFound(err) {
		if err = s.send(ctx, p); err != nil {
			return s.c.failed(fmt.Sprintf("send %s", p.desc.Digest), err)
		}
		info, err = s.c.content.Info(ctx, p.desc.Digest)
	}
	if err == nil {
		err = s.relabel(ctx, p, info)
	}
	if err != nil {
		return s.c.failed(fmt.Sprintf("label %s", p.desc.Digest), err)
	}
	return nil
}

// relabel says where a blob came from, which peers that share images ask for,
// and what it keeps alive.
func (s *sending) relabel(ctx context.Context, p *parcel, info contentapi.Info) error {
	want := p.all(info.Labels)
	var fields []string
	for k, v := range want {
		if info.Labels[k] != v {
			fields = append(fields, "labels."+k)
		}
	}
	if len(fields) == 0 {
		return nil
	}
	_, err := s.c.content.Update(ctx, contentapi.Info{Digest: p.desc.Digest, Labels: want}, fields...)
	return err
}

// all are p's labels, with the repositories that a source label has already.
func (p *parcel) all(had map[string]string) map[string]string {
	labels := maps.Clone(p.labels)
	for registry, repositories := range p.sources {
		key := labelSource + registry
		var all []string
		if had[key] != "" {
			all = strings.Split(had[key], ",")
		}
		for _, r := range repositories {
			if !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
		labels[key] = strings.Join(all, ",")
	}
	return labels
}

// send writes p's bytes. Where an earlier load was interrupted it goes on.
func (s *sending) send(ctx context.Context, p *parcel) error {
	w, err := s.open(ctx, p.desc)
	if errdefs.IsAlreadyExists(err) {
		return nil // another namespace had it, or another client was faster
	}
	if err != nil {
		return err
	}
	defer w.Close()
	r := &lazy{ctx: ctx, desc: p.desc, s: s}
	defer r.Close()
	return contentapi.Copy(ctx, w, r, p.desc.Size, p.desc.Digest, contentapi.WithLabels(p.all(nil)))
}

// The time that another client may stand still on a blob before ferry sends
// it beside it.
const (
	standstill = 10 * time.Second
	lookAgain  = 100 * time.Millisecond
)

// open opens a writer. A blob that another ferry is sending is waited for, as
// long as it gets on.
func (s *sending) open(ctx context.Context, d ocispec.Descriptor) (contentapi.Writer, error) {
	ref := "ferry-" + d.Digest.String()
	var offset int64 = -1
	var since time.Time
	for {
		w, err := s.c.content.Writer(ctx, contentapi.WithRef(ref), contentapi.WithDescriptor(d))
		if err == nil || !errdefs.IsUnavailable(err) {
			return w, err
		}
		// That is said of a blob that someone writes, and of a containerd that
		// does not answer.
		if gone := s.c.answers(ctx); gone != nil {
			return nil, gone
		}
		if status, err := s.c.content.Status(ctx, ref); err == nil && status.Offset != offset {
			offset, since = status.Offset, time.Now()
			s.note(fmt.Sprintf("%s is being sent by another ferry: %d of %d bytes", d.Digest, offset, d.Size))
		}
		if !since.IsZero() && time.Since(since) > standstill {
			s.note(fmt.Sprintf("%s: the other ferry stands still, so it is sent from here", d.Digest))
			ref = fmt.Sprintf("ferry-%s-%s", s.lease.ID, d.Digest)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

func (s *sending) note(text string) {
	if s.opts.Note != nil {
		s.opts.Note(text)
	}
}

// lazy opens a blob when its first byte is asked for: of one that containerd
// has from elsewhere, none is.
type lazy struct {
	ctx  context.Context //nolint:containedctx // of the one copy that this reader is made for
	desc ocispec.Descriptor
	s    *sending

	from int64
	r    io.ReadCloser
}

// Read reads on. An error of the bundle ends the load of all images.
func (l *lazy) Read(p []byte) (int, error) {
	if l.r == nil {
		r, err := l.s.src.Open(l.ctx, l.desc, l.from)
		if err != nil {
			l.s.end(err)
			return 0, err
		}
		l.r = r
	}
	n, err := l.r.Read(p)
	if l.s.opts.Sent != nil && n > 0 {
		l.s.opts.Sent(int64(n))
	}
	if err != nil && err != io.EOF { //nolint:errorlint // a reader returns io.EOF itself
		l.s.end(err)
	}
	return n, err
}

// Seek is for a copy that goes on where an earlier one stopped.
func (l *lazy) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart {
		return 0, fmt.Errorf("seek in %s: only from its start", l.desc.Digest)
	}
	l.Close()
	l.r, l.from = nil, offset
	return offset, nil
}

// Close closes what was opened.
func (l *lazy) Close() {
	if l.r != nil {
		_ = l.r.Close()
	}
}

// Lacks says how many bytes a load of all would send.
func (c *Containerd) Lacks(ctx context.Context, all []Image) (int64, error) {
	ctx = inNamespace(ctx)
	sizes := map[digest.Digest]int64{}
	for _, img := range all {
		for _, d := range img.Nodes[0].Children() {
			sizes[d.Digest] = d.Size
		}
		for _, n := range img.Nodes {
			sizes[n.Desc.Digest] = n.Desc.Size
		}
	}
	missing, err := c.missing(ctx, slices.Collect(maps.Keys(sizes)))
	var sum int64
	for _, d := range missing {
		sum += sizes[d]
	}
	return sum, err
}
