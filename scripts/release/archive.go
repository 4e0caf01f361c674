package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// entry is a file of an archive.
type entry struct {
	name string
	mode fs.FileMode
	body []byte
}

// pack writes the archive for t and returns its path.
func (r *release) pack(t target, bin string, third []component) (string, error) {
	files := []entry{{name: t.exe(), mode: 0o755}, {name: "LICENSE", mode: 0o644}, {name: "README.md", mode: 0o644}}
	for i, from := range []string{bin, "LICENSE", "README.md"} {
		b, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		files[i].body = b
	}
	files = append(files, entry{"THIRD_PARTY_LICENSES", 0o644, thirdPartyText(third)})
	name, write := r.name(t)+".tar.gz", tarGz
	if t.os == "windows" {
		name, write = r.name(t)+".zip", zipped
	}
	b, err := write(r.name(t), files, r.date)
	if err != nil {
		return "", err
	}
	out := filepath.Join(r.to, name)
	return out, os.WriteFile(out, b, 0o644)
}

// tarGz returns files below folder, the same bytes for the same input.
func tarGz(folder string, files []entry, date time.Time) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	for _, f := range files {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: folder + "/" + f.name, Mode: int64(f.mode.Perm()),
			Size: int64(len(f.body)), ModTime: date, Format: tar.FormatUSTAR,
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.body); err != nil {
			return nil, err
		}
	}
	return finished(&b, w.Close(), z.Close())
}

// zipped is tarGz for those who have no tar.
func zipped(folder string, files []entry, date time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: folder + "/" + f.name, Method: zip.Deflate, Modified: date}
		h.SetMode(f.mode)
		body, err := w.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := body.Write(f.body); err != nil {
			return nil, err
		}
	}
	return finished(&b, w.Close())
}

func finished(b *bytes.Buffer, closed ...error) ([]byte, error) {
	if err := errors.Join(closed...); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
