package manifest_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ferry/internal/manifest"
	"ferry/internal/ref"
)

// inside is what the tests make of images: their name in the bank's registry,
// and a policy. What is inside already stays.
func inside(img manifest.Image) manifest.Change {
	m := ref.Mapping{Registry: "registry.bank.internal", Prefix: "mirror"}
	n, err := ref.Parse(img.Name)
	if err != nil {
		return manifest.Change{}
	}
	c := manifest.Change{Policy: "IfNotPresent"}
	if n.Registry() == m.Registry {
		return c
	}
	mapped, err := m.Map(n)
	if err != nil {
		return manifest.Change{}
	}
	c.Name = mapped.String()
	return c
}

func read(t *testing.T, name, text string, paths ...string) *manifest.File {
	t.Helper()
	var opts manifest.Options
	for _, s := range paths {
		p, err := manifest.ParsePath(s)
		if err != nil {
			t.Fatal(err)
		}
		opts.Paths = append(opts.Paths, p)
	}
	f, err := manifest.Read(name, []byte(text), opts)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func rewrite(t *testing.T, f *manifest.File) *manifest.Rewritten {
	t.Helper()
	r, err := f.Rewrite(inside)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n"

// TestRewrite shows each way of writing an image, and what becomes of it.
// «old» and «old|new» mark what is replaced, «|new» what is put in between;
// all else has to stay byte for byte.
func TestRewrite(t *testing.T) {
	const in = "registry.bank.internal/mirror/library/"
	policy := func(indent string) string { return "«|" + indent + "imagePullPolicy: IfNotPresent\n»" }
	for name, text := range map[string]string{
		"plain":            pod + "  - name: a\n    image: «nginx:1|" + in + "nginx:1»\n" + policy("    "),
		"comment":          pod + "  - image:   «nginx:1|" + in + "nginx:1»   # keep: me\n" + policy("    ") + "    name: a # and me\n",
		"no end of line":   pod + "  - image: «nginx:1|" + in + "nginx:1»«|\n    imagePullPolicy: IfNotPresent»",
		"double quotes":    pod + "  - image: \"«nginx:1|" + in + "nginx:1»\"\n" + policy("    "),
		"single quotes":    pod + "  - image: '«nginx:1|" + in + "nginx:1»'\n" + policy("    "),
		"escapes":          pod + "  - image: \"«\\x6eginx:\\u0031|" + in + "nginx:1»\"\n" + policy("    "),
		"next line":        pod + "  - image:\n      «nginx:1|" + in + "nginx:1» \n" + policy("    "),
		"literal":          pod + "  - «|imagePullPolicy: IfNotPresent\n    »image: |-\n      «nginx:1|" + in + "nginx:1»\n    name: a\n",
		"folded":           pod + "  - «|imagePullPolicy: IfNotPresent\n    »image: >-   # why\n      «nginx:1|" + in + "nginx:1»\n\n    name: a\n",
		"tag":              pod + "  - image: !!str «nginx:1|" + in + "nginx:1»\n" + policy("    "),
		"flow":             pod + "  - {image: «nginx:1|" + in + "nginx:1»«|, imagePullPolicy: IfNotPresent», name: a}\n",
		"tight flow":       pod + "  - {\"image\":\"«nginx:1|" + in + "nginx:1»\"«|,\"imagePullPolicy\":\"IfNotPresent\"»,\"name\":\"a\"}\n",
		"quoted key":       pod + "  - \"image\": «nginx:1|" + in + "nginx:1»\n" + policy("    "),
		"policy there":     pod + "  - image: «nginx:1|" + in + "nginx:1»\n    imagePullPolicy: \"«Always|IfNotPresent»\"  # hm\n",
		"policy right":     pod + "  - image: «nginx:1|" + in + "nginx:1»\n    imagePullPolicy: IfNotPresent\n",
		"inside already":   pod + "  - image: registry.bank.internal/mirror/x:1\n" + policy("    "),
		"no indentation":   "kind: Pod\napiVersion: v1\nspec:\n  containers:\n  - image: «nginx:1|" + in + "nginx:1»\n" + policy("    "),
		"not ASCII":        pod + "  - name: ä€😀 # ü\n    image: «nginx:1|" + in + "nginx:1» # ö\n" + policy("    "),
		"not ASCII before": pod + "  - {name: \"ä€😀\", image: «nginx:1|" + in + "nginx:1»«|, imagePullPolicy: IfNotPresent»}\n",
		"all lists": pod + "  - image: «a:1|" + in + "a:1»\n" + policy("    ") +
			"  initContainers:\n  - image: «b:1|" + in + "b:1»\n" + policy("    ") +
			"  ephemeralContainers:\n  - image: «c:1|" + in + "c:1»\n" + policy("    ") +
			"  volumes:\n  - name: v\n    image:\n      reference: «d:1|" + in + "d:1»\n«|      pullPolicy: IfNotPresent\n»" +
			"  - name: w\n    image: {reference: «e:1|" + in + "e:1», pullPolicy: «Always|IfNotPresent»}\n",
		"anchor": pod + "  - name: a\n    image: &img «nginx:1|" + in + "nginx:1»\n" + policy("    ") +
			"  - name: b\n    image: *img\n" + policy("    "),
		"anchor of something else": strings.Replace(pod, "{name: p}", "{name: p, labels: {x: &img nginx}}", 1) +
			"  - name: b\n    image: «*img|" + in + "nginx:latest»\n" + policy("    "),
		"alias of something else": pod + "  - name: a\n    image: &img «nginx:1|" + in + "nginx:1»\n" + policy("    ") +
			"    args: [x, «*img|nginx:1»]\n",
		"merge": pod + "  - &d\n    name: a\n    image: «nginx:1|" + in + "nginx:1»\n" + policy("    ") +
			"  - <<: *d\n    name: b\n",
		"merge with a policy": pod + "  - &d\n    name: a\n    image: «nginx:1|" + in + "nginx:1»\n" + policy("    ") +
			"  - <<: *d\n    name: b\n    imagePullPolicy: «Never|IfNotPresent»\n",
		"CRLF": strings.ReplaceAll(pod, "\n", "\r\n") +
			"  - image: «nginx:1|" + in + "nginx:1»\r\n«|    imagePullPolicy: IfNotPresent\r\n»    name: a\r\n",
		"BOM":                "\ufeff" + pod + "  - image: «nginx:1|" + in + "nginx:1»\n" + policy("    "),
		"BOM and first line": "\ufeff{kind: Pod, apiVersion: v1, spec: {containers: [{image: «nginx:1|" + in + "nginx:1»«|, imagePullPolicy: IfNotPresent»}]}}\n",
		"documents": "# first\n---\n" + pod + "  - image: «nginx:1|" + in + "nginx:1»\n" + policy("    ") + "---\n...\n---\n# none\n---\n" +
			pod + "  - image: «nginx:2|" + in + "nginx:2»\n" + policy("    ") + "...\n",
		"list":       "apiVersion: v1\nkind: List\nitems:\n- kind: Pod\n  apiVersion: v1\n  spec: {containers: [{image: «nginx:1|" + in + "nginx:1»«|, imagePullPolicy: IfNotPresent»}]}\n",
		"typed list": "apiVersion: apps/v1\nkind: DeploymentList\nitems:\n- spec: {template: {spec: {containers: [{image: «nginx:1|" + in + "nginx:1»«|, imagePullPolicy: IfNotPresent»}]}}}\n",
		"JSON": `{"kind":"Pod","apiVersion":"v1","metadata":{"annotations":{"x":"😀 \ud83d\ude00 \/"}},"spec":{"containers":[{"image":"«nginx:1|` + in + `nginx:1»"«|,"imagePullPolicy":"IfNotPresent"»}]}}` +
			"\n" + `{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{"image":"«ng\u0069nx:2|` + in + `nginx:2»"«|,"imagePullPolicy":"IfNotPresent"»}]}}`,
		"tall JSON": "\ufeff{\n\t\"kind\": \"Pod\", \"apiVersion\": \"v1\",\n\t\"spec\": {\n\t\t\"containers\": [\n\t\t\t{\n\t\t\t\t\"image\": \"«nginx:1|" + in +
			"nginx:1»\"«|,\n\t\t\t\t\"imagePullPolicy\": \"IfNotPresent\"»\n\t\t\t}\n\t\t]\n\t}\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			before, after := unmark(text)
			f := read(t, "x.yaml", before)
			r := rewrite(t, f)
			if string(r.Text) != after {
				t.Fatalf("got\n%s\nwant\n%s", r.Text, after)
			}
			if len(f.Images) == 0 || len(r.Left) > 0 {
				t.Fatalf("%d images, left %v", len(f.Images), r.Left)
			}
			again := rewrite(t, read(t, "x.yaml", after))
			if len(again.Edits) > 0 {
				t.Errorf("a second time it changes %v", again.Edits)
			}
		})
	}
}

// unmark makes of a marked text what goes in and what comes out.
func unmark(s string) (before, after string) {
	var b, a strings.Builder
	for s != "" {
		plain, rest, _ := strings.Cut(s, "«")
		mark, more, _ := strings.Cut(rest, "»")
		old, now, _ := strings.Cut(mark, "|")
		b.WriteString(plain + old)
		a.WriteString(plain + now)
		s = more
	}
	return b.String(), a.String()
}

func TestWorkloads(t *testing.T) {
	const containers = "containers: [{name: c, image: nginx:1}]"
	for _, c := range []struct{ api, kind, spec, path string }{
		{"v1", "Pod", "spec: {" + containers + "}", ".spec"},
		{"v1", "ReplicationController", "spec: {template: {spec: {" + containers + "}}}", ".spec.template.spec"},
		{"v1", "PodTemplate", "template: {spec: {" + containers + "}}", ".template.spec"},
		{"apps/v1", "Deployment", "spec: {template: {spec: {" + containers + "}}}", ".spec.template.spec"},
		{"apps/v1", "StatefulSet", "spec: {template: {spec: {" + containers + "}}}", ".spec.template.spec"},
		{"apps/v1beta2", "DaemonSet", "spec: {template: {spec: {" + containers + "}}}", ".spec.template.spec"},
		{"extensions/v1beta1", "ReplicaSet", "spec: {template: {spec: {" + containers + "}}}", ".spec.template.spec"},
		{"batch/v1", "Job", "spec: {template: {spec: {" + containers + "}}}", ".spec.template.spec"},
		{"batch/v1beta1", "CronJob", "spec: {jobTemplate: {spec: {template: {spec: {" + containers + "}}}}}", ".spec.jobTemplate.spec.template.spec"},
	} {
		f := read(t, "x.yaml", "apiVersion: "+c.api+"\nkind: "+c.kind+"\nmetadata: {name: n, namespace: ns}\n"+c.spec+"\n")
		want := []manifest.Image{{
			Object: manifest.Object{APIVersion: c.api, Kind: c.kind, Namespace: "ns", Name: "n", Line: 1},
			Path:   c.path + ".containers[0].image", In: "container c", Name: "nginx:1", HasPolicy: true, Line: 4,
		}}
		if !slices.Equal(f.Images, want) {
			t.Errorf("%s: %+v", c.kind, f.Images)
		}
	}
	// Of another group it is something else.
	f := read(t, "x.yaml", "apiVersion: example.com/v1\nkind: Deployment\nspec: {template: {spec: {"+containers+"}}}\n")
	if len(f.Images) > 0 || len(f.Elsewhere) != 1 || f.Elsewhere[0].Path != ".spec.template.spec.containers[0].image" {
		t.Errorf("%+v, %+v", f.Images, f.Elsewhere)
	}
}

const custom = `apiVersion: example.com/v1
kind: Database
metadata: {name: db}
spec:
  image: postgres:16
  pools:
  - {size: 1, image: "quay.io/x/pool:1"}
  - size: 2
    image: quay.io/x/pool:2 # two
  "odd key": {a.b: quay.io/x/odd:1}
`

func TestPaths(t *testing.T) {
	f := read(t, "x.yaml", custom, ".spec.image", ".spec.pools[*].image", `Database:.spec["odd key"]["a.b"]`, "Other:.spec.image")
	var got []string
	for _, img := range f.Images {
		got = append(got, img.Path+" "+img.Name)
	}
	want := []string{
		".spec.image postgres:16", ".spec.pools[0].image quay.io/x/pool:1", ".spec.pools[1].image quay.io/x/pool:2",
		`.spec["odd key"]["a.b"] quay.io/x/odd:1`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	r := rewrite(t, f)
	after := strings.NewReplacer("postgres:16", "registry.bank.internal/mirror/library/postgres:16", "quay.io/", "registry.bank.internal/mirror/").Replace(custom)
	if string(r.Text) != after {
		t.Errorf("got\n%s", r.Text)
	}
	for _, bad := range []string{"", "spec.image", ".spec..image", ".spec.pools[*]", "Kind:", ".spec[0].image", "." + strings.Repeat("a", 2000)} {
		if _, err := manifest.ParsePath(bad); err == nil {
			t.Errorf("%q was taken for a path", bad)
		}
	}
}

func TestElsewhere(t *testing.T) {
	f := read(t, "x.yaml", custom+`---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{"image":"quay.io/x/old:1"}'
spec:
  template:
    spec:
      containers:
      - name: web
        image: quay.io/x/web:1
        args: ["--sidecar=quay.io/x/proxy:2", "https://quay.io/x/page:1", "a/b:c", 10.0.0.1/8]
        env:
        - {name: OTHER, value: "quay.io/x/job@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
      - {name: tmpl, image: {{ .Values.image }}}
      - {name: none, image: ""}
status: {x: quay.io/x/status:1}
---
image: {repository: quay.io/x/values, tag: "1.0"}
`)
	var got []string
	for _, e := range f.Elsewhere {
		got = append(got, fmt.Sprintf("%d %s %s %s: %s", e.Line, e.Object.Kind, e.Path, e.Text, e.Why))
	}
	want := []string{
		`27 Deployment .spec.template.spec.containers[1].image {{ .Values.image }}}: should be an image and is no string: a template has to be rendered first`,
		`28 Deployment .spec.template.spec.containers[2].image : should be an image and is empty`,
		"5 Database .spec.image postgres:16: looks like an image",
		"7 Database .spec.pools[0].image quay.io/x/pool:1: looks like an image",
		"9 Database .spec.pools[1].image quay.io/x/pool:2: looks like an image",
		`10 Database .spec["odd key"]["a.b"] quay.io/x/odd:1: looks like an image`,
		"24 Deployment .spec.template.spec.containers[0].args[0] quay.io/x/proxy:2: looks like an image",
		"26 Deployment .spec.template.spec.containers[0].env[0].value quay.io/x/job@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855: looks like an image",
		"31  .image.repository quay.io/x/values:1.0: looks like an image in two parts",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestSharedParts: what an alias repeats where no image is expected is left
// alone and told, since it would change there too.
func TestSharedParts(t *testing.T) {
	text := "apiVersion: v1\nkind: List\nx-all: [*no]\nitems: []\n"
	if _, err := manifest.Read("x.yaml", []byte(text), manifest.Options{}); err == nil {
		t.Error("an alias without an anchor was read")
	}
	text = pod + "  - &c\n    name: a\n    image: nginx:1\n---\n" + pod + "  - name: z\n    image: nginx:2\n"
	if r := rewrite(t, read(t, "x.yaml", text)); len(r.Left) > 0 || len(r.Edits) != 4 {
		t.Errorf("an anchor that nobody repeats: %+v", r)
	}
	text = pod + "  - &c\n    name: a\n    image: nginx:1\n  x-other:\n    deep: [*c]\n  - name: b\n    image: nginx:2\n"
	text = strings.Replace(text, "  - name: b\n    image: nginx:2\n", "", 1)
	r := rewrite(t, read(t, "x.yaml", text))
	if len(r.Edits) > 0 || len(r.Left) != 1 || r.Left[0].Line != 8 || !strings.Contains(r.Left[0].Why, "repeated by an alias") {
		t.Errorf("%+v", r)
	}
	// The same from where only images are expected is no reason.
	text = "apiVersion: v1\nkind: Pod\nx-c: &c {name: a, image: nginx:1}\nspec:\n  containers: [*c]\n"
	r = rewrite(t, read(t, "x.yaml", text))
	if len(r.Edits) != 2 || len(r.Left) > 0 {
		t.Errorf("%+v", r)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		line int
		says string
	}{
		"no YAML":            {"a: 1\nb: [1,\nc: }\n", 0, "it is not YAML"},
		"tab":                {"a:\n\tb: 1\n", 2, "it is not YAML"},
		"JSON cut":           {"{\"a\": [1,\n 2", 2, "unexpected EOF"},
		"duplicate":          {"kind: Pod\nspec:\n  a: 1\n  b: 2\n  a: 3\n", 5, `the key "a" stands twice in one mapping, first in line 3`},
		"duplicate JSON":     {"{\"a\": 1,\n\"a\": 2}", 2, `the key "a" stands twice in one mapping, first in line 1`},
		"duplicates of many": {"x:\n" + many(100, "  k%d: 1\n") + "  k50: 1\n", 102, "stands twice"},
		"UTF-16":             {"\xff\xfea\x00:\x00", 0, "UTF-16"},
		"UTF-16, unmarked":   {"a\x00:\x00", 0, "UTF-16"},
		"bytes":              {"a: 1\nb: \x80\n", 2, "not UTF-8"},
		"template":           {"a: 1\n{{- if .x }}\nb: 1\n{{- end }}\n", 2, "looks like a template"},
		"huge":               {strings.Repeat("#", manifest.MaxFile+1), 0, "at most 33554432 are read"},
		"documents":          {strings.Repeat("---\na: 1\n", manifest.MaxDocuments+1), 0, "more than 20000 documents"},
		"JSON documents":     {strings.Repeat("{}\n", manifest.MaxDocuments+1), 0, "more than 20000 documents"},
		"unknown anchor":     {"a: *b\n", 0, "unknown anchor"},
	} {
		_, err := manifest.Read("x.yaml", []byte(c.text), manifest.Options{})
		e, ok := errors.AsType[*manifest.Error](err)
		if !ok || !strings.Contains(err.Error(), c.says) || e.Todo == "" || c.line > 0 && e.Line != c.line {
			t.Errorf("%s: %v (line %d)", name, err, e.Line)
		}
	}
}

func many(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// TestHostileAliases: aliases of aliases stand for more than there is memory,
// and a part that contains itself for endlessly much.
func TestHostileAliases(t *testing.T) {
	bomb := "apiVersion: v1\nkind: List\nitems:\n- &a0 {kind: Pod, apiVersion: v1, spec: {containers: [{image: nginx:1}]}}\n"
	for i := range 40 {
		bomb += fmt.Sprintf("- &a%d {kind: List, apiVersion: v1, items: [*a%d, *a%d, *a%d]}\n", i+1, i, i, i)
	}
	if r := rewrite(t, read(t, "x.yaml", bomb)); len(r.Edits) != 2 {
		t.Errorf("%+v", r.Edits)
	}
	for _, loop := range []string{
		"&a {kind: List, apiVersion: v1, items: [*a]}\n",
		pod + "  - &a {image: nginx:1, x: *a}\n",
		pod + "  - &a {<<: *a, image: nginx:1}\n",
		pod + "  - &a {<<: [*a, *a], name: b}\n",
	} {
		f, err := manifest.Read("x.yaml", []byte(loop), manifest.Options{})
		if err == nil {
			_, err = f.Rewrite(inside)
		}
		t.Logf("%q: %v", loop, err)
	}
}

// FuzzRewrite: whatever comes in, nothing but images and policies changes,
// what comes out can be read, and a second time there is nothing to do.
func FuzzRewrite(f *testing.F) {
	for _, s := range []string{
		pod + "  - image: nginx\n", pod + "  - {image: \"a\", name: b}\n", "\ufeff" + pod + "  - image: |\n      x\n",
		pod + "  - &a\n    image: &b x:1\n  - *a\n  - {image: *b, <<: *a}\n", `{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{"image":"a"}]}}`,
		"kind: List\napiVersion: v1\nitems: [{kind: Pod, apiVersion: v1, spec: {volumes: [{image: {reference: x}}]}}]",
		pod + "  - ? image\n    : 'x'\r\n    imagePullPolicy: !!str Always\r\n", custom,
	} {
		f.Add([]byte(s))
	}
	paths := []manifest.Path{}
	for _, s := range []string{".spec.image", ".spec.pools[*].image"} {
		p, _ := manifest.ParsePath(s)
		paths = append(paths, p)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := manifest.Read("x.yaml", text, manifest.Options{Paths: paths})
		if err != nil {
			return
		}
		r, err := file.Rewrite(inside)
		if err != nil {
			return
		}
		if !bytes.Equal(outside(text, r.Edits, false), outside(r.Text, r.Edits, true)) {
			t.Fatalf("other bytes changed:\n%q\n%q", text, r.Text)
		}
		again, err := manifest.Read("x.yaml", r.Text, manifest.Options{Paths: paths})
		if err != nil {
			t.Fatalf("%q became %q: %v", text, r.Text, err)
		}
		if len(again.Images) != len(file.Images) {
			t.Fatalf("%q became %q, with %d images", text, r.Text, len(again.Images))
		}
		second, err := again.Rewrite(inside)
		if err == nil && len(second.Edits) > 0 {
			t.Fatalf("%q became %q, and then %q", text, r.Text, second.Text)
		}
	})
}

// outside is what no edit touches, in the text before or after them.
func outside(text []byte, edits []manifest.Edit, after bool) []byte {
	var out []byte
	at, shift := 0, 0
	for _, e := range edits {
		start, end := e.Start, e.End
		if after {
			start += shift
			end = start + len(e.Text)
			shift += len(e.Text) - (e.End - e.Start)
		}
		out = append(out, text[at:start]...)
		out = append(out, 0)
		at = end
	}
	return append(out, text[at:]...)
}
