package diagnose

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"ferry/internal/credential"
	"ferry/internal/quote"
	"ferry/internal/ref"
)

// The types of secrets that the kubelet takes logins from.
const (
	typeConfigJSON = "kubernetes.io/dockerconfigjson"
	typeConfig     = "kubernetes.io/dockercfg"
)

// kubeletTakes says whether the kubelet uses the login under key for an
// image, as pkg/credentialprovider decides it: hosts part by part with * in
// them, the same port, and a path that the image's begins with.
func kubeletTakes(key string, image ref.Name) bool {
	host, prefix, ok := splitKey(key)
	if !ok {
		return false
	}
	if hostMatches(host, image.Registry()) && strings.HasPrefix("/"+image.Path(), prefix) {
		return true
	}
	return image.Registry() == hub && host == "index.docker.io" && prefix == ""
}

const hub = "docker.io"

// splitKey reads an entry as the kubelet does: without its scheme, and
// without /v1 and /v2.
func splitKey(key string) (host, prefix string, ok bool) {
	if !strings.HasPrefix(key, "https://") && !strings.HasPrefix(key, "http://") {
		key = "https://" + key
	}
	u, err := url.Parse(key)
	if err != nil {
		return "", "", false
	}
	prefix = u.Path
	if strings.HasPrefix(prefix, "/v1/") || strings.HasPrefix(prefix, "/v2/") {
		prefix = prefix[3:]
	}
	if prefix == "/" {
		prefix = ""
	}
	return u.Host, prefix, true
}

func hostMatches(glob, host string) bool {
	globName, globPort, _ := strings.Cut(glob, ":")
	name, port, _ := strings.Cut(host, ":")
	globs, names := strings.Split(globName, "."), strings.Split(name, ".")
	if globPort != port || len(globs) != len(names) {
		return false
	}
	for i := range globs {
		if ok, err := path.Match(globs[i], names[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// A Login is one that the kubelet would use for an image.
type Login struct {
	Secret Object
	Key    string // the entry in the secret
	Login  credential.Login
}

// LoginFor finds the login that the kubelet tries first for an image of a pod
// in namespace with these pull secrets.
func (f *Facts) LoginFor(namespace string, secrets []string, image ref.Name) (Login, bool) {
	for _, name := range secrets {
		if s, ok := f.secret(namespace, name); ok {
			if all := s.LoginsFor(image); len(all) > 0 {
				return all[0], true
			}
		}
	}
	return Login{}, false
}

// LoginsFor are the secret's logins that the kubelet would use for an image,
// in the order in which it tries them.
func (s PullSecret) LoginsFor(image ref.Name) []Login {
	if s.Logins == nil {
		return nil
	}
	var all []Login
	for _, key := range slices.Backward(s.Hosts) { // the longest first
		login, err := s.Logins.Login(key)
		if err == nil && kubeletTakes(key, image) {
			all = append(all, Login{Secret: s.object(), Key: key, Login: login})
		}
	}
	return all
}

// Worth says what the secret is worth for an image, now, as the kubelet would
// take it, and where it does not serve the sentence that explains why.
func (s PullSecret) Worth(image ref.Name, now time.Time) (Check, string) {
	v := s.judge(image, now)
	return v.Check, v.because
}

// Unreadable says why the kubelet cannot read the secret, which ends a pull
// before it begins; "" where it can.
func (s PullSecret) Unreadable() string {
	if s.Problem != "" || s.Logins == nil {
		return s.Problem
	}
	if err := s.broken(); err != nil {
		return err.Error()
	}
	return ""
}

func (f *Facts) secret(namespace, name string) (PullSecret, bool) {
	i := slices.IndexFunc(f.Secrets, func(s PullSecret) bool { return s.Namespace == namespace && s.Name == name })
	if i < 0 {
		return PullSecret{}, false
	}
	return f.Secrets[i], true
}

func (s PullSecret) object() Object {
	return Object{Kind: "Secret", Namespace: s.Namespace, Name: s.Name}
}

func (s PullSecret) String() string { return s.Namespace + "/" + s.Name }

// secretVerdict is what one pull secret is worth for an image.
type secretVerdict struct {
	Check
	// because is the sentence that explains a failure; empty where the secret
	// is as it should be.
	because string
}

func secretServes(format string, args ...any) secretVerdict {
	return secretVerdict{Check: Check{Name: "secret", Result: CheckOK, Text: fmt.Sprintf(format, args...)}}
}

func secretFails(because, format string, args ...any) secretVerdict {
	return secretVerdict{Check: Check{Name: "secret", Result: CheckNo, Text: fmt.Sprintf(format, args...)}, because: because}
}

// judge says what the secret is worth for an image, now.
func (s PullSecret) judge(image ref.Name, now time.Time) secretVerdict {
	switch {
	case s.Missing && len(s.Elsewhere) > 0:
		return secretFails(fmt.Sprintf("The pull secret %s is in %s, and pods can use only secrets of their own namespace.", s.Name, strings.Join(s.Elsewhere, ", ")),
			"there is no secret %s, but there is one in %s", s, strings.Join(s.Elsewhere, ", "))
	case s.Missing:
		return secretFails(fmt.Sprintf("The pull secret %s does not exist in namespace %s.", s.Name, s.Namespace), "there is no secret %s", s)
	case s.Type != typeConfigJSON && s.Type != typeConfig:
		return secretFails(fmt.Sprintf("The secret %s is of type %s, which the kubelet does not use for pulling.", s.Name, s.Type),
			"secret %s is of type %s; the kubelet reads %s and %s", s, s.Type, typeConfigJSON, typeConfig)
	case s.Problem != "":
		return secretFails(fmt.Sprintf("The pull secret %s cannot be read, and the kubelet then does not even try to pull.", s.Name), "secret %s cannot be read: %s", s, s.Problem)
	}
	return s.judgeLogins(image, now)
}

func (s PullSecret) judgeLogins(image ref.Name, now time.Time) secretVerdict {
	host := image.Registry()
	for _, key := range slices.Backward(s.Hosts) {
		if !kubeletTakes(key, image) {
			continue
		}
		login, err := s.Logins.Login(key)
		if err != nil {
			return secretFails(fmt.Sprintf("The login for %s in the pull secret %s cannot be read, and the kubelet then does not even try to pull.", host, s.Name), "secret %s: %v", s, err)
		}
		if end, ok := login.Expires(); ok && end.Before(now) {
			return secretFails(fmt.Sprintf("The token for %s in the pull secret %s has expired.", host, s.Name),
				"the token for %s in secret %s expired on %s", host, s, end.UTC().Format("2006-01-02 15:04 MST"))
		}
		return secretServes("secret %s has a login for %s", s, key)
	}
	have := "no login at all"
	if len(s.Hosts) > 0 {
		have = "logins for " + strings.Join(s.Hosts[:min(len(s.Hosts), 4)], ", ") + ", none"
	}
	because := fmt.Sprintf("The pull secret %s has no login for %s.", s.Name, host)
	if alias := s.hubAlias(image); alias != "" {
		because = fmt.Sprintf("The pull secret %s has its login under %s, and the kubelet looks under https://index.docker.io/v1/ for Docker Hub.", s.Name, alias)
	}
	return secretFails(because, "secret %s holds %s for %s", s, have, host)
}

// hubAlias is an entry that means Docker Hub and that the kubelet does not
// take for it.
func (s PullSecret) hubAlias(image ref.Name) string {
	if image.Registry() != hub {
		return ""
	}
	for _, key := range s.Hosts {
		host, _, _ := splitKey(key)
		if host == "registry-1.docker.io" || host == "hub.docker.com" || host == "registry.hub.docker.com" || host == "docker.com" || host == "auth.docker.io" {
			return key
		}
	}
	return ""
}

// aboutLogins says whether a pod's pull secrets bear on a cause.
func aboutLogins(l Label) bool {
	return slices.Contains([]Label{
		AuthRequired, AuthDenied, BadCredentials, SecretMissing, CloudCredential, NotFoundRepoOrDenied,
	}, l)
}

// withSecrets adds what the pull secrets of the pods are worth.
func (v view) withSecrets(g Finding) Finding {
	if !aboutLogins(g.Cause.Cause) {
		return g
	}
	subjects := 0
	for _, s := range g.symptoms {
		p := v.pod(s.Pod)
		image, err := ref.Parse(cmp.Or(s.Image, g.Image))
		if p == nil || err != nil {
			continue
		}
		before := len(g.Checks)
		verdicts, fault := v.judgePod(*p, image)
		for _, verdict := range verdicts {
			g = g.Add(verdict.Check)
		}
		g = g.Explain(fault)
		if len(g.Checks) > before {
			subjects++
		}
		if subjects >= maxSubjects {
			break
		}
	}
	return g
}

// loginFault says what is wrong with the pull secrets of a symptom's pod: two
// pods with different faults have different causes, though the registry says
// the same to both.
func (v view) loginFault(c Cause, s Symptom) string {
	p := v.pod(s.Pod)
	image, err := ref.Parse(cmp.Or(s.Image, c.Image))
	if p == nil || err != nil || !aboutLogins(c.Cause) {
		return ""
	}
	key := strings.Join(append([]string{p.Namespace, p.Account, image.Repository()}, p.Secrets...), "\x00")
	fault, ok := v.faults[key]
	if !ok {
		_, fault = v.judgePod(*p, image)
		if fault == "" {
			fault = strings.Join(p.Secrets, " ") // it is up to the registry, and to which login it got
		}
		v.faults[key] = fault
	}
	return fault
}

// missingSecret gives a refused login its real cause, where that is a pull
// secret that the kubelet could not read: it goes on without it, and what the
// registry then says is no more than what follows.
func (v view) missingSecret(c Cause, s Symptom, p Pod, set Setting, read reading) Cause {
	e, told := newest(p.Events, func(e Event) bool { return e.Reason == "FailedToRetrieveImagePullSecret" })
	broken := ""
	for _, name := range p.Secrets {
		found, ok := v.secret(p.Namespace, name)
		switch {
		case !ok:
		case found.Missing || found.Problem != "" || found.broken() != nil:
			broken = name
		default:
			image, err := ref.Parse(s.Image)
			if err == nil && found.judge(image, v.Now).Result == CheckOK {
				return c // this one serves: the registry said no to it
			}
		}
	}
	if broken == "" && !told {
		return c
	}
	text := e.Message
	if !told {
		text = fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", broken)
	}
	r := read(text, set)
	if len(r.Causes) == 0 || r.Causes[0].Cause != SecretMissing {
		return c
	}
	secret := r.Causes[0]
	secret.Evidence = []string{quote.Secrets(s.Text)}
	if told {
		secret.Evidence = []string{quote.Secrets(e.Message), quote.Secrets(s.Text)}
	}
	secret.Image = c.Image
	if v.isMissing(p.Namespace, broken) {
		secret.Remedies = renamed(secret.Remedies, broken)
	}
	return secret
}

func (v view) isMissing(namespace, name string) bool {
	s, ok := v.secret(namespace, name)
	return ok && s.Missing
}

// broken is why one of the secret's logins cannot be read; nil if all can.
func (s PullSecret) broken() error {
	for _, key := range s.Hosts {
		if _, err := s.Logins.Login(key); err != nil {
			return err
		}
	}
	return nil
}

// maxSubjects is how many different things of a kind are checked for one
// finding: more would not fit on a screen.
const maxSubjects = 4

// judgePod judges all the secrets of a pod, or that it has none. The fault is
// the sentence that explains why they do not serve; empty where one does.
func (v view) judgePod(p Pod, image ref.Name) (all []secretVerdict, fault string) {
	if len(p.Secrets) == 0 {
		verdict := v.noSecret(p)
		return []secretVerdict{verdict}, verdict.because
	}
	serves := false
	for _, name := range p.Secrets {
		verdict := secretVerdict{Check: Check{
			Name: "secret", Result: CheckUnknown, Text: fmt.Sprintf("secret %s/%s could not be looked at", p.Namespace, name),
		}}
		if s, ok := v.secret(p.Namespace, name); ok {
			verdict = s.judge(image, v.Now)
		}
		all = append(all, verdict)
		serves = serves || verdict.Result == CheckOK
		fault = cmp.Or(fault, verdict.because)
	}
	if serves {
		fault = ""
	}
	return all, fault
}

func (v view) noSecret(p Pod) secretVerdict {
	for _, a := range v.Accounts {
		if a.Namespace == p.Namespace && a.Name == p.Account && len(a.Secrets) > 0 {
			return secretFails(
				fmt.Sprintf("The service account %s gives new pods the pull secret %s, but this pod is older than that: restart it.", a.Name, a.Secrets[0]),
				"the pod has no pull secret; its service account %s/%s has: %s", a.Namespace, a.Name, strings.Join(a.Secrets, ", "))
		}
	}
	return secretFails("The pod has no pull secret, so the node asks as nobody.",
		"the pod names no pull secret, and its service account %s gives it none", cmp.Or(p.Account, "default"))
}

// renamed makes the remedies create the secret that the pod names, instead of
// another one that the pod would have to be given.
func renamed(all []Remedy, secret string) []Remedy {
	var kept []Remedy
	for _, r := range all {
		if slices.Contains(r.Argv, "serviceaccount") {
			continue
		}
		if i := slices.Index(r.Argv, newSecret); i >= 0 && objectName.MatchString(secret) {
			r.Argv = slices.Clone(r.Argv)
			r.Argv[i] = secret
			r.Command = quote.Shell(r.Argv...)
		}
		kept = append(kept, r)
	}
	return kept
}
