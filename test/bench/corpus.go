package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// corpus is what the registry holds. Its shape: 18 images of 3 to 4 layers on
// 5 shared bases, an index of 4 platforms, an image of 60 small layers. Layers
// are tars of pseudo-random files in gzip's stored form, so that the bytes are
// the same wherever they are made, and nobody gains by recompressing.
type corpus struct {
	// Images are REPOSITORY without host; all have the tag 1.
	Images []string
	// Changed is the one that has a tag 2 too, with one layer replaced.
	Changed string
	// Unique is the sum of all blobs and manifests of the tags 1, in bytes;
	// Unshared is the sum if nothing were shared; New is what tag 2 adds.
	Unique, Unshared, New int64
	Layers                int
	// Node is one more image, with the tag 1, for those that load: its layers
	// gzip packs to under a half, as it does those of programs. Packed is the
	// sum of its layers, in bytes. It is in none of the sums above.
	Node   string
	Packed int64

	addr string
}

// refs are the images by name, of the changed one the given tag.
func (c *corpus) refs(host, changedTag string) []string {
	var refs []string
	for _, repo := range c.Images {
		tag := "1"
		if repo == c.Changed {
			tag = changedTag
		}
		refs = append(refs, host+"/"+repo+":"+tag)
	}
	return refs
}

// openCorpus returns the corpus that the registry holds, made if it is not
// there. The file that describes it is written last.
func openCorpus(ctx context.Context, dir, addr string, quick bool) (*corpus, error) {
	file := filepath.Join(dir, "corpus.json")
	c := &corpus{addr: addr}
	b, err := os.ReadFile(file)
	if err == nil {
		if err := json.Unmarshal(b, c); err != nil || c.Node != "" {
			return c, err
		}
	}
	fmt.Fprintln(os.Stderr, "making the corpus, once")
	m := &maker{ctx: ctx, addr: addr, scale: 1, corpus: c, blobs: map[string]int64{}, homes: map[string]string{}}
	if quick {
		m.scale = 20
	}
	steps := []func() error{m.nodeImage}
	if err != nil {
		steps = []func() error{m.applications, m.multiArch, m.manyLayers, m.newVersion, m.nodeImage}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, fmt.Errorf("make the corpus: %w", err)
		}
	}
	if b, err = json.MarshalIndent(c, "", "  "); err != nil {
		return nil, err
	}
	return c, os.WriteFile(file, b, 0o644)
}

type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Size      int64     `json:"size"`
	Platform  *platform `json:"platform,omitempty"`

	diffID string
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// maker pushes the corpus while it makes it: nothing is kept but sums.
type maker struct {
	ctx    context.Context
	addr   string
	scale  int64
	corpus *corpus
	seed   uint64
	words  bool              // layers that gzip makes smaller
	blobs  map[string]int64  // what is in the registry, by digest
	homes  map[string]string // a repository that has it
}

const kb, mb = int64(1e3), int64(1e6)

// applications are 18 images on 5 bases.
func (m *maker) applications() error {
	bases := []int64{200 * mb, 140 * mb, 80 * mb, 60 * mb, 30 * mb}
	made := make([]*descriptor, len(bases))
	for i := range 18 {
		repo := fmt.Sprintf("bench/app-%02d", i)
		base := made[i%len(bases)]
		if base == nil {
			d, err := m.layer(repo, bases[i%len(bases)])
			if err != nil {
				return err
			}
			base, made[i%len(bases)] = &d, &d
		}
		own := []int64{42400 * kb, 12600 * kb, 2600 * kb}
		if i >= 12 {
			own = []int64{30 * mb, 4 * mb}
		}
		layers, err := m.layers(repo, own)
		if err != nil {
			return err
		}
		if _, err := m.image(repo, "1", "amd64", append([]descriptor{*base}, layers...)); err != nil {
			return err
		}
		m.corpus.Images = append(m.corpus.Images, repo)
	}
	return nil
}

// multiArch is one name for 4 platforms.
func (m *maker) multiArch() error {
	const repo = "bench/multi"
	var children []descriptor
	for _, arch := range []string{"amd64", "arm64", "ppc64le", "s390x"} {
		layers, err := m.layers(repo, []int64{45 * mb, 15 * mb, 5 * mb})
		if err != nil {
			return err
		}
		d, err := m.image(repo, "", arch, layers)
		if err != nil {
			return err
		}
		d.Platform = &platform{arch, "linux"}
		children = append(children, d)
	}
	m.corpus.Images = append(m.corpus.Images, repo)
	_, err := m.manifest(repo, "1", typeIndex, map[string]any{
		"schemaVersion": 2, "mediaType": typeIndex, "manifests": children,
	})
	return err
}

// manyLayers is one image of 60 layers from 1 KB up.
func (m *maker) manyLayers() error {
	const repo = "bench/many"
	var sizes []int64
	for i := range int64(60) {
		sizes = append(sizes, kb+i*i*150)
	}
	layers, err := m.layers(repo, sizes)
	if err != nil {
		return err
	}
	m.corpus.Images = append(m.corpus.Images, repo)
	_, err = m.image(repo, "1", "amd64", layers)
	return err
}

// newVersion is tag 2 of one application: its 12.6 MB layer is another.
func (m *maker) newVersion() error {
	c := m.corpus
	c.Changed, c.Layers = "bench/app-05", len(m.homes)
	for _, size := range m.blobs {
		c.Unique += size
	}
	unshared := c.Unshared
	layers, err := m.again(c.Changed)
	if err != nil {
		return err
	}
	changed, err := m.layer(c.Changed, 12600*kb)
	if err != nil {
		return err
	}
	layers[2] = changed
	if _, err := m.image(c.Changed, "2", "amd64", layers); err != nil {
		return err
	}
	for _, size := range m.blobs {
		c.New += size
	}
	c.New -= c.Unique
	c.Unshared = unshared
	return nil
}

// nodeImage is one of about 540 MB, in 8 layers.
func (m *maker) nodeImage() error {
	const repo = "bench/node"
	unshared := m.corpus.Unshared
	m.seed, m.words = 1000, true
	layers, err := m.layers(repo, []int64{200 * mb, 120 * mb, 80 * mb, 60 * mb, 40 * mb, 25 * mb, 10 * mb, 5 * mb})
	if err != nil {
		return err
	}
	for _, l := range layers {
		m.corpus.Packed += l.Size
	}
	_, err = m.image(repo, "1", runtime.GOARCH, layers)
	m.corpus.Node, m.corpus.Unshared = repo, unshared
	return err
}

// again reads the layers of tag 1 of a repository from the registry.
func (m *maker) again(repo string) ([]descriptor, error) {
	var man struct {
		Config descriptor   `json:"config"`
		Layers []descriptor `json:"layers"`
	}
	if err := m.get("/v2/"+repo+"/manifests/1", &man); err != nil {
		return nil, err
	}
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := m.get("/v2/"+repo+"/blobs/"+man.Config.Digest, &config); err != nil {
		return nil, err
	}
	for i := range man.Layers {
		man.Layers[i].diffID = config.RootFS.DiffIDs[i]
	}
	return man.Layers, nil
}

func (m *maker) layers(repo string, sizes []int64) ([]descriptor, error) {
	var all []descriptor
	for _, size := range sizes {
		d, err := m.layer(repo, size)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// layer makes one of about size bytes in the registry.
func (m *maker) layer(repo string, size int64) (descriptor, error) {
	m.seed++
	size = max(size/m.scale, kb)
	location, err := m.start(repo, "")
	if err != nil {
		return descriptor{}, err
	}
	r, w := io.Pipe()
	diff, packed := sha256.New(), sha256.New()
	count := &counter{}
	go func() { _ = w.CloseWithError(m.write(io.MultiWriter(w, packed, count), diff, size)) }()
	location, err = m.send(http.MethodPatch, location, "application/octet-stream", r)
	_ = r.CloseWithError(err)
	if err != nil {
		return descriptor{}, err
	}
	d := descriptor{MediaType: typeLayer, Digest: hexSum(packed), Size: count.n, diffID: hexSum(diff)}
	if err := m.finish(location, d.Digest, nil); err != nil {
		return descriptor{}, err
	}
	m.blobs[d.Digest], m.homes[d.Digest] = d.Size, repo
	return d, nil
}

// write writes a gzip'ed tar of about size bytes, of files whose bodies the
// seed decides; the tar alone goes to diff.
func (m *maker) write(w io.Writer, diff io.Writer, size int64) error {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], m.seed)
	noise := rand.NewChaCha8(key)
	if !m.words {
		return writeLayer(w, diff, gzip.NoCompression, noise, m.seed, size)
	}
	return writeLayer(w, diff, gzip.DefaultCompression, newProse(noise), m.seed, size*prosePacks/100)
}

func writeLayer(w io.Writer, diff io.Writer, level int, body io.Reader, seed uint64, size int64) error {
	z, err := gzip.NewWriterLevel(w, level)
	if err != nil {
		return err
	}
	t := tar.NewWriter(io.MultiWriter(z, diff))
	const file = int64(4e6)
	for n := 0; size > 0; n++ {
		part := min(size, file)
		size -= part
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: fmt.Sprintf("srv/%d/%d", seed, n), Mode: 0o644, Size: part,
			ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.CopyN(t, body, part); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return z.Close()
}

// prose is what programs and their data look like to gzip: blocks of words
// between blocks of noise.
type prose struct {
	noise *rand.ChaCha8
	words [1024][]byte
	block []byte
}

// prosePacks is how large prose is when 100 are left of it by gzip, about.
const prosePacks = 226

func newProse(noise *rand.ChaCha8) *prose {
	p := &prose{noise: noise}
	for i := range p.words {
		p.words[i] = make([]byte, 3+noise.Uint64()%8)
		for k := range p.words[i] {
			p.words[i][k] = byte('a' + noise.Uint64()%26)
		}
	}
	return p
}

func (p *prose) Read(b []byte) (int, error) {
	if len(p.block) == 0 {
		const words, noise = 6 << 10, 1 << 10
		for len(p.block) < words {
			n := p.noise.Uint64()
			for range 6 { // 10 bits a word
				p.block = append(append(p.block, p.words[n%1024]...), ' ')
				n >>= 10
			}
		}
		at := len(p.block)
		p.block = append(p.block, make([]byte, noise)...)
		_, _ = p.noise.Read(p.block[at:])
	}
	n := copy(b, p.block)
	p.block = p.block[n:]
	return n, nil
}

// image pushes a manifest of layers with its config.
func (m *maker) image(repo, tag, arch string, layers []descriptor) (descriptor, error) {
	var diffs []string
	for i, l := range layers {
		diffs = append(diffs, l.diffID)
		layers[i].Platform = nil
		m.corpus.Unshared += l.Size
		if m.homes[l.Digest] != repo {
			if _, err := m.start(repo, "?mount="+l.Digest+"&from="+m.homes[l.Digest]); err != nil {
				return descriptor{}, err
			}
		}
	}
	config, err := json.Marshal(map[string]any{
		"architecture": arch, "os": "linux", "config": map[string]any{"Labels": map[string]string{"image": repo, "tag": tag}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.Sum256(config)
	cfg := descriptor{MediaType: typeConfig, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(config))}
	location, err := m.start(repo, "")
	if err != nil {
		return descriptor{}, err
	}
	if err := m.finish(location, cfg.Digest, config); err != nil {
		return descriptor{}, err
	}
	m.blobs[cfg.Digest] = cfg.Size
	m.corpus.Unshared += cfg.Size
	return m.manifest(repo, tag, typeManifest, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": cfg, "layers": layers,
	})
}

func (m *maker) manifest(repo, tag, mediaType string, v any) (descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.Sum256(b)
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(b))}
	if tag == "" {
		tag = d.Digest
	}
	_, err = m.send(http.MethodPut, "/v2/"+repo+"/manifests/"+tag, mediaType, bytes.NewReader(b))
	m.blobs[d.Digest] = d.Size
	m.corpus.Unshared += d.Size
	return d, err
}

func (m *maker) start(repo, query string) (string, error) {
	return m.send(http.MethodPost, "/v2/"+repo+"/blobs/uploads/"+query, "", nil)
}

func (m *maker) finish(location, digest string, body []byte) error {
	u, err := url.Parse(location)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set("digest", digest)
	u.RawQuery = q.Encode()
	_, err = m.send(http.MethodPut, u.String(), "application/octet-stream", bytes.NewReader(body))
	return err
}

// send sends body and returns the Location of the answer.
func (m *maker) send(method, target, mediaType string, body io.Reader) (string, error) {
	resp, err := m.do(method, target, mediaType, body)
	if err != nil {
		return "", err
	}
	return resp.Header.Get("Location"), resp.Body.Close()
}

func (m *maker) get(target string, v any) error {
	resp, err := m.do(http.MethodGet, target, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(io.LimitReader(resp.Body, 4<<20)).Decode(v)
}

func (m *maker) do(method, target, mediaType string, body io.Reader) (*http.Response, error) {
	u, err := url.Parse("http://" + m.addr)
	if err != nil {
		return nil, err
	}
	if u, err = u.Parse(target); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(m.ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", typeManifest)
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s %s: %s: %s", method, u.Path, resp.Status, b)
	}
	return resp, nil
}

type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

func hexSum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
