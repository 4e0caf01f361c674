package diagnose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"ferry/internal/quote"
	"ferry/internal/ref"
)

// sound checks what must hold of any report, whatever the text was.
func sound(t *testing.T, r Report) {
	t.Helper()
	for _, c := range r.Causes {
		if !slices.Contains(Labels(), c.Cause) || c.Confidence.rank() < 0 || c.Title == "" || c.Meaning == "" {
			t.Fatalf("not a cause: %+v", c)
		}
		if c.Cause == Unknown && c.Confidence != Possible {
			t.Fatalf("unknown is %s", c.Confidence)
		}
		for _, m := range commands(c) {
			if m.Command != "" && m.Command != quote.Shell(m.Argv...) || m.Command == "" && m.Argv != nil {
				t.Fatalf("the command is not the argv: %+v", m)
			}
			for _, arg := range m.Argv {
				if strings.ContainsFunc(arg, quote.Unsafe) || strings.ContainsFunc(arg, func(r rune) bool { return r > unicode.MaxASCII }) {
					t.Fatalf("foreign text in a command: %q", m.Argv)
				}
			}
		}
		for _, e := range c.Evidence {
			if len(e) > 4096 {
				t.Fatalf("%d bytes of evidence", len(e))
			}
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Fatal(err)
	}
}

func commands(c Cause) []Remedy {
	if c.Verify == nil {
		return c.Remedies
	}
	return append(slices.Clone(c.Remedies), *c.Verify)
}

func FuzzMessage(f *testing.F) {
	for _, wrap := range requestWraps() {
		f.Add(strings.ReplaceAll(wrap, "LEAF", "dial tcp: lookup a on b:53: read udp c->b:53: i/o timeout"))
	}
	f.Add(`\\\\\"` + "│\n│ " + `“\u003chtml`)
	f.Add(`Failed to pull image "$(id)": rpc error: code = ; 'x' https://u:p@[::1]:99999/v2/\x1b[0m: 401`)
	r := NewReader()
	f.Fuzz(func(t *testing.T, s string) {
		sound(t, r.Message(s, Setting{}))
		sound(t, r.Message(s, Setting{Image: s, Namespace: s, Kind: s, Name: s, Pod: s, Node: s, Nodes: Minikube, Profile: s, Secrets: []string{s}, Account: s, Container: s}))
	})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"kind":"List","items":[{"kind":"Pod","metadata":{"name":"a"},"status":{"containerStatuses":[{"name":"c","state":{"waiting":{"reason":"ErrImagePull","message":"EOF"}}}]}}]}`))
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nstatus:\n  containerStatuses:\n  - name: c\n    state: {waiting: {reason: ImagePullBackOff}}\n"))
	f.Add([]byte("Name: a\nNamespace: b\nContainers:\n  c:\n    Image: nginx\n    State: Waiting\n      Reason: ErrImagePull\nEvents:\n  Warning  Failed  1s (x2 over 3s)  kubelet  Failed to pull image \"nginx\": EOF\n"))
	f.Add([]byte("NAME READY STATUS RESTARTS AGE\na 0/1 Init:ErrImagePull 0 1s\n"))
	f.Add([]byte("E1124 10:00:00.000000 1 x.go:1] \"PullImage failed\" err=\"EOF\" pod=\"a/b\"\n{\"msg\":\"pull\"}\n"))
	f.Add([]byte{0, 1, 2, 0xff, '\n'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Read(bytes.NewReader(b), Setting{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Causes == nil || len(r.Causes) > maxCauses {
			t.Fatalf("%d causes", len(r.Causes))
		}
		sound(t, r.Report)
	})
}

// hostile are texts whose parts look like the beginning of something.
func hostile() []string {
	return []string{
		`\`, `\"`, `\\\"`, `"`, "│\n│ ", "a ", "lookup ", "lookup a", "dial tcp ", "https://", "Get \"https://a/v2/\": ", "image \"", "image ", ": not found",
		"a:b: not found ", "repository ", "manifest for ", "status ", "401 ", "reading manifest a in b ", "rpc error: code = ", "x509: ", "EOF ", "no signature ",
		"certificate ", "{\"", "[", "{\"items\":[", "\x1b[", "“", "eyJ", "Failed to pull image ", "a:\n", "- a: &a [*a]\n", "Name: a\nNamespace:\n", "\n", "Warning Failed 1s kubelet ",
		"/run/x.sock ", "denied", "; artifact err:", "é", "\xff",
	}
}

// Eight times the text may take eight times as long.
func TestPeelingIsLinear(t *testing.T) {
	r := NewReader()
	for _, s := range hostile() {
		took := func(size int) time.Duration {
			text := strings.Repeat(s, size/len(s)+1)[:size]
			start := time.Now()
			r.vocabulary.parse(text)
			return time.Since(start)
		}
		// The machine may be busy with something else for a moment.
		if !eventually(func() bool { return took(32<<10) < 40*took(4<<10)+20*time.Millisecond }) {
			t.Errorf("the time grows faster than a text of %q", s)
		}
	}
}

func eventually(ok func() bool) bool {
	for range 4 {
		if ok() {
			return true
		}
	}
	return false
}

// repeated is a text of a given size without holding it.
type repeated struct {
	text string
	left int64
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && r.left > 0 {
		k := copy(p[n:min(int64(len(p)), int64(n)+r.left)], r.text[r.at:])
		n, r.at, r.left = n+k, (r.at+k)%len(r.text), r.left-int64(k)
	}
	return n, nil
}

// numbered makes each line differ from the others by its words.
type numbered50 struct {
	left int64
	n    int
	rest []byte
}

func (r *numbered50) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.left <= 0 {
			return 0, io.EOF
		}
		r.n++
		word := strings.Map(func(d rune) rune { return d - '0' + 'a' }, fmt.Sprint(r.n))
		r.rest = fmt.Appendf(nil, "E1124 10:00:00.000000 1 x.go:1] \"PullImage failed\" err=\"failed to pull image %s: dial tcp 10.0.0.1:443: i/o timeout\"\n", word)
		r.left -= int64(len(r.rest))
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Megabytes of whatever: an answer, in bounded time and memory. FERRY_SIZE sets
// how many bytes; all pass with 50 MB in 1.5 GB of address space.
func TestLongTexts(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(32 << 20))
	size := int64(2 << 20)
	if v := os.Getenv("FERRY_SIZE"); v != "" {
		fmt.Sscan(v, &size)
	}
	line := `E1124 10:00:00.000000    1088 pod_workers.go:1298] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"app\" with ErrImagePull: \"dial tcp: lookup r.example on 10.0.0.1:53: read udp 10.0.0.2:1->10.0.0.1:53: i/o timeout\"" pod="shop/web-1"` + "\n"
	for name, in := range map[string]io.Reader{
		"one line":       &repeated{text: "x509 pull ", left: size},
		"lines":          &repeated{text: line + "I1124 10:00:00.000000 1 y.go:1] nothing\n", left: size},
		"other lines":    &numbered50{left: size},
		"no line":        &repeated{text: "\n", left: size},
		"letters":        &repeated{text: "a", left: size},
		"noughts":        &repeated{text: "\x00", left: size},
		"brackets":       &repeated{text: "[", left: size},
		"braces":         &repeated{text: `{"a":`, left: size},
		"nested":         io.MultiReader(strings.NewReader(`[{},`), &repeated{text: "[", left: size}),
		"one string":     io.MultiReader(strings.NewReader(`{"message":"`), &repeated{text: "a", left: size}, strings.NewReader(`"}`)),
		"objects":        &repeated{text: `{"level":"error","msg":"pull failed: x509: certificate signed by unknown authority"}` + "\n", left: size},
		"pods":           io.MultiReader(strings.NewReader(`{"kind":"List","items":[`), &repeated{text: `{"kind":"Pod","metadata":{"name":"a"},"status":{"containerStatuses":[{"name":"c","ready":true,"state":{"running":{}}}]}},`, left: size}, strings.NewReader(`{}]}`)),
		"yaml":           io.MultiReader(strings.NewReader("apiVersion: v1\nkind: Pod\n"), &repeated{text: "a: b\n", left: size}),
		"yaml documents": &repeated{text: "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", left: size},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := time.Now()
			r, err := Read(in, Setting{})
			took := time.Since(start)
			runtime.GC()
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			sound(t, r.Report)
			t.Logf("%s: %v, %d MB allocated in all, %d MB kept: %s, %d lines", name, took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20, (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>20, r.Form, r.Lines)
			if took > 60*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestSecretsDoNotComeThrough(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, s := range []string{
		`Get "https://anna:SECRET@r.example/v2/": EOF`,
		`Get "https://r.example/token?token=SECRET&service=x": dial tcp 10.0.0.1:443: connect: connection refused`,
		`failed to fetch oauth token: Post "https://r.example/token": {"password":"SECRET"}: 401 Unauthorized`,
		`{"message":"Get \"https://anna:SECRET@r.example/v2/\": EOF"}`,
		`Authorization: Bearer SECRET123 denied: access forbidden`,
		`time="x" level=error msg="pull failed" error="Get \"https://b.example/d?X-Amz-Signature=SECRET\": i/o timeout"`,
	} {
		r, err := Read(strings.NewReader(strings.ReplaceAll(s, "SECRET", secret)), Setting{})
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := json.Marshal(r); bytes.Contains(b, []byte(secret)) {
			t.Errorf("the secret of %s is in %s", s, b)
		}
	}
}

// Names that do not parse go into no command.
func TestForeignNamesStayOutOfCommands(t *testing.T) {
	for _, evil := range []string{"$(reboot)", "a;reboot", "--help", "-n", "a b", "a\x1b[0m", "ｅｖｉｌ", "../../x"} {
		text := fmt.Sprintf(`Failed to pull image "%s": Get "https://%s/v2/": dial tcp: lookup %s on %s:53: i/o timeout`, evil, evil, evil, evil)
		s := Setting{Namespace: evil, Kind: "Deployment", Name: evil, Pod: evil, Node: evil, Profile: evil, Nodes: Minikube, Secrets: []string{evil}}
		for _, c := range Message(text, s).Causes {
			for _, m := range commands(c) {
				for _, arg := range m.Argv {
					if strings.Contains(arg, evil) && evil != "-n" {
						t.Errorf("%q is in %q", evil, m.Argv)
					}
				}
			}
		}
	}
}

type broken50 struct{}

func (broken50) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

func TestReadError(t *testing.T) {
	if _, err := Read(broken50{}, Setting{}); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Error(err)
	}
	if _, err := Read(io.MultiReader(strings.NewReader(strings.Repeat("pull x509\n", maxWhole)), broken50{}), Setting{}); err == nil {
		t.Error("an error in the middle of a log is lost")
	}
}

func TestRemediesNameImagesThatParse(t *testing.T) {
	c := Message(`Failed to pull image "registry.example:5000/shop/cart:2.4": manifest unknown`, Setting{}).Causes[0]
	found := false
	for _, m := range c.Remedies {
		for _, arg := range m.Argv {
			name := strings.TrimPrefix(arg, "docker://")
			if strings.Contains(name, "registry.example") {
				found = true
				if _, err := ref.Parse(name); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if !found {
		t.Errorf("no remedy names the image: %+v", c.Remedies)
	}
}
