package credential_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"ferry/internal/credential"
	"ferry/internal/ref"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func auth(user string) string { return `{"auth":"` + b64(user+":s3cret:"+user) + `"}` }

func match(t *testing.T, file, image string) (credential.Match, bool) {
	t.Helper()
	f, err := credential.Parse([]byte(file))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	n, err := ref.Parse(image)
	if err != nil {
		t.Fatal(err)
	}
	return f.Match(n)
}

func TestMatchPicksTheLongestKeyOfTheHost(t *testing.T) {
	file := `{"auths":{
		"reg.example":` + auth("host") + `,
		"reg.example/team":` + auth("team") + `,
		"reg.example/team/app":` + auth("app") + `,
		"reg.example:5000":` + auth("port") + `,
		"https://old.example/v2/":` + auth("old") + `,
		"http://older.example/v1/":` + auth("older") + `,
		"UPPER.example":` + auth("upper") + `,
		"only.example/team":` + auth("only") + `}}`
	for image, want := range map[string]string{
		"reg.example/x":             "host",
		"reg.example/team/x":        "team",
		"reg.example/team/app":      "app",
		"reg.example/team/app/more": "app",
		"reg.example/team/appendix": "team",
		"reg.example/teams/app":     "host",
		"reg.example:5000/team/app": "port",
		"reg.example:5001/team/app": "",
		"evil-reg.example/team/app": "",
		"example/team/app":          "",
		"reg.example.evil.com/team": "",
		"old.example/x":             "old",
		"older.example/x":           "older",
		"upper.example/x":           "upper",
		"only.example/team/x":       "only",
		"only.example/x":            "",
		"nginx":                     "",
	} {
		m, ok := match(t, file, image)
		if ok != (want != "") || m.Login.Username != want {
			t.Errorf("%s: got %q (%t), want %q", image, m.Login.Username, ok, want)
		}
		if ok && m.Login.Password != "s3cret:"+want {
			t.Errorf("%s: wrong password", image)
		}
	}
}

func TestDockerHubIsOne(t *testing.T) {
	for _, key := range []string{"https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io", "docker.io", "https://registry-1.docker.io/v2/"} {
		m, ok := match(t, `{"auths":{"`+key+`":`+auth("hub")+`}}`, "nginx")
		if !ok || m.Login.Username != "hub" || m.Key != key {
			t.Errorf("%s: got %+v, %t", key, m, ok)
		}
	}
}

func TestForms(t *testing.T) {
	for name, tt := range map[string]struct {
		file string
		want credential.Login
	}{
		"plain":          {`{"auths":{"r.example":{"username":"a","password":"b"}}}`, credential.Login{Username: "a", Password: "b"}},
		"auth wins":      {`{"auths":{"r.example":{"username":"x","password":"y","auth":"` + b64("a:b") + `"}}}`, credential.Login{Username: "a", Password: "b"}},
		"no padding":     {`{"auths":{"r.example":{"auth":"` + strings.TrimRight(b64("a:bcd"), "=") + `"}}}`, credential.Login{Username: "a", Password: "bcd"}},
		"newline":        {`{"auths":{"r.example":{"auth":"` + b64("a:b") + `\n"}}}`, credential.Login{Username: "a", Password: "b"}},
		"identity token": {`{"auths":{"r.example":{"auth":"` + b64("a:") + `","identitytoken":"t"}}}`, credential.Login{Username: "a", IdentityToken: "t"}},
		"registry token": {`{"auths":{"r.example":{"registrytoken":"t"}}}`, credential.Login{RegistryToken: "t"}},
		"dockercfg":      {`{"r.example":{"auth":"` + b64("a:b") + `","email":"e"}}`, credential.Login{Username: "a", Password: "b"}},
		"settings":       {`{"psFormat":"x","HttpHeaders":{"a":"b"},"auths":{"r.example":{"username":"a","password":"b"}}}`, credential.Login{Username: "a", Password: "b"}},
	} {
		if m, ok := match(t, tt.file, "r.example/x"); !ok || m.Login != tt.want || m.Err != nil {
			t.Errorf("%s: wrong login (%t, %v)", name, ok, m.Err)
		}
	}
	for _, file := range []string{"", " \n", "{}", `{"auths":{}}`, `{"auths":null}`, `{"psFormat":"x","plugins":{"a":{"b":"c"}}}`, `{"auths":{"r.example":{}}}`} {
		if m, ok := match(t, file, "r.example/x"); ok {
			t.Errorf("%q: matches %+v", file, m)
		}
	}
}

func TestHelpers(t *testing.T) {
	file := `{"credsStore":"desktop","credHelpers":{"gcr.io":"gcloud","docker.io":"hub"},
		"auths":{"r.example":{},"https://s.example/v2/":{"auth":""},"t.example":` + auth("t") + `,"gcr.io":` + auth("no") + `,"gcr.io/team":` + auth("team") + `}}`
	for image, want := range map[string]credential.Match{
		"gcr.io/x":          {Key: "gcr.io", Helper: "gcloud"},
		"gcr.io/team/x":     {Key: "gcr.io/team", Login: credential.Login{Username: "team", Password: "s3cret:team"}},
		"nginx":             {Key: "https://index.docker.io/v1/", Helper: "hub"},
		"r.example/x":       {Key: "r.example", Helper: "desktop"},
		"s.example/x":       {Key: "https://s.example/v2/", Helper: "desktop"},
		"t.example/x":       {Key: "t.example", Login: credential.Login{Username: "t", Password: "s3cret:t"}},
		"unknown.example/x": {Key: "unknown.example", Helper: "desktop"},
	} {
		if got, ok := match(t, file, image); !ok || got != want {
			t.Errorf("%s: got %+v, want %+v", image, got, want)
		}
	}
}

func TestOneBadEntrySpoilsOnlyItself(t *testing.T) {
	file := `{"auths":{"good.example":` + auth("good") + `,
		"bad.example":{"auth":"hunter2!"},"nocolon.example":{"auth":"` + b64("hunter2") + `"},"typed.example":{"password":1234567},
		"good.example/team":{"auth":"hunter2!"}}}`
	if m, ok := match(t, file, "good.example/x"); !ok || m.Err != nil || m.Login.Username != "good" {
		t.Errorf("good: got %+v, %t", m, ok)
	}
	for _, image := range []string{"bad.example/x", "nocolon.example/x", "typed.example/x", "good.example/team/x"} {
		m, ok := match(t, file, image)
		if !ok || m.Err == nil || m.Login != (credential.Login{}) {
			t.Errorf("%s: got %+v, %t; want an error", image, m, ok)
			continue
		}
		if msg := m.Err.Error(); strings.Contains(msg, "hunter2") || strings.Contains(msg, "1234567") || strings.Contains(msg, b64("hunter2")) || !strings.Contains(msg, ".example") {
			t.Errorf("%s: %s", image, msg)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for file, want := range map[string]string{
		`{"auths":{"r":{"auth":"hunter2`:          "syntax error at byte",
		`["hunter2"]`:                             "not a JSON object",
		`{"auths":"hunter2"}`:                     "auths is not an object",
		`{"credsStore":1}`:                        "credsStore is not a string",
		`{"credHelpers":{"r.example":1}}`:         `names no program for "r.example"`,
		strings.Repeat(" ", credential.MaxSize+1): "at most 1048576",
	} {
		_, err := credential.Parse([]byte(file))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.40s: got %v, want %q", file, err, want)
		}
	}
}

func TestNothingPrintsSecrets(t *testing.T) {
	f, err := credential.Parse([]byte(`{"auths":{"r.example":` + auth("anna") + `}}`))
	if err != nil {
		t.Fatal(err)
	}
	n, _ := ref.Parse("r.example/x")
	m, _ := f.Match(n)
	if m.Login.Password != "s3cret:anna" {
		t.Fatal("no login to print")
	}
	js, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "login", m.Login, "match", m, "file", f)
	for _, out := range []string{
		fmt.Sprint(m, f, *f, m.Login), fmt.Sprintf("%+v %+v %+v", m, f, *f), fmt.Sprintf("%#v %#v %#v", m, f, *f),
		fmt.Sprintf("%s %q %x", m, m.Login, m.Login), string(js), log.String(),
	} {
		if strings.Contains(out, "s3cret") || strings.Contains(out, "anna") {
			t.Errorf("shows a secret: %s", out)
		}
	}
}

func TestFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		env  map[string]string
		home string
		goos string
		want []string
	}{
		"linux": {map[string]string{"XDG_RUNTIME_DIR": "/run/user/1"}, "/home/a", "linux", []string{
			"/run/user/1/containers/auth.json", "/home/a/.config/containers/auth.json", "/home/a/.docker/config.json", "/home/a/.dockercfg",
		}},
		"darwin": {map[string]string{"XDG_RUNTIME_DIR": "/run/user/1", "DOCKER_CONFIG": "/d/"}, "/Users/a", "darwin", []string{
			"/Users/a/.config/containers/auth.json", "/d/config.json", "/Users/a/.dockercfg",
		}},
		"windows": {nil, `C:\Users\a`, "windows", []string{
			`C:\Users\a\.config\containers\auth.json`, `C:\Users\a\.docker\config.json`, `C:\Users\a\.dockercfg`,
		}},
		"named":   {map[string]string{"REGISTRY_AUTH_FILE": "/x.json", "DOCKER_CONFIG": "/d"}, "/home/a", "linux", []string{"/x.json"}},
		"no home": {map[string]string{"XDG_CONFIG_HOME": "/c"}, "", "linux", []string{"/c/containers/auth.json"}},
	} {
		if got := credential.Files(func(k string) string { return tt.env[k] }, tt.home, tt.goos); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},"r/":{"auth":"!"}},"credHelpers":{"r.example":"x"},"credsStore":"y"}`), "r.example/team/x")
	f.Add([]byte(`{"r.example":{"auth":"YTpi"}}`), "r.example/a/b")
	f.Add([]byte(`{"auths":{"":{},"/":{"username":"a"},"//x":null}}`), "nginx")
	f.Fuzz(func(t *testing.T, data []byte, image string) {
		file, err := credential.Parse(data)
		if err != nil {
			return
		}
		n, err := ref.Parse(image)
		if err != nil {
			return
		}
		m, ok := file.Match(n)
		if !ok || m.Helper != "" {
			return
		}
		// A login comes from an entry of the image's own host.
		key, host := strings.ToLower(m.Key), strings.ToLower(n.Registry())
		if host != "docker.io" && !strings.Contains(key, host) {
			t.Fatalf("%q matches %s", m.Key, n)
		}
		if (m.Login != credential.Login{}) == (m.Err != nil) {
			t.Fatalf("%q: a match is either a login or an error", m.Key)
		}
	})
}
