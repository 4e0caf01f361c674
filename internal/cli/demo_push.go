package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ferry/internal/demo"
	"ferry/internal/ferry"
	"ferry/internal/ref"
	"ferry/internal/ui"
)

// push brings the images into a registry that wants a password, and looks what
// stands there then.
func (j *journey) push(ctx context.Context) (err error) {
	user, password := "ferry", rand.Text()
	private, err := demo.StartRegistry(ctx, demo.Options{Username: user, Password: password})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, private.Close()) }()
	forget, err := j.logIn(private.Host(), user, password)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, forget()) }()
	to := private.Host() + "/mirror"
	j.step("Into the private registry behind the gap, from where the bundle lies. It wants a password; ferry finds it where podman login put it.",
		"ferry", "push", "release.tar", "--to", to)
	w, done, err := j.world()
	if err != nil {
		return err
	}
	defer done()
	began := time.Now()
	r, err := ferry.Push(ctx, w, ferry.PushRequest{File: j.file, To: to})
	if err != nil {
		return err
	}
	for _, img := range r.Images {
		if err := j.compare(ctx, w, img); err != nil {
			return err
		}
	}
	j.say("   %s sent in %v, %s taken from other repositories there", ui.Bytes(r.Sent),
		time.Since(began).Round(time.Millisecond), ui.Bytes(r.Mounted))
	return nil
}

// compare asks the private registry for the digest, and wants upstream's.
func (j *journey) compare(ctx context.Context, w ferry.World, img ferry.PushImage) error {
	n, err := ref.Parse(img.Inside)
	if err != nil {
		return err
	}
	inside, err := w.Repository(n)
	if err != nil {
		return err
	}
	stands, _, err := inside.Fetch(ctx, n.Tag())
	if err != nil {
		return err
	}
	if stands.Digest != img.Digest {
		return fmt.Errorf("%s is %s inside, and was %s upstream", img.Inside, stands.Digest, img.Digest)
	}
	j.say("   %s %s  %s, as upstream", j.printer.Mark(true), img.Inside, stands.Digest)
	return nil
}

// logIn writes the password where the journey's next commands read it.
func (j *journey) logIn(host, user, password string) (forget func() error, err error) {
	dir, err := os.MkdirTemp("", "ferry-demo-login-")
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"username": user, "password": password}}})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "auth.json"), b, 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	before := j.network.authFile
	j.network.authFile = filepath.Join(dir, "auth.json")
	return func() error {
		j.network.authFile = before
		return os.RemoveAll(dir)
	}, nil
}
