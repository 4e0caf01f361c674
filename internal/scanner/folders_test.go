package scanner_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
)

// withFolders adds the entries of all folders that files lie in, each before
// the first file in it.
func withFolders(files []contenttest.File) []contenttest.File {
	var all []contenttest.File
	told := map[string]bool{}
	for _, f := range files {
		var above []string
		for dir := path.Dir(strings.TrimSuffix(f.Name, "/")); dir != "."; dir = path.Dir(dir) {
			above = append(above, dir+"/")
		}
		for _, dir := range slices.Backward(above) {
			if !told[dir] {
				told[dir] = true
				all = append(all, contenttest.File{Name: dir, Mode: 0o755})
			}
		}
		told[f.Name] = true
		all = append(all, f)
	}
	return all
}

const (
	statusD = "var/lib/dpkg/status.d/"
	apk     = "C:Q1abd=\nP:%s\nV:%s\nA:x86_64\nS:1\nI:1\nT:x\nU:x\nL:Apache-2.0\no:%s\nm:x\nt:1\nc:1\n\n"
)

func link(name, to string) contenttest.File { return contenttest.File{Name: name, Link: to} }

func nodeModule(dir, name, version string) contenttest.File {
	return file(dir+"/"+name+"/package.json", fmt.Sprintf(`{"name":%q,"version":%q,"license":"MIT"}`, name, version))
}

// layersWithoutFolders are layers as builders write them that leave the
// entries of folders out, and the packages that are in them.
func layersWithoutFolders() map[string]struct {
	layers [][]contenttest.File
	want   []string
} {
	wheel := func(dir string) []contenttest.File {
		return []contenttest.File{
			file(dir+"/Django-2.2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: Django\nVersion: 2.2.0\n"), file(dir+"/Django-2.2.0.dist-info/RECORD", ""),
			file(dir+"/pytz-2019.1.egg-info/PKG-INFO", "Metadata-Version: 1.1\nName: pytz\nVersion: 2019.1\n"),
		}
	}
	release := file("etc/os-release", bookworm)
	zlib, bash := file(statusD+"zlib1g", dpkg("zlib1g", "zlib", "1:1.2.13.dfsg-1")), file(statusD+"bash", dpkg("bash", "bash", "5.2.15-2"))
	old := "usr/share/old/"
	return map[string]struct {
		layers [][]contenttest.File
		want   []string
	}{
		"status.d":            {[][]contenttest.File{{release, zlib, bash}}, []string{"bash 5.2.15-2", "zlib1g 1:1.2.13.dfsg-1"}},
		"status.d, by layers": {[][]contenttest.File{{release}, {zlib}, {bash}}, []string{"bash 5.2.15-2", "zlib1g 1:1.2.13.dfsg-1"}},
		"apk":                 {[][]contenttest.File{{file("lib/apk/db/installed", fmt.Sprintf(apk, "libcrypto3", "3.1.3-r0", "openssl"))}}, []string{"libcrypto3 3.1.3-r0"}},
		"python":              {[][]contenttest.File{wheel("usr/lib/python3/site-packages")}, []string{"django 2.2.0", "pytz 2019.1"}},
		"node":                {[][]contenttest.File{{nodeModule("app/node_modules", "lodash", "4.17.4"), nodeModule("app/node_modules/a/node_modules", "@x/y", "1.0.0")}}, []string{"@x/y 1.0.0", "lodash 4.17.4"}},
		"nix": {
			[][]contenttest.File{{file("nix/store/5av396z8xa13jg89g9jws145c0k26k2x-openssl-3.0.8/bin/openssl", "x")}},
			[]string{"openssl 3.0.8"},
		},
		"taken away":          {[][]contenttest.File{{release, zlib, bash}, {file(statusD+".wh.bash", "")}}, []string{"zlib1g 1:1.2.13.dfsg-1"}},
		"a folder taken away": {[][]contenttest.File{{release, zlib}, {file("var/lib/dpkg/.wh.status.d", "")}, {bash}}, []string{"bash 5.2.15-2"}},
		"an opaque folder":    {[][]contenttest.File{{release, zlib}, {file(statusD+".wh..wh..opq", ""), bash}}, []string{"bash 5.2.15-2"}},
		"a link below, not touched": {
			[][]contenttest.File{{release, file("usr/lib/apk/db/installed", fmt.Sprintf(apk, "musl", "1.2.4-r0", "musl")), link("lib", "usr/lib")}, {zlib}},
			[]string{"musl 1.2.4-r0", "zlib1g 1:1.2.13.dfsg-1"},
		},
		"a folder becomes a link": {
			[][]contenttest.File{{release, zlib}, {file("var/lib/dpkg/.wh.status.d", ""), link("var/lib/dpkg/status.d", "/usr/share/old")}, {file(old+"bash", dpkg("bash", "bash", "5.2.15-2"))}},
			[]string{"bash 5.2.15-2"},
		},
	}
}

// TestFoldersWithoutEntry: an image whose layers say nothing of the folders
// that their files lie in has the packages of the same image whose layers do.
func TestFoldersWithoutEntry(t *testing.T) {
	s, images := contenttest.NewStore(), map[string]ocispec.Descriptor{}
	all := layersWithoutFolders()
	name := func(of, kind string) string {
		return strings.NewReplacer(" ", "-", ",", "", ".", "-").Replace(of) + ":" + kind
	}
	for of, c := range all {
		var bare, told []ocispec.Descriptor
		for i, files := range c.layers {
			bare, told = append(bare, s.Layer(files...)), append(told, s.Layer(withFolders(files)...))
			if want := len(withFolders(files)); want == len(files) {
				t.Fatalf("%s: layer %d has all its folders", of, i+1)
			}
		}
		images[name(of, "bare")] = s.Image(linux, contenttest.Config{Labels: map[string]string{"of": of}}, bare...)
		images[name(of, "told")] = s.Image(linux, contenttest.Config{Labels: map[string]string{"of": of}}, told...)
	}
	results := scanned(t, s, images)
	for of, c := range all {
		for _, kind := range []string{"bare", "told"} {
			if got := results[name(of, kind)]; !slices.Equal(got, c.want) {
				t.Errorf("%s, %s: %q, want %q", of, kind, got, c.want)
			}
		}
	}
}

// TestFolderOverALink: above a link of a lower layer runtimes differ in what a
// file without its folder's entry does. What either shows is found.
func TestFolderOverALink(t *testing.T) {
	s := contenttest.NewStore()
	below := []contenttest.File{
		file("etc/os-release", bookworm), file("usr/share/db/status", dpkg("zlib1g", "zlib", "1:1.2.13.dfsg-1")),
		file("usr/share/db/status.d/bash", dpkg("bash", "bash", "5.2.15-2")), link("var/lib/dpkg", "../../usr/share/db"),
	}
	curl := file("var/lib/dpkg/status.d/curl", dpkg("curl", "curl", "7.88.1-10"))
	hides := append([]contenttest.File{{Name: "var/", Mode: 0o755}, {Name: "var/lib/", Mode: 0o755}, {Name: "var/lib/dpkg/", Mode: 0o755}}, curl)
	inner := append([]contenttest.File{{Name: "var/lib/dpkg/status.d/", Mode: 0o755}}, curl)
	everything := []string{"bash 5.2.15-2", "curl 7.88.1-10", "zlib1g 1:1.2.13.dfsg-1"}
	image := func(layers ...[]contenttest.File) ocispec.Descriptor {
		var all []ocispec.Descriptor
		for _, l := range layers {
			all = append(all, s.Layer(l...))
		}
		return s.Image(linux, contenttest.Config{}, all...)
	}
	results := scanned(t, s, map[string]ocispec.Descriptor{
		"bare:1":    image(below, []contenttest.File{curl}),
		"folders:1": image(withFolders(below), []contenttest.File{curl}),
		"inner:1":   image(below, inner),
		"gone:1":    image(below, []contenttest.File{curl}, []contenttest.File{file("usr/share/db/.wh.status", "")}),
		"hides:1":   image(below, hides),
	})
	for name, want := range map[string][]string{
		"bare:1": everything, "folders:1": everything, "inner:1": everything,
		"gone:1":  {"bash 5.2.15-2", "curl 7.88.1-10"},
		"hides:1": {"curl 7.88.1-10"}, // an entry for the folder hides the link everywhere
	} {
		if got := results[name]; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// scanned are the packages of images, by name.
func scanned(t *testing.T, s *contenttest.Store, images map[string]ocispec.Descriptor) map[string][]string {
	t.Helper()
	p := newPlace(t).imported(sample())
	p.pack("release.tar", s, images)
	a, err := ask(t, p.request("release.tar"))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	all := map[string][]string{}
	for name, r := range a.results {
		if r.Failed != "" {
			t.Errorf("%s: %s", name, r.Failed)
		}
		for _, pkg := range r.Packages {
			if pkg.Layer == "" {
				t.Errorf("%s: nobody brought %s", name, pkg.Name)
			}
			all[name] = append(all[name], pkg.Name+" "+pkg.Version)
		}
		slices.Sort(all[name])
	}
	return all
}
