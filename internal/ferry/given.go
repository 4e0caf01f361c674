package ferry

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ferry/internal/diagnose"
	"ferry/internal/quote"
	"ferry/internal/ref"
)

// Given are the settings that ferry was called with, and that a command typed
// instead of it needs as well: without them it would ask another cluster, or
// another registry would not answer it. The zero value is none.
type Given struct {
	Kubeconfig, Context string
	// AuthFile has the logins, CAFiles the authorities that are trusted too,
	// and PlainHTTP the hosts that are spoken to without TLS.
	AuthFile           string
	CAFiles, PlainHTTP []string
}

// certsByHand is the folder that a person would put the authorities in:
// skopeo and podman take a folder of *.crt, and no file.
const certsByHand = "certs"

// trust makes that folder.
func (g Given) trust() [][]string {
	if len(g.CAFiles) == 0 {
		return nil
	}
	lines := [][]string{{"mkdir", "-p", certsByHand}}
	taken := map[string]bool{}
	for _, file := range g.CAFiles {
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		for i := 2; taken[name]; i++ {
			name = fmt.Sprintf("%s-%d", strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), i)
		}
		taken[name] = true
		lines = append(lines, []string{"cp", file, path.Join(certsByHand, name+".crt")})
	}
	return lines
}

// typed returns argv with the settings that its program needs.
func (g Given) typed(argv ...string) []string {
	if len(argv) < 2 {
		return argv
	}
	switch argv[0] {
	case "kubectl":
		return slices.Insert(slices.Clone(argv), 1, g.place()...)
	case "ferry":
		return append(slices.Clone(argv), g.ferry(argv[1])...)
	case "skopeo":
		return slices.Insert(slices.Clone(argv), 2, g.skopeo(argv)...)
	case "podman":
		if argv[1] == "pull" {
			return slices.Insert(slices.Clone(argv), 2, append(g.login(), g.way("--", argv[len(argv)-1])...)...)
		}
	}
	return argv
}

// allTyped is typed for many lines.
func (g Given) allTyped(lines [][]string) [][]string {
	for i, argv := range lines {
		lines[i] = g.typed(argv...)
	}
	return lines
}

// line is typed as a shell reads it.
func (g Given) line(argv ...string) string { return quote.Shell(g.typed(argv...)...) }

// advised puts the settings into what findings advise to type here. Commands
// of other programs stay as they are: there is no folder of authorities yet.
func (g Given) advised(all []diagnose.Finding) {
	for _, f := range all {
		if f.Verify != nil {
			*f.Verify = g.remedy(*f.Verify)
		}
		for i, r := range f.Remedies {
			f.Remedies[i] = g.remedy(r)
		}
	}
}

func (g Given) remedy(r diagnose.Remedy) diagnose.Remedy {
	if r.On == "" && len(r.Argv) > 0 && (r.Argv[0] == "kubectl" || r.Argv[0] == "ferry") {
		r.Argv = g.typed(r.Argv...)
		r.Command = quote.Shell(r.Argv...)
	}
	return r
}

// place says which cluster, to kubectl and to ferry alike.
func (g Given) place() []string {
	var flags []string
	if g.Kubeconfig != "" {
		flags = append(flags, "--kubeconfig", g.Kubeconfig)
	}
	if g.Context != "" {
		flags = append(flags, "--context", g.Context)
	}
	return flags
}

// ferry are the flags of ferry's own verbs.
func (g Given) ferry(verb string) []string {
	var flags []string
	if slices.Contains([]string{"doctor", "fix", "deploy"}, verb) {
		flags = g.place()
	}
	if !slices.Contains([]string{"fix", "deploy", "pack", "push"}, verb) {
		return flags
	}
	flags = append(flags, g.login()...)
	for _, file := range g.CAFiles {
		flags = append(flags, "--ca-file", file)
	}
	for _, host := range g.PlainHTTP {
		flags = append(flags, "--plain-http", host)
	}
	return flags
}

func (g Given) login() []string {
	if g.AuthFile == "" {
		return nil
	}
	return []string{"--authfile", g.AuthFile}
}

// skopeo are the flags for what a skopeo command talks to: copy has its own
// for each side.
func (g Given) skopeo(argv []string) []string {
	const transport = "docker://"
	var flags []string
	if !slices.Contains(argv, "--creds") && !slices.Contains(argv, "--no-creds") {
		flags = g.login()
	}
	sides := map[string]string{"--": argv[len(argv)-1]}
	if argv[1] == "copy" {
		sides = map[string]string{"--src-": argv[len(argv)-2], "--dest-": argv[len(argv)-1]}
	}
	for _, side := range []string{"--", "--src-", "--dest-"} {
		if image, ok := strings.CutPrefix(sides[side], transport); ok {
			flags = append(flags, g.way(side, image)...)
		}
	}
	return flags
}

// way says how the registry of an image is spoken to.
func (g Given) way(side, image string) []string {
	var flags []string
	n, err := ref.Parse(image)
	switch {
	case err == nil && slices.Contains(g.PlainHTTP, n.Registry()):
		flags = append(flags, side+"tls-verify=false")
	case len(g.CAFiles) > 0:
		flags = append(flags, side+"cert-dir", certsByHand)
	case err == nil && onLoopback(n.Registry()):
		flags = append(flags, side+"tls-verify=false")
	}
	return flags
}

// onLoopback says whether a registry is on this machine, where ferry finds out
// itself that it speaks without TLS. skopeo and podman have to be told.
func onLoopback(registry string) bool {
	host := (&url.URL{Host: registry}).Hostname()
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.Unmap().IsLoopback()
}
