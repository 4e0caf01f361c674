package scanner_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anchore/grype/grype/db/v6"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content/contenttest"
	"ferry/internal/policy"
	"ferry/internal/scan"
	"ferry/internal/scanner"
)

// rawTar is a layer that no honest builder writes, not compressed.
func rawTar(t *testing.T, s *contenttest.Store, behind []byte, entries ...tar.Header) ocispec.Descriptor {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range entries {
		h := &entries[i]
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		body := []byte(h.PAXRecords["body"])
		h.Size, h.PAXRecords = int64(len(body)), nil
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return s.Add(ocispec.MediaTypeImageLayer, append(b.Bytes(), behind...))
}

func entry(name, body string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, PAXRecords: map[string]string{"body": body}}
}

// sparse is a tar whose one file is said to have a terabyte, and has 512 bytes:
// all the rest are holes (the GNU format, 1.0).
func sparse(t *testing.T, s *contenttest.Store) ocispec.Descriptor {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	body := make([]byte, 512)
	copy(body, "1\n1099511627264\n0\n") // one stretch of data, of no bytes, at the end
	pax := map[string]string{"major": "1", "minor": "0", "name": "holes", "realsize": "1099511627264"}
	var records strings.Builder
	for k, v := range pax {
		line := " GNU.sparse." + k + "=" + v + "\n"
		n := len(line) + 2
		records.WriteString(strings.TrimSpace(string(rune('0'+n/10))) + string(rune('0'+n%10)) + line)
	}
	for _, h := range []struct {
		kind byte
		name string
		body []byte
	}{{tar.TypeXHeader, "PaxHeaders/holes", []byte(records.String())}, {tar.TypeReg, "GNUSparseFile.0/holes", body}} {
		// archive/tar writes no such headers; their form is that of others.
		if err := w.WriteHeader(&tar.Header{Name: h.name, Typeflag: tar.TypeReg, Size: int64(len(h.body)), Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		at := b.Len() - 512
		if _, err := w.Write(h.body); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		b.Bytes()[at+156] = h.kind
		checksum(b.Bytes()[at : at+512])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return s.Add(ocispec.MediaTypeImageLayer, b.Bytes())
}

// checksum makes a changed header of a tar right.
func checksum(header []byte) {
	copy(header[148:156], "        ")
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	for i := 5; i >= 0; i-- {
		header[148+i] = byte('0' + sum&7)
		sum >>= 3
	}
	header[154], header[155] = 0, ' '
}

// TestHostileLayers: each limit ends the scan of the image that reaches it,
// which says so, and of no other.
func TestHostileLayers(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	const unpacked, files = 4 << 20, 100
	zeros := make([]byte, 8<<20)
	many := func(prefix string, n int) ocispec.Descriptor {
		var all []contenttest.File
		for i := range n {
			all = append(all, file(prefix+"/"+string(rune('a'+i/26))+string(rune('a'+i%26)), ""))
		}
		return s.Layer(all...)
	}
	cut := contenttest.Tar(file("etc/os-release", bookworm), file("big", strings.Repeat("x", 4096)))
	for name, tc := range map[string]struct {
		layers []ocispec.Descriptor
		want   string
	}{
		"bomb:1":       {[]ocispec.Descriptor{s.Layer(file("zeros", string(zeros)))}, "bytes in one layer, unpacked: the limit is 4194304"},
		"zstd-bomb:1":  {[]ocispec.Descriptor{zstdBomb(t, s, zeros)}, "bytes in one layer, unpacked: the limit is 4194304"},
		"behind:1":     {[]ocispec.Descriptor{rawTar(t, s, zeros, entry("a", "b"))}, "bytes in one layer, unpacked: the limit is 4194304"},
		"holes:1":      {[]ocispec.Descriptor{sparse(t, s)}, "bytes in one layer, unpacked: the limit is 4194304"},
		"files:1":      {[]ocispec.Descriptor{many("a", files+1)}, ": files in one image: the limit is 100"},
		"two-layers:1": {[]ocispec.Descriptor{many("a", 60), many("b", 60)}, "files in one image: the limit is 100"},
		"cut:1":        {[]ocispec.Descriptor{s.Add(ocispec.MediaTypeImageLayer, cut[:3*512+100])}, "it is no whole tar"},
		"no-tar:1":     {[]ocispec.Descriptor{s.Add(ocispec.MediaTypeImageLayer, []byte(strings.Repeat("no tar", 200)))}, "it is no whole tar"},
		"xz:1":         {[]ocispec.Descriptor{named(s, "\xfd7zXZ\x00")}, "it begins as xz does"},
		"bzip2:1":      {[]ocispec.Descriptor{named(s, "BZh91AY&SY")}, "it begins as bzip2 does"},
		"skipped:1":    {[]ocispec.Descriptor{named(s, "P*M\x18")}, "it begins with a zstd frame that is skipped"},
		"file-dir:1":   {[]ocispec.Descriptor{rawTar(t, s, nil, entry("etc", "x"), tar.Header{Name: "etc/", Typeflag: tar.TypeDir})}, "etc"},
	} {
		t.Run(name, func(t *testing.T) {
			file := strings.ReplaceAll(name, ":", "-") + ".tar"
			p.pack(file, s, map[string]ocispec.Descriptor{
				name: s.Image(linux, contenttest.Config{}, tc.layers...), "good:1": s.Image(linux, contenttest.Config{}, alpine(s)),
			})
			r := p.request(file)
			r.Limits = scan.Limits{Unpacked: unpacked, Files: files}
			a, err := ask(t, r)
			if err != nil || a.Error != "" {
				t.Fatal(err, a.Error)
			}
			bad := a.results[name]
			if !strings.Contains(bad.Failed, tc.want) || len(bad.Findings)+len(bad.Packages)+len(bad.SBOMs) > 0 {
				t.Errorf("%+v, want %q", bad, tc.want)
			}
			if got := found(a.results["good:1"]); len(got) != 1 {
				t.Errorf("an image beside it: %q, %s", got, a.results["good:1"].Failed)
			}
		})
	}
	if l := (scan.Limits{}).Or(); l != (scan.Limits{Unpacked: 16 << 30, Files: 1_000_000, SBOM: 128 << 20, Memory: 4 << 30, Time: 10 * time.Minute}) {
		t.Errorf("docs/security.md names other limits than %+v", l)
	}
}

// TestMachineThatFails: where the machine fails syft over one file, as a full
// disk does, the image has failed: it is no image without that file's packages.
// A name that no file may have is how that comes about here.
func TestMachineThatFails(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	layer := func(name string) ocispec.Descriptor {
		return s.Layer(file("etc/os-release", bookworm), file("opt/app.jar", jar(t, maven("app", name, jar(t, maven("log4j-core", "", ""))))))
	}
	p.pack("release.tar", s, map[string]ocispec.Descriptor{
		"good:1": s.Image(linux, contenttest.Config{}, layer("lib/log4j-core.jar")),
		"long:1": s.Image(linux, contenttest.Config{}, layer("lib/"+strings.Repeat("x", 300)+".jar")),
	})
	r := p.request("release.tar")
	r.Jobs = 1
	a, err := ask(t, r)
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	named := func(p policy.Package) bool { return p.Name == "log4j-core" }
	if good := a.results["good:1"]; good.Failed != "" || !slices.ContainsFunc(good.Packages, named) {
		t.Errorf("%+v", good)
	}
	if long := a.results["long:1"]; !strings.Contains(long.Failed, "this machine failed while it was looked into") || !strings.Contains(long.Failed, "file name too long") {
		t.Errorf("%+v", long)
	}
}

// TestFilesThatCannotBeRead: an image whose list of packages is broken is none
// without packages; a broken archive is said.
func TestFilesThatCannotBeRead(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	const django = "usr/lib/python3/dist-packages/Django-1.8.dist-info/METADATA"
	odd := func(name, body string) ocispec.Descriptor {
		return s.Image(linux, contenttest.Config{}, s.Layer(
			file("etc/os-release", bookworm), file(django, "Metadata-Version: 2.1\nName: Django\nVersion: 1.8\n"), file(name, body)))
	}
	broken := "\x00\x01" + strings.Repeat("broken", 1000)
	p.pack("release.tar", s, map[string]ocispec.Descriptor{
		"dpkg:1": odd("var/lib/dpkg/status", broken), "rpm:1": odd("var/lib/rpm/rpmdb.sqlite", "SQLite format 3\x00"+broken),
		"apk:1": odd("lib/apk/db/installed", broken), "ndb:1": odd("usr/lib/sysimage/rpm/Packages.db", broken), "bdb:1": odd("var/lib/rpm/Packages", broken),
		"jar:1": odd("opt/app.jar", "PK\x03\x04"+broken), "empty:1": odd("var/lib/dpkg/status", ""),
	})
	a, err := ask(t, p.request("release.tar"))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	for name, path := range map[string]string{"dpkg:1": "/var/lib/dpkg/status", "rpm:1": "/var/lib/rpm/rpmdb.sqlite", "apk:1": "/lib/apk/db/installed", "ndb:1": "/usr/lib/sysimage/rpm/Packages.db", "bdb:1": "/var/lib/rpm/Packages"} {
		if r := a.results[name]; !strings.Contains(r.Failed, "its list of packages cannot be read: "+path) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	jar := a.results["jar:1"]
	if jar.Failed != "" || !slices.ContainsFunc(jar.Warnings, func(w string) bool { return strings.HasPrefix(w, "could not be read: /opt/app.jar: ") }) {
		t.Errorf("%+v", jar)
	}
	if empty := a.results["empty:1"]; empty.Failed != "" {
		t.Error(empty.Failed)
	}
}

// maven are the files of a Java archive that say what it is, and one inside.
func maven(title, name, inside string) map[string]string {
	files := map[string]string{
		"META-INF/MANIFEST.MF":                              "Manifest-Version: 1.0\n",
		"META-INF/maven/org.x/" + title + "/pom.properties": "groupId=org.x\nartifactId=" + title + "\nversion=2.14.1\n",
	}
	if name != "" {
		files[name] = inside
	}
	return files
}

// named is a layer that is a tar for one reader, and for another the beginning
// of something packed: its first file is called so.
func named(s *contenttest.Store, name string) ocispec.Descriptor {
	b := contenttest.Tar(file("its name", ""), file("etc/os-release", bookworm))
	copy(b, name)
	checksum(b[:512])
	return s.Add(ocispec.MediaTypeImageLayer, b)
}

func zstdBomb(t *testing.T, s *contenttest.Store, zeros []byte) ocispec.Descriptor {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.Add(ocispec.MediaTypeImageLayerZstd, w.EncodeAll(contenttest.Tar(file("zeros", string(zeros))), nil))
}

// TestPathTricks: names and links that lead out of an image lead nowhere. Not a
// file of this machine is read or written, and what is in the image is found.
func TestPathTricks(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "status")
	if err := os.WriteFile(secret, []byte(dpkg("bash", "bash", "5.2.15-2")), 0o600); err != nil {
		t.Fatal(err)
	}
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	up := strings.Repeat("../", 20)
	escaped := up + outside[1:] + "/escaped"
	img := s.Image(linux, contenttest.Config{}, rawTar(t, s, nil,
		entry("/etc/os-release", bookworm),
		entry(escaped, "x"), entry("a/"+up+"etc/x", "x"),
		tar.Header{Name: "var/lib/dpkg/status", Typeflag: tar.TypeSymlink, Linkname: secret},
		tar.Header{Name: "var/lib/dpkg/status.d/a", Typeflag: tar.TypeSymlink, Linkname: up + secret[1:]},
		tar.Header{Name: "var/lib/dpkg/status.d/b", Typeflag: tar.TypeLink, Linkname: secret},
		tar.Header{Name: "var/lib/dpkg/status.d/loop", Typeflag: tar.TypeSymlink, Linkname: "loop"},
		tar.Header{Name: "var/lib/dpkg/status.d/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5}, // /dev/zero
		entry("./b/../var/lib/dpkg/status.d/zlib1g", dpkg("zlib1g", "zlib", "1:1.2.13.dfsg-1")),
	))
	p.pack("release.tar", s, map[string]ocispec.Descriptor{"tricks:1": img})
	a, err := ask(t, p.request("release.tar"))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	r := a.results["tricks:1"]
	if got := found(r); r.Failed != "" || len(got) != 1 || !strings.Contains(got[0], "zlib1g") {
		t.Errorf("found %q, %s", got, r.Failed)
	}
	left, err := os.ReadDir(outside)
	if err != nil || len(left) != 1 {
		t.Errorf("something was written outside: %v %v", left, err)
	}
}

// TestLimitsOfTheScanner: too large an SBOM, too long, too much memory.
func TestLimitsOfTheScanner(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	p.pack("release.tar", s, map[string]ocispec.Descriptor{"a:1": s.Image(linux, contenttest.Config{}, debianBase(s))})
	for want, limits := range map[string]scan.Limits{
		"its SBOM":                           {SBOM: 2000},
		"it was looked at for 1ns, which is": {Time: 1},
	} {
		r := p.request("release.tar")
		r.Limits = limits
		a, err := ask(t, r)
		if err != nil || !strings.Contains(a.results["a:1"].Failed, want) || len(a.results["a:1"].Findings) > 0 {
			t.Errorf("%+v, %v; want %q", a.results["a:1"], err, want)
		}
	}
	r := p.request("release.tar")
	r.Protocol, r.Version, r.Limits = scan.Protocol, testVersion, scan.Limits{Memory: 1 << 20}
	in, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	gaveUp := make(chan int, 100)
	var out bytes.Buffer
	_ = scanner.Serve(t.Context(), testVersion, bytes.NewReader(in), &out, func(code int) { gaveUp <- code })
	if len(gaveUp) == 0 || <-gaveUp != 1 || !strings.Contains(out.String(), "it takes more than 1048576 bytes of memory") {
		t.Errorf("the limit of memory is not kept: %s", out.String())
	}
}

// TestStoppedMidwayIsNoAnswer: an image that is looked at for too short a time
// has all its findings or has failed, wherever the end comes.
func TestStoppedMidwayIsNoAnswer(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	p.pack("release.tar", s, map[string]ocispec.Descriptor{"a:1": s.Image(linux, contenttest.Config{}, debianBase(s))})
	scanned := func(limit time.Duration) scan.Result {
		r := p.request("release.tar")
		r.Limits.Time = limit
		a, err := ask(t, r)
		if err != nil || a.Error != "" {
			t.Fatal(err, a.Error)
		}
		return a.results["a:1"]
	}
	all := found(scanned(0))
	if len(all) == 0 {
		t.Fatal("nothing is found, so nothing can be lost")
	}
	for limit := 2 * time.Millisecond; limit < 300*time.Millisecond; limit *= 2 {
		if r := scanned(limit); r.Failed == "" && !slices.Equal(found(r), all) {
			t.Errorf("in %s: %q, and there is %q", limit, found(r), all)
		}
	}
}

// swapping exchanges the database when the first image is begun.
type swapping struct {
	bytes.Buffer
	swap func()
}

func (s *swapping) Write(b []byte) (int, error) {
	if s.swap != nil {
		s.swap()
		s.swap = nil
	}
	return s.Buffer.Write(b)
}

// TestDatabaseSwappedAfterTheCheck: the answer is not that of the database that
// was checked, so there is none.
func TestDatabaseSwappedAfterTheCheck(t *testing.T) {
	for name, swap := range map[string]func(t *testing.T, path string){
		"another in its place": func(t *testing.T, path string) {
			t.Helper()
			copyFile(t, path, path+".other")
			if err := os.Rename(path+".other", path); err != nil {
				t.Error(err)
			}
		},
		"written to, and its time put back": func(t *testing.T, path string) {
			t.Helper()
			if runtime.GOOS == "windows" {
				t.Skip("the system tells nothing of it")
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			copyFile(t, path, path+".other")
			copyFile(t, path+".other", path)
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { swapDatabase(t, func(path string) { swap(t, path) }) })
		t.Run(name+", under SBOMs", func(t *testing.T) { swapUnderSBOMs(t, func(path string) { swap(t, path) }) })
	}
}

func swapDatabase(t *testing.T, swap func(path string)) {
	t.Helper()
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	p.pack("release.tar", s, map[string]ocispec.Descriptor{"a:1": s.Image(linux, contenttest.Config{}, debianBase(s))})
	p.swapsUnder(p.request("release.tar"), swap)
}

// TestDatabaseThatStopsAnswering: grype writes what its database could not be
// asked to a log and goes on, as if nothing were known.
func TestDatabaseThatStopsAnswering(t *testing.T) {
	r := newPlace(t).imported(sample()).matching()
	err := scanner.MatchInterrupted(t.Context(), r.Database, r.SBOMs[0])
	if err == nil || !strings.HasPrefix(err.Error(), "match its packages: ") || !strings.Contains(err.Error(), "sql: database is closed") {
		t.Errorf("got %v", err)
	}
}

func swapUnderSBOMs(t *testing.T, swap func(path string)) {
	t.Helper()
	p := newPlace(t).imported(sample())
	r := p.matching()
	r.Limits.SBOM = 2000
	var out bytes.Buffer
	if res := p.serve(r, &out, &out); !strings.Contains(res, "has more than 2000 bytes, which is the limit") {
		t.Errorf("the limit of an SBOM is not kept: %s", res)
	}
	p.swapsUnder(p.matching(), swap)
}

func (p *place) swapsUnder(r scan.Request, swap func(path string)) {
	p.t.Helper()
	out := &swapping{swap: func() { swap(p.inUse()) }}
	lines := strings.Split(strings.TrimSpace(p.serve(r, out, &out.Buffer)), "\n")
	var last scan.Message
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Answer == nil || !strings.Contains(last.Answer.Error, "was exchanged while it was used") {
		p.t.Errorf("%v: the answer is %s", err, lines[len(lines)-1])
	}
}

// serve returns all that the scanner says.
func (p *place) serve(r scan.Request, to io.Writer, said fmt.Stringer) string {
	p.t.Helper()
	r.Protocol, r.Version = scan.Protocol, testVersion
	in, err := json.Marshal(r)
	if err == nil {
		err = scanner.Serve(p.t.Context(), testVersion, bytes.NewReader(in), to, nil)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return said.String()
}

// matching asks about the SBOM of an image.
func (p *place) matching() scan.Request {
	p.t.Helper()
	s := contenttest.NewStore()
	p.pack("matched.tar", s, map[string]ocispec.Descriptor{"a:1": s.Image(linux, contenttest.Config{}, debianBase(s))})
	scanned := p.request("matched.tar")
	a, err := ask(p.t, scanned)
	if err != nil || len(a.results["a:1"].SBOMs) == 0 {
		p.t.Fatal(err, a)
	}
	of := a.results["a:1"].SBOMs
	return scan.Request{Op: scan.OpMatch, Database: scanned.Database, SBOMs: []string{of[len(of)-1].Path}}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func changeFile(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, change(b), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// flipRecord changes one letter of one record, and leaves a sound SQLite file.
func flipRecord(t *testing.T) func([]byte) []byte {
	return func(b []byte) []byte {
		i := bytes.Index(b, []byte("1:1.2.13.dfsg-2"))
		if i < 0 {
			t.Fatal("the record is not in the database as it is written")
		}
		b[i+4] = '0' // 1:1.0.13: nothing is older than that
		return b
	}
}

// TestDatabasesThatAreRefused, through the front door: never an empty list.
func TestDatabasesThatAreRefused(t *testing.T) {
	s := contenttest.NewStore()
	image := map[string]ocispec.Descriptor{"a:1": s.Image(linux, contenttest.Config{}, debianBase(s))}
	now := time.Now().UTC().Truncate(time.Second)
	for name, tc := range map[string]struct {
		db    db
		spoil func(t *testing.T, p *place)
		args  []string
		code  int
		want  string
	}{
		"whole":                    {sample(), nil, nil, 0, "CVE-2024-0001"},
		"truncated":                {sample(), func(t *testing.T, p *place) { changeFile(t, p.inUse(), func(b []byte) []byte { return b[:len(b)/2] }) }, nil, 1, "is damaged, or was changed since it was imported"},
		"emptied":                  {sample(), func(t *testing.T, p *place) { changeFile(t, p.inUse(), func([]byte) []byte { return nil }) }, nil, 1, "is damaged, or was changed since it was imported"},
		"record flipped":           {sample(), func(t *testing.T, p *place) { changeFile(t, p.inUse(), flipRecord(t)) }, nil, 1, "is damaged, or was changed since it was imported"},
		"gone":                     {sample(), func(_ *testing.T, p *place) { _ = os.Remove(p.inUse()) }, nil, 1, "no such file"},
		"of last year":             {db{records: sample().records, built: now.AddDate(-1, 0, 0)}, nil, nil, 1, "it may be 7 days"},
		"of last year, any age do": {db{records: sample().records, built: now.AddDate(-1, 0, 0)}, nil, []string{"--max-db-age", "0"}, 0, "CVE-2024-0001"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.ferry("db", "import", tc.db.archive(t), "--older")
			p.pack("release.tar", s, image)
			if tc.spoil != nil {
				tc.spoil(t, p)
			}
			said := p.wants(tc.code, append([]string{"scan", "release.tar"}, tc.args...), tc.want)
			if strings.Contains(tc.want, "is damaged") && !strings.Contains(said.err, "Import it again with ferry db import") {
				t.Errorf("it says nothing to do\n%s", said.err)
			}
			if tc.code != 0 && strings.Contains(said.out+said.err, "no known vulnerability") {
				t.Errorf("it says\n%s%s", said.out, said.err)
			}
			if tc.code == 0 {
				return
			}
			p.wants(0, []string{"policy", "check", p.policy(t)})
			p.wants(3, []string{"pack", "--to", "gated.tar", "--policy", "p.yaml", p.archive(t)}, "the vulnerability database")
			if _, err := os.Stat(p.path("gated.tar")); err == nil {
				t.Error("a bundle got past the gate")
			}
		})
	}
}

// TestDatabaseFromTheFuture: either its date is wrong or the clock was set
// back, and then nobody knows how old it is. It does not come in at any door.
func TestDatabaseFromTheFuture(t *testing.T) {
	p := newPlace(t)
	archive := db{records: sample().records, built: time.Now().UTC().Add(3 * time.Hour)}.archive(t)
	const why = "either it or the clock is wrong"
	p.wants(1, []string{"db", "import", archive}, why)
	p.wants(1, []string{"db", "import", archive, "--older"}, why)
	p.wants(1, []string{"scan", p.archive(t), "--db", archive, "--max-db-age", "0"}, why)
	p.wants(1, []string{"scan", "app.tar"}, "there is no vulnerability database here")
}

func (p *place) policy(t *testing.T) string {
	t.Helper()
	if err := os.WriteFile(p.path("p.yaml"), []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "p.yaml"
}

// archive is what docker save writes, of an image without packages.
func (p *place) archive(t *testing.T) string {
	t.Helper()
	layer := contenttest.Tar(file("etc/os-release", bookworm))
	config := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + string(digest.FromBytes(layer)) + `"]}}`
	b := contenttest.Tar(file("config.json", config), file("layer.tar", string(layer)),
		file("manifest.json", `[{"Config":"config.json","RepoTags":["quay.io/acme/app:1.0"],"Layers":["layer.tar"]}]`))
	if err := os.WriteFile(p.path("app.tar"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return "app.tar"
}

// TestArchivesThatAreRefused: what is no whole database does not come into use,
// and what was in use stays.
func TestArchivesThatAreRefused(t *testing.T) {
	p := newPlace(t).imported(sample())
	before := p.inUse()
	plain := func(t *testing.T, d db, change func([]byte) []byte) string {
		dir := d.folder(t)
		changeFile(t, filepath.Join(dir, v6.VulnerabilityDBFileName), change)
		path := filepath.Join(dir, "changed.tar.zst")
		b, err := os.ReadFile(filepath.Join(dir, v6.VulnerabilityDBFileName))
		if err == nil {
			err = os.WriteFile(path, zipped(t, contenttest.Tar(contenttest.File{Name: v6.VulnerabilityDBFileName, Body: b})), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct {
		archive func(t *testing.T) string
		want    string
	}{
		"truncated": {func(t *testing.T) string {
			a := sample().archive(t)
			changeFile(t, a, func(b []byte) []byte { return b[:len(b)/2] })
			return a
		}, "it is no whole archive"},
		"one bit of the archive": {func(t *testing.T) string {
			a := sample().archive(t)
			changeFile(t, a, func(b []byte) []byte { b[len(b)-3] ^= 1; return b })
			return a
		}, "it is no"},
		"a page overwritten": {func(t *testing.T) string {
			return plain(t, sample(), func(b []byte) []byte { copy(b[4096:8192], make([]byte, 4096)); return b })
		}, "the database in it cannot be used"},
		"half a database":               {func(t *testing.T) string { return plain(t, sample(), func(b []byte) []byte { return b[:len(b)/2] }) }, "the database in it cannot be used"},
		"no database":                   {func(t *testing.T) string { return plain(t, sample(), func([]byte) []byte { return []byte("nothing") }) }, "it is no SQLite database"},
		"no records":                    {func(t *testing.T) string { return db{}.archive(t) }, "the database in it cannot be used"},
		"no table of what is exploited": {without("known_exploited_vulnerability_handles"), "there is no table known_exploited_vulnerability_handles in it"},
		"another schema": {func(t *testing.T) string {
			return plain(t, db{records: sample().records, model: 9}, func(b []byte) []byte { return b })
		}, "the database in it cannot be used"},
		"no table of other names":   {without("vulnerability_aliases"), "there is no table vulnerability_aliases in it"},
		"no table of distributions": {without("operating_systems"), "there is no table operating_systems in it"},
		"no table of EPSS":          {without("epss_handles"), "there is no table epss_handles in it"},
		"a link in it": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "link.tar")
			if err := os.WriteFile(path, contenttest.Tar(link(v6.VulnerabilityDBFileName, "/etc/passwd")), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, "is no regular file"},
		"no providers": {without("providers"), "there is no table providers in it"},
		"one provider is gone": {func(t *testing.T) string {
			return db{records: sample().records, gone: "debian"}.archive(t)
		}, "there are vulnerabilities in it whose provider is not"},
		"nothing is known to be exploited": {empty("known_exploited_vulnerability_handles"), "it is empty: there is nothing in known_exploited_vulnerability_handles"},
		"no other names of packages":       {empty("package_specifier_overrides"), "it is empty: there is nothing in package_specifier_overrides"},
	} {
		t.Run(name, func(t *testing.T) {
			p.wants(1, []string{"db", "import", tc.archive(t)}, tc.want)
			if p.inUse() != before {
				t.Error("it came into use")
			}
		})
	}
	p.wants(0, []string{"db", "status"}, "vulnerability database of")
}

func without(table string) func(*testing.T) string {
	return func(t *testing.T) string { return db{records: sample().records, without: table}.archive(t) }
}

func empty(table string) func(*testing.T) string {
	return func(t *testing.T) string { return db{records: sample().records, empty: table}.archive(t) }
}

// TestRequestsThatCannotBeMeant: what nobody should ask has an answer, and
// that is no empty list.
func TestRequestsThatCannotBeMeant(t *testing.T) {
	p := newPlace(t).imported(sample())
	s := contenttest.NewStore()
	p.pack("release.tar", s, map[string]ocispec.Descriptor{"a:1": s.Image(linux, contenttest.Config{}, debianBase(s))})
	r := p.request("release.tar")
	r.Images[0].Digest = digest.FromBytes([]byte("another"))
	if a, err := ask(t, r); err != nil || len(a.results) != 1 || !strings.Contains(a.results["a:1"].Failed, "not found") {
		t.Errorf("%+v, %v", a.results, err)
	}
	r = p.request("release.tar")
	r.Op = "guess"
	if a, err := ask(t, r); err != nil || !strings.Contains(a.Error, "nothing that can be asked") {
		t.Errorf("%+v, %v", a.Answer, err)
	}
	var out bytes.Buffer
	if err := scanner.Serve(t.Context(), "v2 x", io.LimitReader(strings.NewReader(`{"protocol":1,"version":"v1 y"}`), 1<<10), &out, nil); err != nil || !strings.Contains(out.String(), "take both from one release") {
		t.Errorf("a ferry of another version is answered: %s %v", out.String(), err)
	}
}

// lying is an image whose config is another than its layers tell.
func lying(t *testing.T, s *contenttest.Store, img ocispec.Descriptor, change func(*ocispec.Image)) ocispec.Descriptor {
	t.Helper()
	var m ocispec.Manifest
	var c ocispec.Image
	raw, _ := s.Get(img.Digest)
	err := json.Unmarshal(raw, &m)
	config, _ := s.Get(m.Config.Digest)
	if err = errors.Join(err, json.Unmarshal(config, &c)); err != nil {
		t.Fatal(err)
	}
	change(&c)
	config, err = json.Marshal(c)
	m.Config = s.Add(m.Config.MediaType, config)
	raw, errManifest := json.Marshal(m)
	if err = errors.Join(err, errManifest); err != nil {
		t.Fatal(err)
	}
	return s.Add(img.MediaType, raw)
}

// TestLayersThatAreOthers: than the image's config says, or than the bundle had
// when it was packed. What would be looked into is not what runs.
func TestLayersThatAreOthers(t *testing.T) {
	s := contenttest.NewStore()
	p := newPlace(t).imported(sample())
	base, more := debianBase(s), python(s, "django", "2.2.0")
	changed := s.Layer(file("etc/os-release", bookworm))
	img := s.Image(linux, contenttest.Config{}, base, more)
	p.pack("release.tar", s, map[string]ocispec.Descriptor{
		"other:1":   lying(t, s, img, func(c *ocispec.Image) { c.RootFS.DiffIDs[1] = digest.FromString("another") }),
		"fewer:1":   lying(t, s, img, func(c *ocispec.Image) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:1] }),
		"changed:1": s.Image(linux, contenttest.Config{}, changed),
	})
	r := p.request("release.tar")
	changeFile(t, p.path("release.tar"), func(b []byte) []byte {
		layer, _ := s.Get(changed.Digest)
		i := bytes.Index(b, layer)
		if i < 0 || !bytes.HasPrefix(layer, []byte("\x1f\x8b")) {
			t.Fatal("the layer does not lie in the bundle as it is")
		}
		b[i+4] ^= 1 // the date in gzip's header: it unpacks to the same
		return b
	})
	a, err := ask(t, r)
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	for name, want := range map[string]string{
		"other:1": "and the image's config says sha256:", "fewer:1": "its config tells of 1 layers, its manifest of 2", "changed:1": "layer 1, " + changed.Digest.String(),
	} {
		if r := a.results[name]; !strings.Contains(r.Failed, want) || len(r.Packages) > 0 {
			t.Errorf("%s: %+v, want %q", name, r, want)
		}
	}
}
