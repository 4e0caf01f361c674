package content

import (
	"fmt"
	"regexp"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var platformPart = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// ParsePlatform reads OS/ARCH or OS/ARCH/VARIANT, as in linux/arm64.
func ParsePlatform(s string) (ocispec.Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return ocispec.Platform{}, fmt.Errorf("platform %q: write OS/ARCH, as in linux/amd64 or linux/arm/v7", s)
	}
	for _, p := range parts {
		if !platformPart.MatchString(p) {
			return ocispec.Platform{}, fmt.Errorf("platform %q: write OS/ARCH, as in linux/amd64 or linux/arm/v7", s)
		}
	}
	p := ocispec.Platform{OS: strings.ToLower(parts[0]), Architecture: strings.ToLower(parts[1])}
	if len(parts) == 3 {
		p.Variant = strings.ToLower(parts[2])
	}
	return normalize(p), nil
}

// FormatPlatform writes p as OS/ARCH[/VARIANT]; "" where p says nothing.
func FormatPlatform(p *ocispec.Platform) string {
	if p == nil || p.OS == "" {
		return ""
	}
	q := normalize(*p)
	s := q.OS + "/" + q.Architecture
	if q.Variant != "" {
		s += "/" + q.Variant
	}
	return s
}

// Matches says whether an image of platform have serves who asks for want.
func Matches(want ocispec.Platform, have *ocispec.Platform) bool {
	if have == nil {
		return false
	}
	w, h := normalize(want), normalize(*have)
	return w.OS == h.OS && w.Architecture == h.Architecture && (w.Variant == "" || w.Variant == h.Variant)
}

// normalize writes the several names of one architecture in one way, as
// containerd does: arm64/v8 is arm64, amd64/v1 is amd64, x86_64 is amd64.
func normalize(p ocispec.Platform) ocispec.Platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	}
	if (p.Architecture == "arm64" && p.Variant == "v8") || (p.Architecture == "amd64" && p.Variant == "v1") {
		p.Variant = ""
	}
	if p.Architecture == "arm" && p.Variant == "" {
		p.Variant = "v7"
	}
	return p
}
