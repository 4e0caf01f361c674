package cli

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ferry/internal/credential"
	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/kube"
	"ferry/internal/ref"
	"ferry/internal/registry"
)

// kubeFlags say which cluster, under the names that kubectl has for them.
type kubeFlags struct {
	kubeconfig string
	context    string
	namespace  string
	timeout    time.Duration
}

func (k *kubeFlags) register(f *pflag.FlagSet) {
	k.registerPlace(f)
	f.StringVarP(&k.namespace, "namespace", "n", "", "the namespace to look at (default: the context's)")
	f.DurationVar(&k.timeout, "request-timeout", 15*time.Second, "how long one answer of the API server may take")
}

// registerPlace registers what says where the cluster is, and no more.
func (k *kubeFlags) registerPlace(f *pflag.FlagSet) {
	f.StringVar(&k.kubeconfig, "kubeconfig", "", "the kubeconfig file (default: as kubectl: KUBECONFIG, ~/.kube/config)")
	f.StringVar(&k.context, "context", "", "the kubeconfig's context to use (default: its current one)")
}

// addTo adds what says where the cluster is to what was given.
func (k *kubeFlags) addTo(g *ferry.Given) { g.Kubeconfig, g.Context = k.kubeconfig, k.context }

// cluster finds the cluster, and opens no connection yet.
func (k *kubeFlags) cluster(version string) (*kube.Client, error) {
	return kube.Open(kube.Options{
		Kubeconfig: k.kubeconfig, Context: k.context, Namespace: k.namespace,
		UserAgent: "ferry/" + version, Timeout: k.timeout,
	})
}

// prober asks registries as pods would: with their logins, never with those of
// this machine, and without trying again what may heal.
type prober struct {
	options registry.Options
}

func (a *app) prober() prober {
	return prober{registry.Options{
		CAFiles: a.network.caFiles, PlainHTTP: a.network.plainHTTP, UserAgent: "ferry/" + a.version.Version,
		Tries: 1, Stall: 5 * time.Second,
	}}
}

// podsView is a prober that tries again what may heal: before a deploy it
// counts what the registry says, not what it said just now.
func (a *app) podsView() prober {
	p := a.prober()
	p.options.Tries, p.options.Stall = 0, 0
	return p
}

func (p prober) Open(n ref.Name, login *diagnose.Login) (ferry.Probed, error) {
	o := p.options
	o.Login = func(of ref.Name) (credential.Login, string, bool) {
		if login == nil || of.Registry() != n.Registry() {
			return credential.Login{}, "", false
		}
		return login.Login, fmt.Sprintf("secret %s/%s", login.Secret.Namespace, login.Secret.Name), true
	}
	client, err := registry.New(o)
	if err != nil {
		return nil, err
	}
	return client.Repository(n)
}

func (p prober) Way(ctx context.Context, n ref.Name) ferry.Way {
	client, err := registry.New(p.options)
	if err != nil {
		return ferry.Way{Host: n.Registry(), Name: n.Registry(), Steps: []ferry.WayStep{{Name: "tls", Why: err.Error()}}}
	}
	defer client.Close()
	r := client.Reach(ctx, n)
	w := ferry.Way{Host: r.Host, Name: r.Name, Proxy: r.Proxy, PlainHTTP: r.PlainHTTP}
	add := func(name, to string, s registry.Step) {
		if s.Took > 0 {
			w.Steps = append(w.Steps, ferry.WayStep{Name: name, To: to, Took: s.Took, Why: s.Why()})
		}
	}
	add("dns", addresses(r.Addresses), r.Resolve)
	add("tcp", r.Address, r.Connect)
	add("tls", r.Host, r.Greet)
	return w
}

func addresses(all []netip.Addr) string {
	const most = 3
	var words []string
	for _, a := range all[:min(len(all), most)] {
		words = append(words, a.String())
	}
	if n := len(all) - most; n > 0 {
		words = append(words, fmt.Sprintf("%d more", n))
	}
	return strings.Join(words, ", ")
}
