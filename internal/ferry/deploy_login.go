package ferry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"ferry/internal/content"
	"ferry/internal/diagnose"
	"ferry/internal/preflight"
	"ferry/internal/ref"
)

// look asks the registry for each image.
func (d *deploying) look(ctx context.Context) (map[string]preflight.There, error) {
	names := map[string]bool{}
	for _, i := range d.result.Rewrite.Images {
		if i.Inside != "" {
			names[i.Inside] = true
		}
	}
	there := map[string]preflight.There{}
	results := make(chan func(), len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookups)
	for name := range names {
		g.Go(func() error {
			t := d.lookFor(ctx, name)
			results <- func() { there[name] = t }
			return ctx.Err()
		})
	}
	err := g.Wait()
	close(results)
	for take := range results {
		take()
	}
	return there, err
}

var errNotInside = errors.New("the registry does not have it: ferry push brings it there")

func (d *deploying) lookFor(ctx context.Context, name string) preflight.There {
	n, err := ref.Parse(name)
	if err != nil {
		return preflight.There{Err: err}
	}
	repo, err := d.world.Repository(n)
	if err != nil {
		return preflight.There{Err: err}
	}
	reference := cmp.Or(n.Digest().String(), n.Tag())
	desc, b, err := repo.Fetch(ctx, reference)
	if errors.Is(err, content.ErrNotFound) {
		return preflight.There{Err: errNotInside}
	}
	if err != nil {
		return preflight.There{Err: err}
	}
	return preflight.There{Platforms: platformsOf(ctx, repo, desc, b)}
}

// DeployLogin says how the pods of some workloads log in to the registry.
type DeployLogin struct {
	Namespace string   `json:"namespace"`
	Workloads []string `json:"workloads"`
	// Secrets are their pull secrets; Account is the service account that gives
	// them, where the workloads name none themselves.
	Secrets []string `json:"secrets,omitempty"`
	Account string   `json:"account,omitempty"`
	// State is accepted, anonymous (the registry asks for no login), unchecked
	// or refused; Text says it.
	State string `json:"state"`
	Text  string `json:"text"`
	// ByHand asks the same by hand; Remedy is what to do where it is refused.
	ByHand []string   `json:"byHand,omitempty"`
	Remedy [][]string `json:"remedy,omitempty"`

	images []string
	unread error // why the service account could not be read
}

// The states of a login.
const (
	LoginAccepted  = "accepted"
	LoginAnonymous = "anonymous"
	LoginUnchecked = "unchecked"
	LoginRefused   = "refused"
)

// logins finds out by which login pods get the images that are there, and
// whether the registry takes it.
func (d *deploying) logins(ctx context.Context, there map[string]preflight.There) error {
	l := &loggingIn{deploying: d, secrets: map[string]pullSecret{}, given: map[string]given{}, answers: map[string]*loginAnswer{}}
	if err := l.group(ctx, there); err != nil {
		return err
	}
	if d.req.NodeLogin {
		for i := range d.result.Logins {
			d.result.Logins[i].State = LoginUnchecked
			d.result.Logins[i].Text = "the nodes log in by themselves (--node-login): no login was tried"
		}
		return nil
	}
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(lookups)
	for i := range d.result.Logins {
		g.Go(func() error {
			l.judge(within, &d.result.Logins[i])
			return within.Err()
		})
	}
	return g.Wait()
}

// loggingIn is what is known of pull secrets, and what the registry said.
type loggingIn struct {
	*deploying

	secrets map[string]pullSecret // by NAMESPACE/NAME
	given   map[string]given      // by NAMESPACE/ACCOUNT

	mu      sync.Mutex
	answers map[string]*loginAnswer
}

// given are the pull secrets of a service account, or why they could not be
// read.
type given struct {
	names []string
	err   error
}

// pullSecret is a pull secret, or why it could not be read.
type pullSecret struct {
	diagnose.PullSecret

	err error
}

// group puts workloads with the same pull secrets together, and reads those.
func (l *loggingIn) group(ctx context.Context, there map[string]preflight.There) error {
	l.ownSecrets()
	for _, o := range l.result.Objects {
		images := l.imagesOf(o, there)
		if len(images) == 0 || o.workload.Kind == "" {
			continue // of what is no workload nothing is known
		}
		from, account := given{names: o.workload.Spec.Secrets}, ""
		if len(from.names) == 0 {
			account = cmp.Or(o.workload.Spec.Account, "default")
			from = l.gives(ctx, o.Namespace, account)
		}
		for _, name := range from.names {
			l.read(ctx, o.Namespace, name)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.add(DeployLogin{
			Namespace: o.Namespace, Secrets: from.names, Account: account, Workloads: []string{o.String()}, images: images, unread: from.err,
		})
	}
	return nil
}

// ownSecrets takes the secrets and accounts that come with the manifests:
// they count, whatever is in the cluster now.
func (l *loggingIn) ownSecrets() {
	for _, o := range l.result.Objects {
		switch {
		case o.secret != nil:
			s := *o.secret
			s.Namespace = o.Namespace
			l.secrets[o.Namespace+"/"+o.Name] = pullSecret{PullSecret: s}
		case o.Kind == "ServiceAccount":
			l.given[o.Namespace+"/"+o.Name] = given{names: o.gives}
		}
	}
}

func (l *loggingIn) imagesOf(o DeployObject, there map[string]preflight.There) []string {
	var all []string
	for _, i := range l.result.Rewrite.Images {
		if i.File == o.File && o.is(i.Object) && there[i.Inside].Err == nil && i.Inside != "" && !slices.Contains(all, i.Inside) {
			all = append(all, i.Inside)
		}
	}
	return all
}

func (l *loggingIn) gives(ctx context.Context, namespace, account string) given {
	key := namespace + "/" + account
	if _, known := l.given[key]; !known {
		names, err := l.env.Secrets.Gives(ctx, namespace, account)
		l.given[key] = given{names, err}
	}
	return l.given[key]
}

func (l *loggingIn) read(ctx context.Context, namespace, name string) {
	key := namespace + "/" + name
	if _, known := l.secrets[key]; known {
		return
	}
	s, err := l.env.Secrets.PullSecret(ctx, namespace, name)
	l.secrets[key] = pullSecret{s, err}
}

// add adds a workload to those with the same pull secrets.
func (l *loggingIn) add(n DeployLogin) {
	for i := range l.result.Logins {
		have := &l.result.Logins[i]
		if have.Namespace == n.Namespace && have.Account == n.Account && slices.Equal(have.Secrets, n.Secrets) {
			have.Workloads = append(have.Workloads, n.Workloads...)
			for _, img := range n.images {
				if !slices.Contains(have.images, img) {
					have.images = append(have.images, img)
				}
			}
			return
		}
	}
	l.result.Logins = append(l.result.Logins, n)
}

// judge finds out what the logins are worth for all images: the worst that is
// found is what is said.
func (l *loggingIn) judge(ctx context.Context, n *DeployLogin) {
	order := []string{"", LoginAnonymous, LoginAccepted, LoginUnchecked, LoginRefused}
	for _, image := range n.images {
		name, err := ref.Parse(image)
		if err != nil {
			continue // it was looked for, so it parses
		}
		v := l.judgeImage(ctx, n, name)
		if slices.Index(order, v.State) > slices.Index(order, n.State) {
			n.State, n.Text, n.ByHand, n.Remedy = v.State, v.Text, v.ByHand, v.Remedy
		}
	}
}

// judgeImage asks as the kubelet does: with each login that the secrets have
// for the image; where there is none, without one.
func (l *loggingIn) judgeImage(ctx context.Context, n *DeployLogin, image ref.Name) DeployLogin {
	var faults, refusals []string
	var unread error
	var tried *diagnose.Login
	for _, name := range n.Secrets {
		s := l.secrets[n.Namespace+"/"+name]
		if s.err != nil {
			unread = s.err
			continue
		}
		if why := s.Unreadable(); why != "" {
			return l.refuse(n, image, name, fmt.Sprintf("secret %s cannot be read, and the kubelet then does not even try to pull: %s", s, why))
		}
		for _, login := range s.LoginsFor(image) {
			err := l.ask(ctx, image, &login)
			if err == nil {
				return accepted(image, login)
			}
			tried = &login
			refusals = append(refusals, loginRefused(image, &login, err))
		}
		if check, because := s.Worth(image, l.world.Now()); check.Result == diagnose.CheckNo {
			faults = append(faults, because)
		}
	}
	switch {
	case tried != nil && unread == nil:
		return l.refuse(n, image, tried.Secret.Name, strings.Join(append(refusals, faults...), "; "))
	case unread != nil:
		return DeployLogin{State: LoginUnchecked, Text: fmt.Sprintf("the pull secret could not be read, so whether %s takes it was not asked: %v", image.Registry(), unread)}
	}
	err := l.ask(ctx, image, nil)
	if err == nil {
		return anonymous(image, faults)
	}
	if n.unread != nil {
		return DeployLogin{State: LoginUnchecked, Text: fmt.Sprintf("which pull secret the service account %s gives could not be read, so no login was tried: %v", n.Account, n.unread)}
	}
	if len(faults) > 0 {
		return l.refuse(n, image, n.Secrets[0], strings.Join(append(faults, loginRefused(image, nil, err)), " "))
	}
	return l.refuse(n, image, "", fmt.Sprintf("the pods have no pull secret, and their service account %s gives them none; %s (where nodes log in by themselves: --node-login)",
		n.Account, loginRefused(image, nil, err)))
}

func accepted(image ref.Name, by diagnose.Login) DeployLogin {
	return DeployLogin{
		State:  LoginAccepted,
		Text:   fmt.Sprintf("%s takes the login of secret %s/%s", image.Registry(), by.Secret.Namespace, by.Secret.Name),
		ByHand: []string{"skopeo", "inspect", "--creds", cmp.Or(by.Login.Username, "USER") + ":PASSWORD", image.Docker()},
	}
}

func anonymous(image ref.Name, faults []string) DeployLogin {
	v := DeployLogin{
		State: LoginAnonymous, Text: image.Registry() + " asks for no login",
		ByHand: []string{"skopeo", "inspect", "--no-creds", image.Docker()},
	}
	if len(faults) > 0 {
		v.Text += "; so this does not matter: " + strings.Join(faults, " ")
	}
	return v
}

// loginRefused says what the registry said to a login, or to nobody.
func loginRefused(image ref.Name, login *diagnose.Login, err error) string {
	status := statusOf(err)
	no := status == statusUnauthorized || status == statusForbidden
	switch {
	case no && login == nil:
		return fmt.Sprintf("%s gives %s to nobody without a login (%d)", image.Registry(), image.Path(), status)
	case no:
		return fmt.Sprintf("%s refuses the login of secret %s/%s for %s (%d)", image.Registry(), login.Secret.Namespace, login.Secret.Name, image.Path(), status)
	case errors.Is(err, content.ErrNotFound) && login != nil:
		return fmt.Sprintf("%s does not show %s to the login of secret %s/%s", image.Registry(), image.Path(), login.Secret.Namespace, login.Secret.Name)
	case errors.Is(err, content.ErrNotFound):
		return fmt.Sprintf("%s does not show %s without a login", image.Registry(), image.Path())
	}
	return err.Error()
}

// refuse says what to do about a secret that does not serve; name is "" where
// there is none.
func (l *loggingIn) refuse(n *DeployLogin, image ref.Name, name, text string) DeployLogin {
	v := DeployLogin{State: LoginRefused, Text: text}
	kubectl := func(args ...string) {
		v.Remedy = append(v.Remedy, append([]string{"kubectl"}, append(args, "-n", n.Namespace)...))
	}
	secret := cmp.Or(name, "regcred")
	if s, ok := l.secrets[n.Namespace+"/"+secret]; ok && !s.Missing {
		kubectl("delete", "secret", secret)
	}
	kubectl("create", "secret", "docker-registry", secret, "--docker-server="+image.Registry(), "--docker-username=USER", "--docker-password=PASSWORD")
	if name == "" {
		kubectl("patch", "serviceaccount", n.Account, "-p", `{"imagePullSecrets":[{"name":"`+secret+`"}]}`)
	}
	return v
}

// loginAnswer is what the registry said to a login, once.
type loginAnswer struct {
	once sync.Once
	err  error
}

// ask asks the registry for an image as a login; each repository and login
// once.
func (l *loggingIn) ask(ctx context.Context, image ref.Name, login *diagnose.Login) error {
	key := image.Registry() + "/" + image.Path()
	if login != nil {
		key += " " + login.Secret.Namespace + "/" + login.Secret.Name + " " + login.Key
	}
	l.mu.Lock()
	a := l.answers[key]
	if a == nil {
		a = &loginAnswer{}
		l.answers[key] = a
	}
	l.mu.Unlock()
	a.once.Do(func() {
		repo, err := l.env.Open(image, login)
		if err == nil {
			_, _, err = repo.Fetch(ctx, reference(image))
		}
		a.err = err
	})
	return a.err
}
