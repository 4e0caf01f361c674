package scanner_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
	"ferry/internal/sbomtest"
)

var linux = ocispec.Platform{OS: "linux", Architecture: "amd64"}

func file(name, body string) contenttest.File {
	return contenttest.File{Name: name, Body: []byte(body)}
}

const bookworm = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nNAME=\"Debian GNU/Linux\"\n"

func dpkg(name, source, version string) string {
	return fmt.Sprintf("Package: %s\nStatus: install ok installed\nSource: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: nobody\nDescription: x\n\n", name, source, version)
}

// debianBase is a small Debian: dpkg's list, and the files that it says are
// each package's.
func debianBase(s *contenttest.Store) ocispec.Descriptor {
	return s.Layer(
		file("etc/os-release", bookworm),
		file("var/lib/dpkg/status", dpkg("zlib1g", "zlib", "1:1.2.13.dfsg-1")+dpkg("bash", "bash", "5.2.15-2")),
		file("var/lib/dpkg/info/zlib1g:amd64.list", "/.\n/usr\n/usr/lib/libz.so.1\n"),
		file("var/lib/dpkg/info/zlib1g:amd64.md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/lib/libz.so.1\n"),
		file("usr/lib/libz.so.1", "z"),
		file("bin/bash", "b"),
	)
}

// python is a wheel as pip leaves it.
func python(s *contenttest.Store, name, version string) ocispec.Descriptor {
	dir := "usr/lib/python3/dist-packages/" + name + "-" + version + ".dist-info/"
	return s.Layer(file(dir+"METADATA", "Metadata-Version: 2.1\nName: "+name+"\nVersion: "+version+"\n"), file(dir+"RECORD", ""))
}

func alpine(s *contenttest.Store) ocispec.Descriptor {
	return s.Layer(
		file("etc/os-release", "ID=alpine\nVERSION_ID=3.18.4\nNAME=\"Alpine Linux\"\n"),
		file("lib/apk/db/installed", "C:Q1abd=\nP:libcrypto3\nV:3.1.3-r0\nA:x86_64\nS:1\nI:1\nT:x\nU:x\nL:Apache-2.0\no:openssl\nm:x\nt:1\nc:1\n\n"),
	)
}

// distroless is a Debian without dpkg: a list for each package.
func distroless(s *contenttest.Store) ocispec.Descriptor {
	return s.LayerZstd(file("etc/", ""), file("etc/os-release", bookworm),
		file("var/", ""), file("var/lib/", ""), file("var/lib/dpkg/", ""), file("var/lib/dpkg/status.d/", ""), file("var/lib/dpkg/status.d/zlib1g", dpkg("zlib1g", "zlib", "1:1.2.13.dfsg-1")))
}

// rocky is a rebuild of RHEL 9 with its real list of packages, which lies among
// the tests of the library that reads such lists.
func rocky(t *testing.T, s *contenttest.Store) ocispec.Descriptor {
	t.Helper()
	dir, err := sbomtest.Module("github.com/anchore/go-rpmdb")
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(dir, "pkg", "testdata", "rockylinux-9", "rpmdb.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	return s.Layer(
		file("etc/os-release", "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.0\"\nNAME=\"Rocky Linux\"\n"),
		contenttest.File{Name: "var/lib/rpm/rpmdb.sqlite", Body: list},
	)
}

// hostile has packages whose makers wrote what they liked where names,
// versions, licences, addresses and URLs are.
func hostile(t *testing.T, s *contenttest.Store) ocispec.Descriptor {
	t.Helper()
	const odd = `<script>alert(1)</script> ../../etc "a" & 'b' \\ ${x} %zz ü 日本 ` + "\u202e\U0001f4a3\x1b[31m"
	return s.Layer(
		file("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nNAME=\"Debian <b>\"\nHOME_URL=\"not a url %zz\"\nCPE_NAME=\"cpe:nonsense\"\n"),
		file("var/lib/dpkg/status", dpkg("zlib1g", "zlib", "1:1.2.13.dfsg-1")+
			"Package: a<b>&c\nStatus: install ok installed\nVersion: "+odd+"\nMaintainer: "+odd+"\nDescription: "+odd+"\nHomepage: ht tp://%zz\n\n"),
		file("usr/share/doc/zlib1g/copyright", "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nLicense: "+odd+"\n"),
		file("usr/lib/python3/dist-packages/odd-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: "+odd+"\nVersion: 1 "+odd+"\nLicense: "+odd+
			"\nAuthor: "+odd+"\nAuthor-email: "+odd+"\nHome-page: "+odd+"\n"),
		file("usr/lib/python3/dist-packages/odd-1.dist-info/RECORD", ""),
		file("usr/lib/python3/dist-packages/odd-1.dist-info/direct_url.json", `{"url":"ht tp://%zz","vcs_info":{"commit_id":"x y","vcs":"<git>"}}`),
		file("app/node_modules/odd/package.json", `{"name":"@<x>/..%zz","version":"1 \u0000 2","license":{"type":"<MIT>","url":"ht tp://%zz"},"author":"<a> (ht tp://%zz)",`+
			`"homepage":"ht tp://%zz\u0007","repository":{"type":"git","url":"git@host:a b%zz"},"description":"\ud800"}`),
		file("app/node_modules/list/package.json", `{"name":"list","version":"1.0.0","licenses":[{"type":"GPL-9","url":"://"},{"type":"MIT OR ("}],"homepage":":"}`),
		file("app/odd.jar", jar(t, map[string]string{
			"META-INF/MANIFEST.MF":                "Manifest-Version: 1.0\nImplementation-Title: odd\n",
			"META-INF/maven/a/odd/pom.properties": "groupId=a\nartifactId=odd\nversion=1\n",
			"META-INF/maven/a/odd/pom.xml": `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>a</groupId><artifactId>odd</artifactId>` +
				`<version>1</version><licenses><license><name>Its own</name><url>http://licences.test/a b</url></license></licenses></project>`,
		})),
	)
}

// jar is a Java archive.
func jar(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// goProgram builds a program that has golang.org/x/net in it, and uses of it
// what source says. Everything comes from the module cache.
func goProgram(t *testing.T, s *contenttest.Store, source string) ocispec.Descriptor {
	t.Helper()
	dir := t.TempDir()
	sum, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":  "module example.com/program\n\ngo 1.26\n\nrequire golang.org/x/net " + moduleVersion(t, "golang.org/x/net") + "\n\nrequire golang.org/x/text " + moduleVersion(t, "golang.org/x/text") + "\n",
		"go.sum":  string(sum),
		"main.go": source,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-buildvcs=false", "-o", "program", ".")
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOPROXY=off", "GOOS=linux", "GOARCH=amd64")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "program"))
	if err != nil {
		t.Fatal(err)
	}
	return s.Layer(contenttest.File{Name: "usr/bin/program", Mode: 0o755, Body: b})
}

// moduleVersion is the version of a module that ferry itself has.
func moduleVersion(t *testing.T, module string) string {
	t.Helper()
	b, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == module {
			return f[1]
		}
	}
	t.Fatalf("go.mod has no %s", module)
	return ""
}

const usesHTML = `package main

import (
	"fmt"
	"os"

	"golang.org/x/net/html"
)

func main() { fmt.Println(html.Parse(os.Stdin)) }
`

const usesIDNA = `package main

import (
	"fmt"
	"os"

	"golang.org/x/net/idna"
)

func main() { fmt.Println(idna.ToASCII(os.Args[0])) }
`

// images are one of each kind, by name.
func images(t *testing.T, s *contenttest.Store) map[string]ocispec.Descriptor {
	t.Helper()
	base := debianBase(s)
	return map[string]ocispec.Descriptor{
		"team/web:1":        s.Image(linux, contenttest.Config{}, base, python(s, "Django", "2.2.0")),
		"team/api:1":        s.DockerImage(linux, contenttest.Config{}, base, goProgram(t, s, usesHTML)),
		"team/names:1":      s.Image(linux, contenttest.Config{}, goProgram(t, s, usesIDNA)),
		"team/alpine:3.18":  s.Image(linux, contenttest.Config{}, alpine(s)),
		"team/distroless:1": s.Image(linux, contenttest.Config{}, distroless(s)),
		"team/rocky:9":      s.Image(linux, contenttest.Config{}, rocky(t, s)),
		"team/hostile:1":    s.Image(linux, contenttest.Config{Labels: map[string]string{"<b>": "ht tp://%zz\x01"}}, hostile(t, s)),
		"team/empty:1":      s.Image(linux, contenttest.Config{}, s.Layer(file("hello", "world"))),
	}
}
