package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"sigs.k8s.io/yaml"
)

var ago = regexp.MustCompile(`NOW-[0-9]+[smh]`)

// standInCluster starts a stand-in for an API server, which knows the objects
// of a YAML file and answers lists and single objects from them, as far as
// doctor asks; and points KUBECONFIG at it.
//
// NOW-5m in the file is the time five minutes ago.
//
//	cluster FILE               anybody may see everything
//	cluster FILE forbid=A,B    nobody may see the resources A and B
//	cluster FILE deny=VERB:A   nobody has the right to do VERB with A
//	cluster FILE always        every pod would get imagePullPolicy Always
func standInCluster(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("cluster FILE [forbid=RESOURCE,…]")
	}
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	c := &standIn{}
	text := ago.ReplaceAllStringFunc(string(b), func(s string) string {
		d, err := time.ParseDuration(strings.TrimPrefix(s, "NOW-"))
		ts.Check(err)
		return `"` + time.Now().Add(-d).UTC().Format(time.RFC3339) + `"`
	})
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var o map[string]any
		ts.Check(yaml.Unmarshal([]byte(doc), &o))
		c.objects = append(c.objects, o)
	}
	for _, a := range args[1:] {
		key, list, _ := strings.Cut(a, "=")
		switch key {
		case "forbid":
			c.forbidden = strings.Split(list, ",")
		case "deny":
			c.denied = strings.Split(list, ",")
		case "always":
			c.always = true
		default:
			ts.Fatalf("cluster: %q?", a)
		}
	}
	s := httptest.NewServer(c)
	ts.Defer(s.Close)
	config := ts.MkAbs("kubeconfig")
	ts.Check(os.WriteFile(config, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q}}]
users: [{name: u, user: {}}]
contexts: [{name: test, context: {cluster: c, user: u}}]
current-context: test
`, s.URL), 0o600))
	ts.Setenv("KUBECONFIG", config)
	ts.Setenv("APISERVER", s.URL)
}

type standIn struct {
	objects   []map[string]any
	forbidden []string
	denied    []string
	always    bool
}

// ServeHTTP knows /api/v1[/namespaces/NS]/RESOURCE[/NAME] and the same below
// /apis/GROUP/VERSION.
func (c *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	skip := 2 // api/v1
	if parts[0] == "apis" {
		skip = 3
	}
	parts = parts[min(skip, len(parts)):]
	namespace := ""
	if len(parts) > 2 && parts[0] == "namespaces" {
		namespace, parts = parts[1], parts[2:]
	}
	resource := strings.Join(parts, "/")
	if len(parts) > 0 && slices.Contains(c.forbidden, parts[0]) {
		failure(w, http.StatusForbidden, fmt.Sprintf("%s is forbidden: User \"u\" cannot list resource %q", parts[0], parts[0]))
		return
	}
	if r.Method != http.MethodGet {
		c.change(w, r, parts)
		return
	}
	switch len(parts) {
	case 1:
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "List", "metadata": map[string]any{}, "items": c.list(resource, namespace)})
	case 2:
		for _, o := range c.list(parts[0], namespace) {
			if name(o, "name") == parts[1] {
				_ = json.NewEncoder(w).Encode(o)
				return
			}
		}
		failure(w, http.StatusNotFound, fmt.Sprintf("%s %q not found", parts[0], parts[1]))
	default:
		failure(w, http.StatusNotFound, "the server could not find the requested resource")
	}
}

// change answers questions about rights, and what is only tried. It changes
// nothing.
func (c *standIn) change(w http.ResponseWriter, r *http.Request, parts []string) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		failure(w, http.StatusBadRequest, err.Error())
		return
	}
	if parts[0] == "selfsubjectaccessreviews" {
		var review struct {
			Spec struct {
				ResourceAttributes struct{ Verb, Resource string }
			}
		}
		_ = json.Unmarshal(b, &review)
		a := review.Spec.ResourceAttributes
		_ = json.NewEncoder(w).Encode(map[string]any{"status": map[string]any{"allowed": !slices.Contains(c.denied, a.Verb+":"+a.Resource)}})
		return
	}
	if r.URL.Query().Get("dryRun") != "All" {
		failure(w, http.StatusMethodNotAllowed, "the stand-in changes nothing")
		return
	}
	if c.always {
		b = bytes.ReplaceAll(b, []byte(`"imagePullPolicy":"IfNotPresent"`), []byte(`"imagePullPolicy":"Always"`))
	}
	_, _ = w.Write(b)
}

func (c *standIn) list(resource, namespace string) []map[string]any {
	found := []map[string]any{}
	for _, o := range c.objects {
		kind, _ := o["kind"].(string)
		if strings.ToLower(kind)+"s" == resource && (namespace == "" || name(o, "namespace") == namespace) {
			found = append(found, o)
		}
	}
	return found
}

func name(o map[string]any, key string) string {
	m, _ := o["metadata"].(map[string]any)
	s, _ := m[key].(string)
	return s
}

func failure(w http.ResponseWriter, code int, message string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "status": "Failure", "code": code, "message": message})
}
