package content_test

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ferry/internal/content"
)

func TestParsePlatform(t *testing.T) {
	for s, want := range map[string]string{
		"linux/amd64":       "linux/amd64",
		"Linux/AMD64":       "linux/amd64",
		"linux/x86_64":      "linux/amd64",
		"linux/x86-64":      "linux/amd64",
		"linux/amd64/v1":    "linux/amd64",
		"linux/amd64/v3":    "linux/amd64/v3",
		"linux/arm64":       "linux/arm64",
		"linux/aarch64":     "linux/arm64",
		"linux/arm64/v8":    "linux/arm64",
		"linux/aarch64/v8":  "linux/arm64",
		"linux/arm64/v9":    "linux/arm64/v9",
		"linux/arm":         "linux/arm/v7",
		"linux/arm/v7":      "linux/arm/v7",
		"linux/arm/v6":      "linux/arm/v6",
		"linux/armhf":       "linux/arm/v7",
		"windows/amd64":     "windows/amd64",
		"linux/riscv64":     "linux/riscv64",
		"linux/386":         "linux/386",
		"linux/ppc64le":     "linux/ppc64le",
		"linux/s390x":       "linux/s390x",
		"freebsd/amd64/v2":  "freebsd/amd64/v2",
		"linux/mips64le/hf": "linux/mips64le/hf",
	} {
		p, err := content.ParsePlatform(s)
		if err != nil || content.FormatPlatform(&p) != want {
			t.Errorf("%s: %s, %v, want %s", s, content.FormatPlatform(&p), err, want)
		}
	}
	for _, s := range []string{"", "amd64", "linux", "linux/", "/amd64", "linux/amd64/", "linux/arm/v7/x", "linux amd64", "linux/am d64", "linux/\x1b[31m", "linux/ä", "linux/amd64\n"} {
		if p, err := content.ParsePlatform(s); err == nil {
			t.Errorf("%q was taken as %+v", s, p)
		}
	}
}

func TestFormatPlatform(t *testing.T) {
	for want, p := range map[string]*ocispec.Platform{
		"linux/arm/v7":    {OS: "linux", Architecture: "arm"},
		"unknown/unknown": {OS: "unknown", Architecture: "unknown"},
		"linux/amd64":     {OS: "linux", Architecture: "amd64", OSVersion: "1", OSFeatures: []string{"x"}},
	} {
		if got := content.FormatPlatform(p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := content.FormatPlatform(nil) + content.FormatPlatform(&ocispec.Platform{Architecture: "amd64"}); got != "" {
		t.Errorf("%q of what says nothing", got)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		want, have string
		match      bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64", "linux/x86_64", true},
		{"linux/amd64", "linux/arm64", false},
		{"linux/amd64", "windows/amd64", false},
		{"linux/amd64/v3", "linux/amd64", false},
		{"linux/arm64", "linux/arm64/v8", true},
		{"linux/arm64/v8", "linux/arm64", true},
		{"linux/arm", "linux/arm/v7", true},
		{"linux/arm/v7", "linux/arm", true},
		{"linux/arm", "linux/arm/v6", false},
		{"linux/arm/v6", "linux/arm/v7", false},
		{"linux/armhf", "linux/arm/v7", true},
		{"linux/386", "linux/amd64", false},
	} {
		w, errW := content.ParsePlatform(c.want)
		h, errH := content.ParsePlatform(c.have)
		if errW != nil || errH != nil {
			t.Fatal(errW, errH)
		}
		if got := content.Matches(w, &h); got != c.match {
			t.Errorf("%s for who asks for %s: %v", c.have, c.want, got)
		}
	}
	if content.Matches(ocispec.Platform{OS: "linux", Architecture: "amd64"}, nil) {
		t.Error("an image that says nothing serves nobody who asks")
	}
}

// FuzzParsePlatform: what is taken is written in one form, and that form is
// the same platform.
func FuzzParsePlatform(f *testing.F) {
	for _, s := range []string{"linux/amd64", "linux/arm/v7", "LINUX/ARMHF/x", "linux/arm64/V8", "a/b/c/d", "linux/aarch64", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := content.ParsePlatform(s)
		if err != nil {
			return
		}
		text := content.FormatPlatform(&p)
		q, err := content.ParsePlatform(text)
		if err != nil || content.FormatPlatform(&q) != text {
			t.Fatalf("%q is %q, which is %q: %v", s, text, content.FormatPlatform(&q), err)
		}
		if !content.Matches(p, &q) || !content.Matches(q, &p) {
			t.Fatalf("%q does not match itself as %q", s, text)
		}
	})
}
