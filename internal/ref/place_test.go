package ref_test

import (
	"errors"
	"strings"
	"testing"

	"ferry/internal/ref"
)

func there(paths ...string) func(string) bool {
	return func(s string) bool {
		for _, p := range paths {
			if p == s {
				return true
			}
		}
		return false
	}
}

func TestParsePlace(t *testing.T) {
	exists := there("images", "/srv/a:b.tar", "docker://nginx")
	tests := []struct {
		in   string
		want ref.Place
	}{
		{"nginx:1.27", ref.Place{Transport: ref.Registry, Name: "nginx:1.27"}},
		{"docker://nginx:1.27", ref.Place{Transport: ref.Registry, Name: "nginx:1.27"}},
		{"docker:24-dind", ref.Place{Transport: ref.Registry, Name: "docker:24-dind"}},
		{"dir:1.0", ref.Place{Transport: ref.Registry, Name: "dir:1.0"}},
		{"docker-archive:a.tar", ref.Place{Transport: ref.DockerArchive, Path: "a.tar"}},
		{"docker-archive:a.tar:nginx:1", ref.Place{Transport: ref.DockerArchive, Path: "a.tar", Name: "nginx:1"}},
		{"docker-archive:a.tar:localhost:5000/x:1", ref.Place{Transport: ref.DockerArchive, Path: "a.tar", Name: "localhost:5000/x:1"}},
		{`docker-archive:C:\a.tar:nginx:1`, ref.Place{Transport: ref.DockerArchive, Path: `C:\a.tar`, Name: "nginx:1"}},
		{"docker-archive:/srv/a:b.tar", ref.Place{Transport: ref.DockerArchive, Path: "/srv/a:b.tar"}},
		{"oci-archive:/x/y.tar:v1", ref.Place{Transport: ref.OCIArchive, Path: "/x/y.tar", Name: "v1"}},
		{"oci:layout", ref.Place{Transport: ref.OCIDir, Path: "layout"}},
		{"oci:C:/layout:v1", ref.Place{Transport: ref.OCIDir, Path: "C:/layout", Name: "v1"}},
		{"docker-daemon:app:1", ref.Place{Transport: ref.DockerDaemon, Name: "app:1"}},
		{"containers-storage:localhost/app:1", ref.Place{Transport: ref.ContainersStorage, Name: "localhost/app:1"}},
		{"images", ref.Place{Transport: ref.Archive, Path: "images"}},
		{"gone.tar", ref.Place{Transport: ref.Archive, Path: "gone.tar"}},
		{"GONE.TAR.GZ", ref.Place{Transport: ref.Archive, Path: "GONE.TAR.GZ"}},
		{"gone.tgz", ref.Place{Transport: ref.Archive, Path: "gone.tgz"}},
		{`C:\x.tar`, ref.Place{Transport: ref.Archive, Path: `C:\x.tar`}},
		// A transport comes before a file, and docker:// reaches a name that looks like one.
		{"docker://nginx", ref.Place{Transport: ref.Registry, Name: "nginx"}},
		{"docker://images", ref.Place{Transport: ref.Registry, Name: "images"}},
		{"docker://app.tar", ref.Place{Transport: ref.Registry, Name: "app.tar"}},
		{"docker://oci:1", ref.Place{Transport: ref.Registry, Name: "oci:1"}},
		{"oci:images", ref.Place{Transport: ref.OCIDir, Path: "images"}},
	}
	for _, tt := range tests {
		got, err := ref.ParsePlace(tt.in, exists)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

func TestParsePlaceTeaches(t *testing.T) {
	tests := map[string][]string{
		"":                                  {"empty"},
		"docker://":                         {"empty"},
		"Nginx":                             {"lower case", "write nginx"},
		"docker-archive:":                   {"nothing follows", "docker-archive:PATH"},
		"docker-archive::nginx":             {"path is missing"},
		"docker-archive:a.tar:":             {"no image name", "write docker-archive:a.tar"},
		"docker-archive:a.tar:NGINX":        {"a.tar", "lower case"},
		"oci://ghcr.io/a/b:1":               {"folder on this machine", "docker://ghcr.io/a/b:1"},
		"docker-daemon://nginx":             {"no slashes", "write docker-daemon:nginx"},
		"containers-storage:[vfs@/x+/y]app": {"brackets", "write containers-storage:app"},
		"containers-storage:" + hex64:       {"image ID"},
		"/srv/images":                       {"no such file"},
		"./images":                          {"no such file"},
		`C:\images`:                         {"no such file"},
		"dir:/srv/images":                   {"dir: places", "skopeo copy"},
		"http://ghcr.io/a":                  {"do not begin with http://"},
		"oci:" + strings.Repeat("a/", 3000): {"6004 bytes", "4096"},
	}
	for in, wants := range tests {
		_, err := ref.ParsePlace(in, nil)
		var e *ref.Error
		if !errors.As(err, &e) {
			t.Errorf("%q: got %v, want a *ref.Error", in, err)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %q does not say %q", in, err, want)
			}
		}
	}
}

func FuzzParsePlace(f *testing.F) {
	for _, s := range []string{"nginx", "docker://oci:1", `docker-archive:C:\a.tar:x`, "oci:a:b:c", "docker-daemon:x", "containers-storage:[a]b", "x.tar", "dir:/x", "oci-archive:a::b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ref.ParsePlace(s, nil)
		if err != nil {
			return
		}
		again, err := ref.ParsePlace(p.String(), nil)
		if err != nil || again != p {
			t.Fatalf("%q is %+v, but %q is %+v, %v", s, p, p, again, err)
		}
	})
}
