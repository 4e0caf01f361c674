package ferry

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ferry/internal/content"
	"ferry/internal/diagnose"
	"ferry/internal/near"
	"ferry/internal/ref"
)

// The HTTP statuses that registries and API servers answer with and that are
// told apart here.
const (
	statusUnauthorized = 401
	statusForbidden    = 403
	statusInvalid      = 422
	statusTooMany      = 429
	statusServerError  = 500
)

// judge adds to a finding what its probes found out.
func (d *doctoring) judge(f diagnose.Finding, probes []*probe) diagnose.Finding {
	for _, p := range probes {
		f = f.Add(p.wayChecks(isNetwork(f.Cause.Cause))...)
		if p.way.Open() {
			f = f.Add(p.imageChecks(d.platformsFor(f))...)
		}
	}
	if len(probes) > 0 {
		f = d.conclude(f, probes[0])
	}
	return f
}

// platformsFor are the platforms of the nodes that a finding is about.
func (d *doctoring) platformsFor(f diagnose.Finding) []string {
	var all []string
	for _, n := range d.facts.Nodes {
		for _, name := range f.Nodes {
			if n.Name == name && n.Platform() != "" && !slices.Contains(all, n.Platform()) {
				all = append(all, n.Platform())
			}
		}
	}
	return all
}

// wayChecks are the steps to the registry, in words. Where the node failed on
// the way, a failure here is one "too".
func (p *probe) wayChecks(too bool) []diagnose.Check {
	if p.way.Proxy != "" {
		return []diagnose.Check{{
			Name: "proxy", Result: diagnose.CheckUnknown,
			Text: fmt.Sprintf("this machine reaches %s through the proxy %s only", p.way.Host, p.way.Proxy),
		}}
	}
	var all []diagnose.Check
	for _, s := range p.way.Steps {
		c := diagnose.Check{Name: s.Name, Result: diagnose.CheckOK, Took: s.Took, Text: stepDone(p.way, s)}
		if s.Why != "" {
			c.Result, c.Text = diagnose.CheckNo, stepFailed(p.way, s, too)
		}
		all = append(all, c)
	}
	return all
}

func stepDone(w Way, s WayStep) string {
	switch s.Name {
	case "dns":
		return fmt.Sprintf("this machine resolves %s to %s", w.Name, s.To)
	case "tcp":
		return "this machine connects to " + s.To
	}
	return w.Host + " speaks TLS, with a certificate that this machine trusts"
}

func stepFailed(w Way, s WayStep, too bool) string {
	either := ""
	if too {
		either = " either"
	}
	switch {
	case s.Name == "dns":
		return fmt.Sprintf("this machine does not resolve %s%s: %s", w.Name, either, s.Why)
	case s.Name == "tcp":
		return fmt.Sprintf("this machine does not reach %s%s: %s", s.To, either, s.Why)
	case w.PlainHTTP:
		return w.Host + " speaks plain HTTP, not TLS"
	}
	return fmt.Sprintf("this machine gets no TLS with %s: %s", w.Host, s.Why)
}

// imageChecks are what the registry said, in words.
func (p *probe) imageChecks(wanted []string) []diagnose.Check {
	as := "without a login"
	if p.login != nil {
		as = fmt.Sprintf("with the login from secret %s/%s", p.login.Secret.Namespace, p.login.Secret.Name)
	}
	c := diagnose.Check{Name: "login", Result: diagnose.CheckNo, Took: p.took}
	host := p.image.Registry()
	switch status := statusOf(p.err); {
	case p.err == nil:
		return p.found(as, wanted)
	case errors.Is(p.err, content.ErrNotFound):
		return p.notFound(as)
	case status == statusUnauthorized && p.login != nil:
		c.Text = fmt.Sprintf("%s refuses the login from secret %s/%s (401)", host, p.login.Secret.Namespace, p.login.Secret.Name)
	case status == statusUnauthorized || status == statusForbidden:
		c.Text = fmt.Sprintf("%s refuses %s %s (%d)", host, p.image.Path(), as, status)
	case status == statusTooMany:
		c.Name, c.Text = "tag", fmt.Sprintf("%s limits this machine too (429)", host)
	case status >= statusServerError:
		c.Name, c.Text = "tag", fmt.Sprintf("%s answers this machine with %d too", host, status)
	default:
		c.Name, c.Result, c.Text = "tag", diagnose.CheckUnknown, fmt.Sprintf("this machine could not ask for %s: %v", p.image, p.err)
	}
	return []diagnose.Check{c}
}

func (p *probe) found(as string, wanted []string) []diagnose.Check {
	all := []diagnose.Check{{
		Name: "tag", Result: diagnose.CheckOK, Took: p.took,
		Text: fmt.Sprintf("this machine can pull %s %s", p.image, as),
	}}
	if len(p.platforms) == 0 {
		return all
	}
	c := diagnose.Check{Name: "platform", Result: diagnose.CheckOK}
	c.Text = "the image is for " + strings.Join(p.platforms, ", ")
	for _, w := range wanted {
		if !serves(w, p.platforms) {
			c.Result = diagnose.CheckNo
			c.Text += fmt.Sprintf("; the node needs %s", w)
		}
	}
	return append(all, c)
}

// serves says whether one of the platforms runs on a node.
func serves(node string, platforms []string) bool {
	want, err := content.ParsePlatform(node)
	if err != nil {
		return true
	}
	for _, s := range platforms {
		if have, err := content.ParsePlatform(s); err == nil && content.Matches(want, &have) {
			return true
		}
	}
	return false
}

func (p *probe) notFound(as string) []diagnose.Check {
	c := diagnose.Check{Name: "tag", Result: diagnose.CheckNo, Took: p.took}
	alike := near.Names(p.image.Tag(), p.tags)
	switch {
	case p.image.Digest() != "":
		c.Text = fmt.Sprintf("%s does not have %s", p.image.Repository(), p.image.Digest())
	case len(alike) > 0:
		c.Text = fmt.Sprintf("%s has no tag %s; it has %s", p.image.Repository(), p.image.Tag(), strings.Join(alike, ", "))
	case len(p.tags) > 0:
		c.Text = fmt.Sprintf("%s has no tag %s, and none like it among %d", p.image.Repository(), p.image.Tag(), len(p.tags))
	case p.noRepository():
		c.Text = fmt.Sprintf("%s has no repository %s", p.image.Registry(), p.image.Path())
	default:
		c.Text = fmt.Sprintf("%s is not there %s", p.image, as)
	}
	return []diagnose.Check{c}
}

// noRepository says whether the registry said that it has no such repository.
// Some say so only where the tags are asked for.
func (p *probe) noRepository() bool {
	return codeOf(p.err) == "NAME_UNKNOWN" || codeOf(p.tagsErr) == "NAME_UNKNOWN"
}

func statusOf(err error) int {
	var e interface{ StatusCode() int }
	if errors.As(err, &e) {
		return e.StatusCode()
	}
	return 0
}

func codeOf(err error) string {
	var e interface{ ErrorCode() string }
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// conclude says what this machine's answer means for the node's.
func (d *doctoring) conclude(f diagnose.Finding, p *probe) diagnose.Finding {
	switch {
	case p.way.Open() && p.err == nil:
		return f.Explain(canHere(f))
	case p.way.Open() && errors.Is(p.err, content.ErrNotFound):
		f.Cause = f.Raise(diagnose.Certain)
		return d.nearMiss(f, p)
	case p.way.Open() && p.login != nil && statusOf(p.err) == statusUnauthorized:
		return f.Explain(fmt.Sprintf("The registry does not accept the login in the pull secret %s.", p.login.Secret.Name))
	case isNetwork(f.Cause.Cause) && !p.way.Connects():
		return f.Explain("This machine does not get there either, so it need not be the node's fault.")
	}
	return f
}

// canHere is the answer that a laptop's user needs most.
func canHere(f diagnose.Finding) string {
	if isNetwork(f.Cause.Cause) {
		return "This machine can pull the image and the node cannot: it is the node's way out, not the registry."
	}
	if f.Cause.Cause == diagnose.NeverPull {
		return "The registry has the image, and this machine can pull it: it only has to be put on the node."
	}
	return ""
}

func isNetwork(l diagnose.Label) bool {
	switch l {
	case diagnose.DNSTimeout, diagnose.DNSNoSuchHost, diagnose.DNSServerMisbehaving, diagnose.DNSServerUnreachable,
		diagnose.ConnectTimeout, diagnose.ConnectRefused, diagnose.NoRoute, diagnose.ConnectionReset, diagnose.Timeout,
		diagnose.Proxy:
		return true
	}
	return false
}

// nearMiss offers what was probably meant.
func (d *doctoring) nearMiss(f diagnose.Finding, p *probe) diagnose.Finding {
	meant := ""
	if alike := near.Names(p.image.Tag(), p.tags); len(alike) > 0 {
		meant = p.image.Repository() + ":" + alike[0]
	} else if alike := near.Names(p.image.Path(), d.pathsOn(p.image.Registry())); len(alike) > 0 && p.noRepository() {
		meant = p.image.Registry() + "/" + alike[0]
		if p.image.Tag() != "" && !p.image.Assumed() {
			meant += ":" + p.image.Tag()
		}
	}
	n, err := ref.Parse(meant)
	if err != nil {
		return f
	}
	f = f.Explain("Did you mean " + meant + "?")
	f.Remedies = diagnose.Renamed(f, n)
	return f
}

// pathsOn are the repositories of a registry that other pods here use.
func (d *doctoring) pathsOn(registry string) []string {
	var all []string
	for _, image := range d.facts.Images {
		if n, err := ref.Parse(image); err == nil && n.Registry() == registry && !slices.Contains(all, n.Path()) {
			all = append(all, n.Path())
		}
	}
	if registry == "docker.io" {
		for name := range strings.FieldsSeq(popular) {
			all = append(all, "library/"+name)
		}
	}
	return all
}

// popular are official images of Docker Hub whose names are often mistyped.
const popular = `alpine busybox cassandra centos consul debian elasticsearch fedora gcc golang gradle
	haproxy hello-world httpd influxdb java kong logstash kibana mariadb maven memcached mongo mysql nats neo4j
	nginx node openjdk php postgres python rabbitmq redis registry ruby rust solr sonarqube telegraf tomcat
	traefik ubuntu vault wordpress zookeeper`
