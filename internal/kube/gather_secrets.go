package kube

import (
	"context"
	"errors"

	"ferry/internal/credential"
	"ferry/internal/diagnose"
)

// accounts reads the service accounts of the pods.
func (g *gathering) accounts(ctx context.Context) error {
	done := map[string]bool{}
	for _, p := range g.facts.Pods {
		if p.Account == "" || done[p.Namespace+"/"+p.Account] {
			continue
		}
		done[p.Namespace+"/"+p.Account] = true
		var a account
		err := g.client.get(ctx, one("", p.Namespace, "serviceaccounts", p.Account), &a)
		if err := g.unless(err); err != nil {
			return err
		}
		if err != nil {
			if e, ok := errors.AsType[*Error](err); ok && e.Forbidden() {
				return nil // once is enough to know
			}
			continue
		}
		g.mu.Lock()
		g.facts.Accounts = append(g.facts.Accounts, diagnose.Account{
			Namespace: p.Namespace, Name: p.Account, Secrets: names(a.ImagePullSecrets),
		})
		g.mu.Unlock()
	}
	return nil
}

// secrets reads the pull secrets that the pods name.
func (g *gathering) secrets(ctx context.Context) error {
	done := map[string]bool{}
	for _, p := range g.facts.Pods {
		for _, name := range p.Secrets {
			if done[p.Namespace+"/"+name] {
				continue
			}
			done[p.Namespace+"/"+name] = true
			s, err := g.client.secret(ctx, p.Namespace, name)
			if e, ok := errors.AsType[*Error](err); ok && e.NotFound() {
				s, err = g.missing(ctx, p.Namespace, name)
			}
			if err != nil {
				if err := g.unless(err); err != nil {
					return err
				}
				continue
			}
			g.mu.Lock()
			g.facts.Secrets = append(g.facts.Secrets, s)
			g.mu.Unlock()
		}
	}
	return nil
}

// The types of pull secrets, and the key in which each keeps its file.
const (
	dockerConfigJSON = "kubernetes.io/dockerconfigjson"
	dockerCfg        = "kubernetes.io/dockercfg"
)

func (c *Client) secret(ctx context.Context, namespace, name string) (diagnose.PullSecret, error) {
	var s secret
	if err := c.get(ctx, one("", namespace, "secrets", name), &s); err != nil {
		return diagnose.PullSecret{}, err
	}
	return secretFacts(namespace, name, s), nil
}

func secretFacts(namespace, name string, s secret) diagnose.PullSecret {
	f := diagnose.PullSecret{Namespace: namespace, Name: name, Type: s.Type, Created: s.Metadata.CreationTimestamp}
	key := map[string]string{dockerConfigJSON: ".dockerconfigjson", dockerCfg: ".dockercfg"}[s.Type]
	if key == "" {
		return f
	}
	file, ok := s.Data[key]
	if !ok || len(file) == 0 {
		f.Problem = "it has no " + key
		return f
	}
	logins, err := credential.Parse(file)
	if err != nil {
		f.Problem = err.Error()
		return f
	}
	f.Logins, f.Hosts = logins, logins.Keys()
	return f
}

// maxNamespaces is in how many namespaces a missing secret is looked for.
const maxNamespaces = 50

// missing looks where else there is a secret of that name: only its metadata
// is asked for, so that no login crosses the network for it. Who may not look
// learns nothing, which is no failure.
func (g *gathering) missing(ctx context.Context, namespace, name string) (diagnose.PullSecret, error) {
	s := diagnose.PullSecret{Namespace: namespace, Name: name, Missing: true}
	for _, other := range g.namespaces(ctx) {
		if other == namespace {
			continue
		}
		q := one("", other, "secrets", name)
		q.accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
		var found struct{}
		err := g.client.get(ctx, q, &found)
		e, ok := errors.AsType[*Error](err)
		switch {
		case err == nil:
			s.Elsewhere = append(s.Elsewhere, other)
		case ok && e.NotFound():
		default:
			return s, ctx.Err()
		}
	}
	return s, ctx.Err()
}

// namespaces are the first of the cluster; none where they may not be listed.
func (g *gathering) namespaces(ctx context.Context) []string {
	if g.listed == nil {
		g.listed = []string{}
		_ = list(ctx, g.client, listOf("", "", "namespaces"), func(n account) {
			if len(g.listed) < maxNamespaces {
				g.listed = append(g.listed, n.Metadata.Name)
			}
		})
	}
	return g.listed
}
