package cluster

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

// Stand-ins for registries that fail in one way each. They listen on the
// bridge's address, and answer as the registries do that they are named for.

// serveAt answers HTTP at an address, with TLS if there is a configuration.
func (c *Cluster) serveAt(address string, config *tls.Config, h http.Handler) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(l) }()
	c.closers = append(c.closers, server.Close)
	return nil
}

// guarded lets in who knows the password, "right".
func guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password == "right" {
			h.ServeHTTP(w, r)
			return
		}
		refuses(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", "WWW-Authenticate", `Basic realm="registry"`).ServeHTTP(w, r)
	})
}

// says is a handler that gives everyone the same answer.
func says(status int, contentType, body string, headers ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// refuses answers with an error of the distribution specification.
func refuses(status int, code, message string, headers ...string) http.Handler {
	body, err := json.Marshal(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
	if err != nil {
		panic(err) // strings always marshal
	}
	return says(status, "application/json", string(body), headers...)
}

// hub answers as Docker Hub does of a repository that does not exist, or that
// the user may not see: anyone gets a token, and it is not enough.
func hub(host string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/token") {
			says(http.StatusOK, "application/json", `{"token":"anonymous","access_token":"anonymous","expires_in":300}`).ServeHTTP(w, r)
			return
		}
		challenge := fmt.Sprintf(`Bearer realm="http://%s/token",service="registry.docker.io",scope="repository:library/nosuch:pull"`, host)
		if r.Header.Get("Authorization") != "" {
			challenge += `,error="insufficient_scope"`
		}
		refuses(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", "WWW-Authenticate", challenge).ServeHTTP(w, r)
	})
}

// tokens refuses what is asked for with a token server that itself answers so.
func tokens(host string, token http.Handler) http.Handler {
	challenge := fmt.Sprintf(`Bearer realm="http://%s/token",service=%q,scope="repository:app:pull"`, host, host)
	mux := http.NewServeMux()
	mux.Handle("/token", token)
	mux.Handle("/", refuses(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", "WWW-Authenticate", challenge))
	return mux
}

// cuts closes the connection where an answer would be: with a reset, or as a
// clean end.
func cuts(reset bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		if tcp, ok := c.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	})
}

// A store is a registry's content, read-only. Each may give its layers out in a
// way of its own.
type store struct {
	manifests map[string]manifest // by REPOSITORY:TAG and REPOSITORY@DIGEST
	blobs     map[string][]byte
	// giveLayer gives out a blob that is large, as a layer is and a config is not.
	giveLayer func(w http.ResponseWriter, r *http.Request, blob []byte)
}

type manifest struct {
	media string
	body  []byte
}

func newStore() *store {
	return &store{manifests: map[string]manifest{}, blobs: map[string][]byte{}}
}

// put makes a manifest known under a tag and its digest.
func (s *store) put(name string, m manifest) {
	repository, _, _ := strings.Cut(name, ":")
	s.manifests[name] = m
	s.manifests[repository+"@"+digestOf(m.body)] = m
}

// putImage makes an image known under REPOSITORY:TAG.
func (s *store) putImage(name string, i Image) {
	s.put(name, manifest{mediaManifest, i.Manifest})
	s.blobs[digestOf(i.Config)], s.blobs[digestOf(i.Layer)] = i.Config, i.Layer
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what, last := path.Base(path.Dir(r.URL.Path)), path.Base(r.URL.Path)
	repository := strings.TrimPrefix(path.Dir(path.Dir(r.URL.Path)), "/v2/")
	switch what {
	case "manifests":
		separator := ":"
		if strings.Contains(last, ":") {
			separator = "@"
		}
		m, ok := s.manifests[repository+separator+last]
		if !ok {
			refuses(http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown").ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", m.media)
		w.Header().Set("Docker-Content-Digest", digestOf(m.body))
		w.Header().Set("Content-Length", strconv.Itoa(len(m.body)))
		_, _ = w.Write(m.body)
	case "blobs":
		blob, ok := s.blobs[last]
		switch {
		case !ok:
			refuses(http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry").ServeHTTP(w, r)
		case s.giveLayer != nil && len(blob) > 4096:
			s.giveLayer(w, r, blob)
		default:
			w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
			_, _ = w.Write(blob)
		}
	default:
		says(http.StatusOK, "application/json", "{}").ServeHTTP(w, r)
	}
}

// truncated promises the whole blob and ends after half of it.
func truncated(w http.ResponseWriter, _ *http.Request, blob []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
	_, _ = w.Write(blob[:len(blob)/2])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// altered gives as many bytes as it should, one of them wrong.
func altered(w http.ResponseWriter, _ *http.Request, blob []byte) {
	wrong := append([]byte{}, blob...)
	wrong[len(wrong)-1] ^= 1
	w.Header().Set("Content-Length", strconv.Itoa(len(wrong)))
	_, _ = w.Write(wrong)
}

// stalls gives half of a blob and then nothing, for as long as the client
// waits.
func stalls(w http.ResponseWriter, r *http.Request, blob []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
	_, _ = w.Write(blob[:len(blob)/2])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	<-r.Context().Done()
}

// forbiddingProxy refuses every CONNECT.
func forbiddingProxy() http.Handler {
	return says(http.StatusForbidden, "text/html", "<html>Access denied by policy</html>")
}
