package cluster

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// auth are failures to be let in.
func (a *arranger) auth() []Failure {
	basic := refuses(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", "WWW-Authenticate", `Basic realm="registry"`)
	wrong := says(http.StatusUnauthorized, "application/json", `{"details":"incorrect username or password"}`)
	blocked := says(http.StatusForbidden, "text/html", "<html><title>Error 403 (Forbidden)!!1</title><p>Your client does not have permission to get URL from this server.</html>")
	return []Failure{
		{Name: "auth-required", Causes: []string{"auth-required"}, image: a.plain(5020, basic) + "/app:1"},
		{Name: "auth-wrong-password", Causes: []string{"auth-required", "bad-credentials"}, image: a.plain(5021, basic) + "/app:1", secret: "wrong-5021"},
		{Name: "secret-missing", Causes: []string{"secret-missing", "auth-required"}, image: a.plain(5022, basic) + "/app:1", secret: "nosuch"},
		{Name: "auth-denied", Causes: []string{"auth-denied"}, image: a.plain(5023, refuses(http.StatusForbidden, "DENIED", "requested access to the resource is denied")) + "/app:1"},
		{Name: "cloud-credential", Causes: []string{"auth-denied", "cloud-credential"}, image: a.ecr(5024) + "/app:1", secret: "expired"},
		{Name: "bad-credentials", Causes: []string{"bad-credentials", "auth-required"}, image: a.plain(5025, tokens(a.host(5025), wrong)) + "/app:1", secret: "wrong-5025"},
		{Name: "blocked-by-registry", Causes: []string{"auth-denied", "blocked-by-registry"}, image: a.plain(5026, blocked) + "/app:1"},
	}
}

const ecrHost = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"

// ecr stands in for Amazon's registry, whose tokens last twelve hours.
func (a *arranger) ecr(port int) string {
	expired := refuses(http.StatusForbidden, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
	a.name(ecrHost, Answer{IP: a.c.Gateway})
	a.serve(port, nil, expired)
	a.mirror(ecrHost, overHTTP(a.host(port)))
	return ecrHost
}

// expiredToken looks like what `aws ecr get-login-password` prints.
func expiredToken() string {
	return base64.StdEncoding.EncodeToString([]byte(`{"payload":"","datakey":"","version":"2","type":"DATA_KEY","expiration":1700000000}`))
}

// names are failures to find what the name says.
func (a *arranger) names() []Failure {
	good := newStore()
	a.do(func() error {
		i, err := WebImage(a.ctx, "amd64", "good")
		good.putImage("app:1", i)
		return err
	})
	host := a.plain(5030, good)
	// The mirror lacks what is asked for, and upstream does not exist in here.
	a.mirror("upstream.test", "server = \"https://upstream.test\"\n[host.\"http://"+host+"\"]\n  capabilities = [\"pull\", \"resolve\"]\n")
	unknown := refuses(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
	return []Failure{
		{Name: "not-found-tag", Causes: []string{"not-found-tag"}, image: host + "/app:2"},
		{Name: "not-found-digest", Causes: []string{"not-found-tag"}, image: host + "/app@sha256:" + strings.Repeat("0", 64)},
		{Name: "not-found-repo", Causes: []string{"not-found-tag", "not-found-repo"}, image: a.plain(5031, unknown) + "/nosuch:1"},
		{Name: "not-found-repo-or-denied", Causes: []string{"not-found-repo-or-denied", "auth-required"}, image: a.plain(5032, hub(a.host(5032))) + "/library/nosuch:1"},
		{
			Name: "mirror-miss", Causes: []string{"not-found-tag", "mirror-misconfigured"},
			Causes16: []string{"dns-no-such-host", "mirror-misconfigured", "not-found-tag"}, image: "upstream.test/app:2",
		},
		{Name: "invalid-name", Causes: []string{"invalid-name"}, image: "Nginx:latest", reason: "InvalidImageName"},
	}
}

// content are failures of what a registry gives out.
func (a *arranger) content() []Failure {
	return []Failure{
		{Name: "platform-mismatch", Causes: []string{"platform-mismatch"}, image: a.foreign() + "/app:index"},
		{
			Name: "exec-format", Causes: []string{"platform-mismatch", "none"}, image: a.host(5033) + "/app:1",
			reason: "CrashLoopBackOff RunContainerError",
		},
		{Name: "schema1-unsupported", Causes: []string{"schema1-unsupported"}, image: a.withManifest(5034, schema1()) + "/app:1"},
		{Name: "media-type-unsupported", Causes: []string{"media-type-unsupported"}, image: a.withManifest(5035, chart()) + "/app:1"},
		{Name: "non-registry-response", Causes: []string{"non-registry-response"}, image: a.plain(5036, says(http.StatusOK, "text/html", "<html><title>Sign in to the network</title></html>")) + "/app:1"},
		{Name: "corrupt-layer", Causes: []string{"corrupt-layer"}, image: a.withLayers(5037, altered) + "/app:1"},
		{Name: "corrupt-tar", Causes: []string{"corrupt-layer"}, image: a.withOneLayer(5038, bytes.Repeat([]byte("this is no tar archive. "), 1000)) + "/app:1"},
		{Name: "unexpected-eof", Causes: []string{"unexpected-eof"}, image: a.withLayers(5039, truncated) + "/app:1"},
	}
}

// foreign serves an image for another processor, by itself and as the only one
// of an index.
func (a *arranger) foreign() string {
	s := newStore()
	a.do(func() error {
		i, err := WebImage(a.ctx, "arm64", "foreign")
		if err != nil {
			return err
		}
		s.putImage("app:1", i)
		index, err := json.Marshal(object{"schemaVersion": 2, "mediaType": mediaIndex, "manifests": []descriptor{i.descriptor()}})
		s.put("app:index", manifest{mediaIndex, index})
		return err
	})
	return a.plain(5033, s)
}

// withLayers serves an image whose layers are given out in a way of their own.
func (a *arranger) withLayers(port int, give func(http.ResponseWriter, *http.Request, []byte)) string {
	s := newStore()
	s.giveLayer = give
	a.do(func() error {
		i, err := WebImage(a.ctx, "amd64", fmt.Sprint(port))
		s.putImage("app:1", i)
		return err
	})
	return a.plain(port, s)
}

func (a *arranger) withManifest(port int, m manifest) string {
	s := newStore()
	s.put("app:1", m)
	return a.plain(port, s)
}

// withOneLayer serves an image whose only layer is these bytes, zipped.
func (a *arranger) withOneLayer(port int, content []byte) string {
	s := newStore()
	a.do(func() error {
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		if err != nil {
			return err
		}
		if _, err := z.Write(content); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		i, err := imageOf("amd64", []string{"/program"}, digestOf(content), b.Bytes())
		s.putImage("app:1", i)
		return err
	})
	return a.plain(port, s)
}

// schema1 is a manifest as registries made them until 2016.
func schema1() manifest {
	return manifest{
		"application/vnd.docker.distribution.manifest.v1+prettyjws",
		[]byte(`{"schemaVersion":1,"name":"app","tag":"1","architecture":"amd64","fsLayers":[],"history":[],"signatures":[]}`),
	}
}

// chart is a Helm chart's manifest, which is no image.
func chart() manifest {
	blob := []byte("{}")
	body, err := json.Marshal(object{
		"schemaVersion": 2, "mediaType": mediaManifest, "config": describe("application/vnd.cncf.helm.config.v1+json", blob),
		"layers": []descriptor{describe("application/vnd.cncf.helm.chart.content.v1.tar+gzip", blob)},
	})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return manifest{mediaManifest, body}
}
