package credential_test

import (
	"encoding/base64"
	"testing"
	"time"

	"ferry/internal/credential"
)

func TestExpires(t *testing.T) {
	const at = 1767225600 // 2026-01-01
	jwt := func(claims string) string {
		return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	}
	for name, c := range map[string]struct {
		login credential.Login
		want  int64
	}{
		"JWT":              {credential.Login{Password: jwt(`{"exp":1767225600}`)}, at},
		"JWT, a fraction":  {credential.Login{Password: jwt(`{"exp":1767225600.5}`)}, at},
		"registry token":   {credential.Login{RegistryToken: jwt(`{"exp":1767225600}`)}, at},
		"identity token":   {credential.Login{IdentityToken: jwt(`{"exp":1767225600}`)}, at},
		"ECR":              {credential.Login{Username: "AWS", Password: base64.StdEncoding.EncodeToString([]byte(`{"payload":"p","version":"2","expiration":1767225600}`))}, at},
		"a password":       {credential.Login{Password: "hunter2"}, 0},
		"two dots":         {credential.Login{Password: "a.b.c"}, 0},
		"no exp":           {credential.Login{Password: jwt(`{"sub":"x"}`)}, 0},
		"exp is no number": {credential.Login{Password: jwt(`{"exp":"soon"}`)}, 0},
		"exp in nanos":     {credential.Login{Password: jwt(`{"exp":1767225600000000000}`)}, 0},
		"nothing":          {credential.Login{}, 0},
	} {
		got, ok := c.login.Expires()
		if ok != (c.want != 0) || ok && !got.Equal(time.Unix(c.want, 0)) {
			t.Errorf("%s: %v %v", name, got, ok)
		}
	}
}

func TestKeys(t *testing.T) {
	f, err := credential.Parse([]byte(`{"auths":{"b.example":{"auth":"dTpw"},"a.example/x":{"auth":"!"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if keys := f.Keys(); len(keys) != 2 || keys[0] != "a.example/x" || keys[1] != "b.example" {
		t.Errorf("keys %q", keys)
	}
	if l, err := f.Login("b.example"); err != nil || l.Username != "u" {
		t.Errorf("%v", err)
	}
	for _, key := range []string{"a.example/x", "c.example"} {
		if _, err := f.Login(key); err == nil {
			t.Errorf("%s: no error", key)
		}
	}
}
