package registry_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"ferry/internal/registry"
)

func basic(user string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user))
}

// wantsBasic lets in who comes with one of users.
func wantsBasic(users ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, u := range users {
			if r.Header.Get("Authorization") == basic(u) {
				manifest(w, r)
				return
			}
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// tokens is a registry and its token server. A token is good for as many
// requests as uses says.
type tokens struct {
	mu    sync.Mutex
	uses  int
	left  map[string]int
	asked []*http.Request
}

func (k *tokens) registry(realm string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		good := k.left[token] > 0
		k.left[token]--
		k.mu.Unlock()
		if good {
			manifest(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="registry",scope="repository:team/app:pull"`, realm))
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func (k *tokens) server(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, r)
	token := fmt.Sprintf("t%d", len(k.asked))
	k.left[token] = k.uses
	fmt.Fprintf(w, `{"token":%q}`, token)
}

func (k *tokens) logins() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []string
	for _, r := range k.asked {
		all = append(all, r.Header.Get("Authorization"))
	}
	return all
}

func TestBasicLogin(t *testing.T) {
	w := newWorld(t)
	file := w.login(map[string]string{"registry.example.com": "ann:secret"})
	w.serve("registry.example.com", "127.0.0.1", wantsBasic("ann:secret"))
	if _, _, err := w.repo(app).Fetch(t.Context(), "1.0"); err != nil {
		t.Fatal(err)
	}
	w.serve("registry.example.com", "127.0.0.1", wantsBasic("ann:changed"))
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantError(t, err, "401 Unauthorized")
	wantHint(t, err, file, `"registry.example.com"`, "podman login registry.example.com")
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the password is in the error: %v", err)
	}
}

func TestNoLoginForBasic(t *testing.T) {
	r, _ := at(t, wantsBasic("ann:secret"))
	_, _, err := r.Fetch(t.Context(), "1.0")
	wantError(t, err, "manifests/1.0: 401 Unauthorized")
	wantHint(t, err, "podman login registry.example.com")
}

// Logins may be for a part of a registry; none serves another part.
func TestLoginsByPath(t *testing.T) {
	w := newWorld(t)
	w.login(map[string]string{"registry.example.com/team": "ann:1", "registry.example.com/other": "bob:2", "example.org": "eve:3"})
	var s seen
	w.serve("registry.example.com", "127.0.0.1", s.then(wantsBasic("ann:1", "bob:2")))
	c := w.client()
	for _, name := range []string{"team/app", "other/app"} {
		if _, _, err := repoOf(t, c, "registry.example.com/"+name).Fetch(t.Context(), "1.0"); err != nil {
			t.Error(err)
		}
	}
	_, _, err := repoOf(t, c, "registry.example.com/third/app").Fetch(t.Context(), "1.0")
	wantError(t, err, "401")
	if got, want := s.logins(), []string{basic("ann:1"), basic("bob:2")}; !slices.Equal(got, want) {
		t.Errorf("logins %q, want %q", got, want)
	}
}

func TestTokenRunsOut(t *testing.T) {
	w := newWorld(t)
	w.login(map[string]string{"registry.example.com": "ann:secret"})
	k := &tokens{uses: 2, left: map[string]int{}}
	w.serve("auth.example.com", "127.0.0.1", http.HandlerFunc(k.server))
	w.serve("registry.example.com", "127.0.0.1", k.registry("https://auth.example.com/token"))
	r := w.repo(app)
	for i := range 5 {
		if _, _, err := r.Fetch(t.Context(), "1.0"); err != nil {
			t.Fatalf("request %d: %v", i+1, err)
		}
	}
	// Three tokens for five requests; the login went to the token server only.
	if got, want := k.logins(), slices.Repeat([]string{basic("ann:secret")}, 3); !slices.Equal(got, want) {
		t.Errorf("token server was asked with %q, want %q", got, want)
	}
}

func TestTokenServerElsewhere(t *testing.T) {
	for _, c := range []struct {
		name, realm string
		says        string
	}{
		{"same domain", "auth.example.com", ""},
		{"parent", "example.com", ""},
		{"another domain", "auth.example.net", "a login is sent only to hosts of the registry's own domain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.login(map[string]string{"registry.example.com": "ann:secret"})
			k := &tokens{uses: 9, left: map[string]int{}}
			w.serve(c.realm, "127.0.0.1", http.HandlerFunc(k.server))
			w.serve("registry.example.com", "127.0.0.1", k.registry("https://"+c.realm+"/token"))
			_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
			if c.says == "" {
				check(t, err)
				return
			}
			wantError(t, err, c.says, "https://auth.example.net")
			if len(k.logins()) != 0 {
				t.Errorf("the token server saw %q", k.logins())
			}
		})
	}
}

func TestAnonymousTokenFromElsewhere(t *testing.T) {
	w := newWorld(t)
	k := &tokens{uses: 9, left: map[string]int{}}
	w.serve("auth.example.net", "127.0.0.1", http.HandlerFunc(k.server))
	w.serve("registry.example.com", "127.0.0.1", k.registry("https://auth.example.net/token"))
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	if got := k.logins(); err != nil || !slices.Equal(got, []string{""}) {
		t.Errorf("%v; token server was asked with %q", err, got)
	}
}

// An identity token travels in the body of a POST, not in a header.
func TestIdentityTokenStaysInItsDomain(t *testing.T) {
	w := newWorld(t)
	w.file(map[string]any{"auths": map[string]any{"registry.example.com": map[string]string{
		"auth": base64.StdEncoding.EncodeToString([]byte("00000000-0000-0000-0000-000000000000:")), "identitytoken": "refresh-me",
	}}})
	k := &tokens{uses: 9, left: map[string]int{}}
	w.serve("auth.example.net", "127.0.0.1", http.HandlerFunc(k.server))
	w.serve("registry.example.com", "127.0.0.1", k.registry("https://auth.example.net/token"))
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantError(t, err, "a login is sent only to")
	if len(k.logins()) != 0 {
		t.Error("the token server was asked")
	}
}

func TestTokenServerMayNotLeaveTLS(t *testing.T) {
	w := newWorld(t)
	k := &tokens{uses: 9, left: map[string]int{}}
	w.servePlain("auth.example.com", "127.0.0.1", http.HandlerFunc(k.server))
	w.serve("registry.example.com", "127.0.0.1", k.registry("http://auth.example.com/token"))
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantError(t, err, "uses http but registry was contacted over https")
	if len(k.logins()) != 0 {
		t.Error("the token server was asked")
	}
}

// --plain-http for a registry does not speak for its token server.
func TestLoginIsNotReadableOnTheWay(t *testing.T) {
	for _, plain := range [][]string{{"registry.example.com"}, {"registry.example.com", "auth.example.com"}} {
		w := newWorld(t)
		w.login(map[string]string{"registry.example.com": "ann:secret"})
		w.opts.PlainHTTP = plain
		k := &tokens{uses: 9, left: map[string]int{}}
		w.servePlain("auth.example.com", "127.0.0.1", http.HandlerFunc(k.server))
		w.servePlain("registry.example.com", "127.0.0.1", k.registry("http://auth.example.com/token"))
		_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
		if len(plain) == 2 {
			check(t, err)
			continue
		}
		wantError(t, err, "in plain HTTP")
		if len(k.logins()) != 0 {
			t.Error("the token server was asked")
		}
	}
}

func TestRejectedByTokenServer(t *testing.T) {
	w := newWorld(t)
	file := w.login(map[string]string{"registry.example.com": "ann:secret"})
	k := &tokens{left: map[string]int{}}
	w.serve("auth.example.com", "127.0.0.1", status(401, `{"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]}`))
	w.serve("registry.example.com", "127.0.0.1", k.registry("https://auth.example.com/token?secret=1"))
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantError(t, err, "log in to registry.example.com for team/app: GET https://auth.example.com/token: 401 Unauthorized (UNAUTHORIZED: wrong password)")
	wantHint(t, err, file)
}

// TestWrongTokenServer: the hint speaks of the address that the registry named,
// since nobody typed it, and the request is said once.
func TestWrongTokenServer(t *testing.T) {
	w := newWorld(t)
	w.login(map[string]string{"registry.example.com": "ann:secret"})
	k := &tokens{left: map[string]int{}}
	realm := "https://auth.example.com:1/token"
	w.put("auth.example.com:1", "127.0.0.1:1")
	w.serve("auth.example.com", "127.0.0.1", status(200, "<html>log in</html>"))
	w.serve("registry.example.com", "127.0.0.1", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { k.registry(realm)(rw, r) }))
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	wantHint(t, err, "registry.example.com takes logins at auth.example.com:1, which this machine cannot reach")
	realm = "https://auth.example.com/token"
	_, _, err = w.repo(app).Fetch(t.Context(), "1.0")
	wantHint(t, err, "what registry.example.com names as its token server answers with something else")
	if n := strings.Count(err.Error(), "/v2/team/app"); n > 1 {
		t.Errorf("the request is said %d times: %v", n, err)
	}
}

// Docker Hub is docker.io in names and logins, and registry-1.docker.io on
// the wire; its token server is auth.docker.io.
func TestDockerHub(t *testing.T) {
	w := newWorld(t)
	w.login(map[string]string{"https://index.docker.io/v1/": "ann:secret"})
	k := &tokens{uses: 9, left: map[string]int{}}
	var s seen
	w.serve("auth.docker.io", "127.0.0.1", http.HandlerFunc(k.server))
	w.serve("registry-1.docker.io", "127.0.0.1", s.then(k.registry("https://auth.docker.io/token")))
	if _, _, err := w.repo("nginx:1.27").Fetch(t.Context(), "1.27"); err != nil {
		t.Fatal(err)
	}
	if p := s.all()[0].URL.Path; p != "/v2/library/nginx/manifests/1.27" {
		t.Errorf("asked for %s", p)
	}
	if got := k.logins(); !slices.Equal(got, []string{basic("ann:secret")}) {
		t.Errorf("token server was asked with %q", got)
	}
}

func TestSeveralChallenges(t *testing.T) {
	w := newWorld(t)
	w.login(map[string]string{"registry.example.com": "ann:secret"})
	w.serve("registry.example.com", "127.0.0.1", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Add("WWW-Authenticate", "Negotiate")
		if r.Header.Get("Authorization") == "" {
			rw.Header().Add("WWW-Authenticate", `Basic realm="x"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		manifest(rw, r)
	}))
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	check(t, err)
}

// helper puts a docker-credential-NAME into PATH that runs script.
func helper(t *testing.T, name, script string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the helper is a shell script")
	}
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte("#!/bin/sh\n"+script), 0o700))
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestCredentialHelper(t *testing.T) {
	calls := filepath.Join(t.TempDir(), "calls")
	helper(t, "fake", `read server; echo "$1 $server" >> `+calls+`
echo '{"ServerURL":"x","Username":"ann","Secret":"secret"}'`)
	w := newWorld(t)
	w.file(map[string]any{"credHelpers": map[string]string{"registry.example.com": "fake"}})
	w.serve("registry.example.com", "127.0.0.1", wantsBasic("ann:secret"))
	c := w.client()
	for _, name := range []string{"team/app", "team/db"} {
		if _, _, err := repoOf(t, c, "registry.example.com/"+name).Fetch(t.Context(), "1.0"); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := os.ReadFile(calls); string(b) != "get registry.example.com\n" {
		t.Errorf("the helper was called as %q", b)
	}
}

// A helper that knows of no login is no reason to pass over the next file.
func TestHelperWithoutLogin(t *testing.T) {
	helper(t, "fake", "echo 'credentials not found in native keychain'; exit 1")
	w := newWorld(t)
	w.file(map[string]any{"credHelpers": map[string]string{"registry.example.com": "fake"}})
	w.login(map[string]string{"registry.example.com": "ann:secret"})
	w.serve("registry.example.com", "127.0.0.1", wantsBasic("ann:secret"))
	_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
	check(t, err)
}

func TestHelperFails(t *testing.T) {
	helper(t, "locked", "echo 'the keychain is locked'; exit 1")
	for name, says := range map[string]string{
		"absent-helper": "docker-credential-absent-helper for registry.example.com is not installed",
		"locked":        "the keychain is locked",
		"../evil":       "not the name of a program",
	} {
		w := newWorld(t)
		file := w.file(map[string]any{"credHelpers": map[string]string{"registry.example.com": name}})
		w.serve("registry.example.com", "127.0.0.1", wantsBasic("ann:secret"))
		_, _, err := w.repo(app).Fetch(t.Context(), "1.0")
		wantError(t, err, says, file)
		wantHint(t, err, "docker-credential-"+name)
	}
}

func TestCredentialFiles(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.json")
	check(t, os.WriteFile(bad, []byte("{"), 0o600))
	_, err := registry.New(registry.Options{Files: []string{bad}})
	wantError(t, err, bad)
	_, err = registry.New(registry.Options{Files: []string{dir}})
	wantError(t, err, dir)
	_, err = registry.New(registry.Options{Files: []string{filepath.Join(dir, "absent.json")}})
	check(t, err)
	_, err = registry.New(registry.Options{CAFiles: []string{bad}})
	wantError(t, err, bad, "no PEM certificate")
}
