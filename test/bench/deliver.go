package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// push is W2, into a registry that program is, empty at each run. crane puts
// all images below one index into one repository, from a folder that is there
// already; ferry makes a repository of each, from the bundle.
func (b *bench) push(name, program, base, folder string) workload {
	return workload{
		name: name, what: "from a bundle into an empty registry", runs: b.opts.runs, network: true,
		empty: func(ctx context.Context, dir string) (*server, error) {
			return startRegistry(ctx, program, filepath.Join(dir, "registry"), dir)
		},
		by: []contender{
			{name: "ferry push into 20 repositories", argvs: func(host, _ string) [][]string { return [][]string{b.ferryPush(base, host)} }},
			{name: "crane push into one, from a folder", argvs: func(host, _ string) [][]string { return [][]string{b.cranePush(folder, host)} }},
			// What the machine allows whoever checks what it sends, as ferry
			// does and crane does not.
			{name: "the same, beside openssl dgst -sha256 of the bundle", argvs: func(host, _ string) [][]string {
				return [][]string{beside(b.cranePush(folder, host), []string{"openssl", "dgst", "-sha256", base})}
			}},
		},
	}
}

// beside runs two programs at once, and waits for both.
func beside(one, other []string) []string {
	script := fmt.Sprintf(`%s & a=$!; %s & b=$!; wait $a && wait $b`, shellWords(one), shellWords(other))
	return []string{"sh", "-c", script}
}

func shellWords(argv []string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

func (b *bench) ferryPush(base, host string) []string {
	return []string{b.tools.ferry, "push", base, "--to", host + "/mirror"}
}

func (b *bench) cranePush(folder, host string) []string {
	return []string{b.tools.crane, "push", "--index", folder, host + "/all:1"}
}

// pushAgain is W4: all is there. reg was filled by both.
func (b *bench) pushAgain(base, folder, at string) workload {
	return workload{
		name: "W4", what: "the same push, when all is there", runs: b.opts.runs, network: true,
		by: []contender{
			{name: "ferry push again", at: at, argvs: func(host, _ string) [][]string { return [][]string{b.ferryPush(base, host)} }},
			{name: "crane push again, from a folder", at: at, argvs: func(host, _ string) [][]string { return [][]string{b.cranePush(folder, host)} }},
		},
	}
}

// fill pushes everything once, so that W4 has a registry that holds it.
func (b *bench) fill(ctx context.Context, base, folder, at string) error {
	_, err := measure(ctx, [][]string{b.ferryPush(base, at), b.cranePush(folder, at)})
	return err
}

// fromServe is W1 by skopeo, from ferry serve and from Debian's registry.
func (b *bench) fromServe(at string) workload {
	return workload{
		name: "serve", what: "20 images by skopeo into a folder and a tar, from ferry serve and from a registry", runs: b.opts.runs,
		by: []contender{
			{name: "skopeo from ferry serve", at: at, argvs: b.skopeoCopies},
			{name: "skopeo from docker-registry", argvs: b.skopeoCopies},
		},
	}
}

// startServe starts ferry serve on a bundle.
func (b *bench) startServe(ctx context.Context, base string) (*server, error) {
	cmd := exec.CommandContext(ctx, b.tools.ferry, "serve", base, "--listen", "127.0.0.1:0", "-q", "-o", "json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd}
	var said struct{ Listen string }
	if err := json.NewDecoder(out).Decode(&said); err != nil {
		s.stop()
		return nil, fmt.Errorf("ferry serve does not say where it listens: %w", err)
	}
	s.addr = said.Listen
	return s, nil
}

// throughput is what ferry serve gives out.
type throughput struct {
	bytes int64
	took  time.Duration
	rss   int64
}

// pull has clients fetch the layers of the first images, each all of them,
// and throw them away.
func (b *bench) pull(ctx context.Context, s *server, clients int) (throughput, error) {
	blobs, err := b.layers(ctx, s.addr)
	if err != nil {
		return throughput{}, err
	}
	got := make([]int64, clients)
	begin := time.Now()
	var g errgroup.Group
	for c := range clients {
		g.Go(func() error {
			buf := make([]byte, 1<<20)
			for _, url := range blobs {
				n, err := drain(ctx, url, buf)
				if err != nil {
					return err
				}
				got[c] += n
			}
			return nil
		})
	}
	err = g.Wait()
	t := throughput{took: time.Since(begin)}
	for _, n := range got {
		t.bytes += n
	}
	if err != nil {
		return t, err
	}
	t.rss, err = peakOf(fmt.Sprint(s.cmd.Process.Pid))
	return t, err
}

func drain(ctx context.Context, url string, buf []byte) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", url, resp.Status)
	}
	// Not io.Discard's own small buffer.
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf)
}

// layers are the addresses of the layers of all images of one platform.
func (b *bench) layers(ctx context.Context, at string) ([]string, error) {
	var urls []string
	for _, repo := range b.corpus.Images {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/v2/"+repo+"/manifests/1", nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", typeManifest+","+typeIndex)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		var m struct{ Layers []descriptor }
		err = errors.Join(json.NewDecoder(resp.Body).Decode(&m), resp.Body.Close())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", repo, err)
		}
		for _, l := range m.Layers {
			urls = append(urls, "http://"+at+"/v2/"+repo+"/blobs/"+l.Digest)
		}
	}
	if len(urls) == 0 {
		return nil, errors.New("ferry serve shows no layers")
	}
	return urls, nil
}

// buildRegistry builds distribution's own registry of today.
func buildRegistry(ctx context.Context, to string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, "github.com/distribution/distribution/v3/cmd/registry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build distribution's registry: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
