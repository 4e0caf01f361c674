// Package contenttest makes container images on the spot and holds them in
// memory. Tests of every package use it, and the demo seeds its registry with
// it; what it makes is the same bytes on every run.
//
// It is not a store for real images: everything stays in memory. What a place
// of content has to do is checked by package suite below it.
package contenttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

// Store is content in memory, by digest. It is a content.Source, and safe for
// several goroutines at once.
type Store struct {
	mu    sync.RWMutex
	blobs map[digest.Digest][]byte
	// diffs are the digests of layers before they were compressed.
	diffs map[digest.Digest]digest.Digest
}

var _ content.Source = (*Store)(nil)

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{blobs: map[digest.Digest][]byte{}, diffs: map[digest.Digest]digest.Digest{}}
}

// Add puts b into the store. The store keeps b: do not change it afterwards.
func (s *Store) Add(mediaType string, b []byte) ocispec.Descriptor {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	s.Replace(desc.Digest, b)
	return desc
}

// Replace puts b under d, whether or not d is its digest: for tests that need
// a place that holds wrong bytes.
func (s *Store) Replace(d digest.Digest, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = b
}

// Delete takes d out of the store.
func (s *Store) Delete(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blobs, d)
}

// Get returns what is held under d.
func (s *Store) Get(d digest.Digest) ([]byte, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, ok := s.blobs[d]
	return b, ok
}

// All returns everything in the store, in a map of the caller's own.
func (s *Store) All() map[digest.Digest][]byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.blobs)
}

// Open returns the bytes held under desc's digest, from offset on.
func (s *Store) Open(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, ok := s.Get(desc.Digest)
	if !ok {
		return nil, fmt.Errorf("%s in memory: %w", desc.Digest, content.ErrNotFound)
	}
	if offset < 0 || offset > int64(len(b)) {
		return nil, fmt.Errorf("%s in memory: offset %d is outside its %d bytes", desc.Digest, offset, len(b))
	}
	return io.NopCloser(bytes.NewReader(b[offset:])), nil
}
