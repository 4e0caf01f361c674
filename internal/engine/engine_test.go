package engine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"ferry/internal/command"
	"ferry/internal/content"
	"ferry/internal/engine"
	"ferry/internal/ref"
)

const (
	id    = "7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa"
	index = "sha256:aaaab5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa"
	own   = "sha256:bbbbb5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa"
)

func TestSave(t *testing.T) {
	for name, tt := range map[string]struct {
		program string
		names   []string
		line    string
	}{
		"one": {"podman", []string{"nginx"}, "podman save --quiet --format docker-archive docker.io/library/nginx:latest"},
		"several": {
			"podman",
			[]string{"nginx:1", "localhost/a:2", "docker.io/nginx:1"},
			"podman save --quiet --format docker-archive --multi-image-archive docker.io/library/nginx:1 localhost/a:2",
		},
		"docker": {"docker", []string{"nginx:1", "a:2"}, "docker save docker.io/library/nginx:1 docker.io/library/a:2"},
	} {
		fake := &command.Fake{Answers: map[string]command.Answer{tt.line: {Stdout: "the archive"}}}
		var out strings.Builder
		if err := (engine.Engine{Program: tt.program, Run: fake}).Save(t.Context(), tt.names, &out); err != nil || out.String() != "the archive" {
			t.Errorf("%s: got %q, %v", name, out.String(), err)
		}
	}
}

func TestSaveFails(t *testing.T) {
	const save = "podman save --quiet --format docker-archive docker.io/library/nginx:1"
	var out strings.Builder
	missing := &command.Fake{Answers: map[string]command.Answer{
		save: {ExitCode: 125, Stderr: "Error: nginx:1: image not known"},
		"podman image exists docker.io/library/nginx:1": {ExitCode: 1},
	}}
	err := engine.Engine{Program: "podman", Run: missing}.Save(t.Context(), []string{"nginx:1"}, &out)
	if !errors.Is(err, content.ErrNotFound) || !strings.Contains(err.Error(), "docker.io/library/nginx:1") || !strings.Contains(err.Error(), "podman") {
		t.Errorf("missing: got %v", err)
	}
	full := &command.Fake{Answers: map[string]command.Answer{
		save: {ExitCode: 125, Stderr: "Error: no space left on device"},
		"podman image exists docker.io/library/nginx:1": {},
	}}
	err = engine.Engine{Program: "podman", Run: full}.Save(t.Context(), []string{"nginx:1"}, &out)
	if err == nil || errors.Is(err, content.ErrNotFound) || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("full: got %v", err)
	}
	absent := &command.Fake{Answers: map[string]command.Answer{save: {Err: command.ErrNotInstalled}}}
	err = engine.Engine{Program: "podman", Run: absent}.Save(t.Context(), []string{"nginx:1"}, &out)
	if !errors.Is(err, command.ErrNotInstalled) || len(absent.Calls()) != 1 {
		t.Errorf("absent: got %v after %d calls", err, len(absent.Calls()))
	}
	fake := &command.Fake{}
	for _, names := range [][]string{nil, {"--output=/etc/passwd"}, {"nginx", ""}} {
		if err := (engine.Engine{Program: "podman", Run: fake}).Save(t.Context(), names, &out); err == nil {
			t.Errorf("%q: no error", names)
		}
	}
	if err := (engine.Engine{Program: "rm", Run: fake}).Save(t.Context(), []string{"nginx"}, &out); err == nil {
		t.Error("an unknown engine was asked")
	}
	if n := len(fake.Calls()); n != 0 {
		t.Errorf("%d commands ran that should not have", n)
	}
}

func TestInspect(t *testing.T) {
	for name, tt := range map[string]struct {
		program, image, line, answer string
		claimed                      digest.Digest
	}{
		"podman, one": {
			"podman", "nginx:1", "podman image inspect docker.io/library/nginx:1",
			`[{"Id":"` + id + `","Digest":"` + own + `","RepoTags":["docker.io/library/nginx:1"],"RepoDigests":["docker.io/library/nginx@` + index + `"]}]`, index,
		},
		"podman, index and manifest": {
			"podman", "nginx:1", "podman image inspect docker.io/library/nginx:1",
			`[{"Id":"` + id + `","Digest":"` + own + `","RepoTags":["docker.io/library/nginx:1"],"RepoDigests":["docker.io/library/nginx@` + own + `","docker.io/library/nginx@` + index + `"]}]`, index,
		},
		"docker, familiar": {
			"docker", "nginx:1", "docker image inspect docker.io/library/nginx:1",
			`[{"Id":"sha256:` + id + `","RepoTags":["docker.io/library/nginx:1"],"RepoDigests":["nginx@` + index + `"]}]`, index,
		},
		"another repository's": {
			"docker", "nginx:1", "docker image inspect docker.io/library/nginx:1",
			`[{"Id":"sha256:` + id + `","RepoTags":["docker.io/library/nginx:1"],"RepoDigests":["reg.example/nginx@` + index + `"]}]`, "",
		},
		"several": {
			"docker", "nginx:1", "docker image inspect docker.io/library/nginx:1",
			`[{"Id":"sha256:` + id + `","RepoTags":["docker.io/library/nginx:1"],"RepoDigests":["nginx@` + index + `","nginx@` + own + `"]}]`, "",
		},
		"built here": {
			"podman", "localhost/a:1", "podman image inspect localhost/a:1",
			`[{"Id":"` + id + `","Digest":"` + own + `","RepoTags":["docker.io/library/nginx:1"],"RepoDigests":["localhost/a@` + own + `"]}]`, "",
		},
	} {
		fake := &command.Fake{Answers: map[string]command.Answer{tt.line: {Stdout: tt.answer}}}
		info, err := engine.Engine{Program: tt.program, Run: fake}.Inspect(t.Context(), tt.image)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info.ID.String() != "sha256:"+id || info.Claimed != tt.claimed || len(info.RepoTags) != 1 {
			t.Errorf("%s: got %+v", name, info)
		}
	}
}

func TestInspectFails(t *testing.T) {
	const line = "docker image inspect docker.io/library/nginx:1"
	for name, answers := range map[string]map[string]command.Answer{
		"expected JSON":  {line: {Stdout: "<html>"}},
		"0 images":       {line: {Stdout: "[]"}},
		"not a digest":   {line: {Stdout: `[{"Id":"../x"}]`}},
		"reads at most":  {line: {Stdout: strings.Repeat(" ", engine.MaxInspect+1)}},
		"cannot connect": {line: {ExitCode: 1, Stderr: "cannot connect"}, "docker image ls --quiet --no-trunc nginx:1": {ExitCode: 1}},
		"not found":      {line: {ExitCode: 1}, "docker image ls --quiet --no-trunc nginx:1": {Stdout: "\n"}},
	} {
		_, err := engine.Engine{Program: "docker", Run: &command.Fake{Answers: answers}}.Inspect(t.Context(), "nginx:1")
		if err == nil || !strings.Contains(err.Error(), name) || errors.Is(err, content.ErrNotFound) != (name == "not found") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := (engine.Engine{Program: "docker"}).Inspect(t.Context(), "Nginx"); err == nil {
		t.Error("a bad name was asked for")
	} else if _, ok := errors.AsType[*ref.Error](err); !ok {
		t.Errorf("got %v", err)
	}
}

// TestInContainerd: by what docker says of its storage driver.
func TestInContainerd(t *testing.T) {
	const line = "docker info --format '{{json .DriverStatus}}'"
	for answer, want := range map[string]bool{
		`[["driver-type","io.containerd.snapshotter.v1"]]`:            true,
		`[["Backing Filesystem","extfs"],["Supports d_type","true"]]`: false,
		`null`: false,
		"[[\"Backing Filesystem\",\"extfs\"],[\"Comment\",\"io.containerd.snapshotter\"]]": false,
	} {
		fake := &command.Fake{Answers: map[string]command.Answer{line: {Stdout: answer + "\n"}}}
		if got, err := (engine.Engine{Program: "docker", Run: fake}).InContainerd(t.Context()); err != nil || got != want {
			t.Errorf("%s: %v, %v", answer, got, err)
		}
	}
	for _, answer := range []command.Answer{{Stdout: "errors pretty printing info"}, {ExitCode: 1, Stderr: "Cannot connect to the Docker daemon"}} {
		fake := &command.Fake{Answers: map[string]command.Answer{line: answer}}
		if _, err := (engine.Engine{Program: "docker", Run: fake}).InContainerd(t.Context()); err == nil || !strings.Contains(err.Error(), "ask docker how it keeps images") {
			t.Errorf("%+v: %v", answer, err)
		}
	}
}

// TestRemote: a podman that cannot say that it is one is no client.
func TestRemote(t *testing.T) {
	const line = "podman info --format '{{.Host.ServiceIsRemote}}'"
	for _, c := range []struct {
		answer command.Answer
		want   bool
	}{
		{command.Answer{Stdout: "true\n"}, true},
		{command.Answer{Stdout: "false\n"}, false},
		{command.Answer{ExitCode: 125, Stderr: "can't evaluate field ServiceIsRemote"}, false},
	} {
		fake := &command.Fake{Answers: map[string]command.Answer{line: c.answer}}
		if got := (engine.Engine{Program: "podman", Run: fake}).Remote(t.Context()); got != c.want {
			t.Errorf("%+v: %v", c.answer, got)
		}
	}
}
