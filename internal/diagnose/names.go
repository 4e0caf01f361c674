package diagnose

import (
	"cmp"
	"strings"

	"ferry/internal/pattern"
	"ferry/internal/ref"
)

// registryName says whether a text is an image's name.
func registryName(name string) bool {
	_, err := ref.Parse(name)
	return err == nil
}

func registry(image string) string {
	n, err := ref.Parse(image)
	if err != nil {
		return ""
	}
	return n.Registry()
}

func tagged(reference string) string {
	if strings.HasPrefix(reference, "sha256:") {
		return "@" + reference
	}
	return ":" + reference
}

// runtimeOf tells a runtime by its way of putting things.
func runtimeOf(low string) string {
	for _, r := range []struct {
		name  string
		signs []string
	}{
		{"docker", []string{"response from daemon", "docker daemon", "error pulling image configuration", "download failed after attempts", "error while pulling image", "/v1/_ping", "dockerd["}},
		{"containerd", []string{"failed to pull and unpack image", "httpreadseeker", "containerd", "failed to resolve reference"}},
		{"podman", []string{"error: initializing source", "error: unable to pull", "unable to pull", "error: creating build container", "error: copying"}},
		{"cri-o", []string{"pinging container registry", "initializing source docker://", "reading manifest", "pinging docker registry", "copying system image", "short name mode", "choosing image", "crio"}},
	} {
		for _, sign := range r.signs {
			if strings.Contains(low, sign) {
				return r.name
			}
		}
	}
	return ""
}

var (
	rpcCode    = pattern.New(`^rpc error: code ?=? ?(\w+)`)
	secretName = pattern.New(`^(?:image pull secrets \(|pull secret (?:[a-z0-9.-]+/)?|secrets? ")([a-z0-9][a-z0-9.-]*(?:, [a-z0-9.-]+)*)`)
)

// codeOf returns the distribution specification's code, as it writes it or as
// registries put it in words; else the one of gRPC.
func codeOf(s source) string {
	for _, code := range []string{
		"UNAUTHORIZED", "DENIED", "MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NAME_INVALID", "BLOB_UNKNOWN", "TOOMANYREQUESTS", "UNSUPPORTED", "MANIFEST_INVALID", "TAG_INVALID",
	} {
		words := lower(strings.ReplaceAll(code, "_", " "))
		i := strings.Index(s.low, words+":")
		if strings.Contains(s.text, code) || i == 0 || i > 1 && strings.IndexByte(":;*", s.low[i-2]) >= 0 {
			return code
		}
	}
	code := ""
	s.each(rpcCode, func(_ int, m match) { code = cmp.Or(code, m.group(1)) }, "rpc error")
	return code
}

func secretOf(s source) string {
	secret := ""
	s.each(secretName, func(_ int, m match) { secret = cmp.Or(secret, m.group(1)) }, "image pull secrets (", "pull secret ", `secret "`, `secrets "`)
	return secret
}
