package ferry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ferry/internal/bundle"
	"ferry/internal/ref"
)

// AsBundle returns a bundle of what places name: the file itself where it is
// one; otherwise one in the cache folder, packed or brought up to date. What
// was pulled before is there already, and an interrupted pull goes on. Others
// there that were not used for long make room.
func AsBundle(ctx context.Context, w World, req PackRequest) (string, error) {
	if len(req.Places) == 0 {
		return "", usage("say which bundle or which images")
	}
	if file, ok := bundleFile(req.Places); ok {
		return file, nil
	}
	dir, err := w.cacheDir("packed")
	if err != nil {
		return "", err
	}
	name := cacheName(req) + ".tar"
	req.To = filepath.Join(dir, name)
	req.NoReferrers = true
	w.markUsed(req.To)
	w.trimCache(dir, name)
	_, err = Pack(ctx, w, req)
	if failed, ok := errors.AsType[*PackError](err); ok {
		failed.File = "" // the cache's own, and nobody's errand
	}
	if err != nil {
		return "", err
	}
	return req.To, nil
}

// bundleFile says whether places are one file that ferry pack wrote.
func bundleFile(places []string) (string, bool) {
	if len(places) != 1 {
		return "", false
	}
	place, err := ref.ParsePlace(places[0], exists)
	if err != nil || place.Transport != ref.Archive && place.Transport != ref.OCIArchive || place.Name != "" {
		return "", false
	}
	b, err := bundle.Open(place.Path)
	var not *bundle.NotBundleError
	if errors.As(err, &not) || errors.Is(err, os.ErrNotExist) {
		return "", false
	}
	if err == nil {
		_ = b.Close()
	}
	// A damaged bundle is opened again by the caller, and named so.
	return place.Path, true
}

// cacheName is one name for one request: the same images again find what an
// earlier run left.
func cacheName(req PackRequest) string {
	sum := sha256.Sum256([]byte(strings.Join(req.Places, "\n") + "\n\n" + strings.Join(req.Platforms, "\n")))
	return hex.EncodeToString(sum[:8])
}

// cacheDir is a folder of ferry's in the user's cache.
func (w World) cacheDir(name string) (string, error) {
	if w.CacheDir == "" {
		return "", errors.New("there is no cache folder for this user: set XDG_CACHE_HOME or HOME")
	}
	dir := filepath.Join(w.CacheDir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	return dir, nil
}
