package cluster

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const adminGroup = "system:masters"

// startControlPlane starts etcd, the API server, the controller manager and the
// scheduler, and returns once the API server is ready.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	if err := c.writeKeys(); err != nil {
		return err
	}
	if err := c.startEtcd(); err != nil {
		return err
	}
	if err := c.startAPIServer(); err != nil {
		return err
	}
	if err := wait(ctx, 90*time.Second, "the API server", func() error { return c.get(ctx, "/readyz", nil) }); err != nil {
		return fmt.Errorf("%w\n%s", err, c.log("kube-apiserver"))
	}
	return firstError(
		c.slot.daemon("kube-controller-manager", c.kube("kube-controller-manager"), "--kubeconfig="+c.file("kcm.kubeconfig"),
			"--service-account-private-key-file="+c.file("sa.key"), "--root-ca-file="+c.file("ca.crt"),
			"--use-service-account-credentials=true", "--leader-elect=false", "--bind-address="+c.Gateway, "--cert-dir="+c.file("kcm")),
		c.slot.daemon("kube-scheduler", c.kube("kube-scheduler"), "--kubeconfig="+c.file("scheduler.kubeconfig"),
			"--leader-elect=false", "--bind-address="+c.Gateway, "--cert-dir="+c.file("scheduler")),
	)
}

func (c *Cluster) startEtcd() error {
	client, peer := "http://"+c.Gateway+":2379", "http://"+c.Gateway+":2380"
	return c.slot.daemon("etcd", "etcd", "--data-dir", c.file("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
}

func (c *Cluster) startAPIServer() error {
	return c.slot.daemon("kube-apiserver", c.kube("kube-apiserver"),
		"--etcd-servers=http://"+c.Gateway+":2379", "--bind-address="+c.Gateway, "--advertise-address="+c.Gateway, "--secure-port=6443",
		"--tls-cert-file="+c.file("apiserver.crt"), "--tls-private-key-file="+c.file("apiserver.key"),
		"--client-ca-file="+c.file("ca.crt"), "--cert-dir="+c.file("apiserver"),
		"--service-account-key-file="+c.file("sa.crt"), "--service-account-signing-key-file="+c.file("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins="+strings.Join(append([]string{"NodeRestriction"}, c.options.Admission...), ","),
		"--service-cluster-ip-range="+serviceRange, "--allow-privileged=true",
		"--kubelet-client-certificate="+c.file("kubelet-client.crt"), "--kubelet-client-key="+c.file("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP")
}

// writeKeys makes the cluster's authority, certificates and kubeconfigs.
func (c *Cluster) writeKeys() error {
	if err := os.WriteFile(c.file("ca.crt"), c.ca.PEM, 0o600); err != nil {
		return err
	}
	server, err := c.ca.sign(certificate{name: "kube-apiserver", server: true, hosts: []string{
		c.Gateway, serviceIP, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
	}})
	if err != nil {
		return err
	}
	kubelet, err := c.ca.sign(certificate{name: "kubelet-client", groups: []string{adminGroup}})
	if err != nil {
		return err
	}
	if err := firstError(server.write(c.Dir, "apiserver"), kubelet.write(c.Dir, "kubelet-client"), c.writeServiceAccountKey()); err != nil {
		return err
	}
	for file, who := range map[string]certificate{
		"admin":     {name: "admin", groups: []string{adminGroup}},
		"kcm":       {name: "system:kube-controller-manager"},
		"scheduler": {name: "system:kube-scheduler"},
	} {
		p, err := c.writeUser(file, who)
		if err != nil {
			return err
		}
		if file == "admin" {
			if c.client, err = apiClient(c.ca, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Cluster) writeUser(file string, who certificate) (pair, error) {
	p, err := c.ca.sign(who)
	if err != nil {
		return p, err
	}
	return p, writeKubeconfig(c.file(file+".kubeconfig"), c.server(), who.name, c.ca.PEM, p)
}

func (c *Cluster) writeServiceAccountKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	return pair{
		cert: pemBlock("PUBLIC KEY", public), key: pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)),
	}.write(c.Dir, "sa")
}

func (c *Cluster) server() string          { return "https://" + c.Gateway + ":6443" }
func (c *Cluster) file(name string) string { return filepath.Join(c.Dir, name) }
func (c *Cluster) kube(name string) string { return filepath.Join(c.Programs, name) }

func apiClient(ca *authority, p pair) (*http.Client, error) {
	cert, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}}, nil
}

// get reads a path of the API; into may be nil.
func (c *Cluster) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server()+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", path, resp.Status, tail(string(body)))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// log is the end of what a program of the control plane wrote.
func (c *Cluster) log(name string) string {
	text, err := os.ReadFile(filepath.Join(c.slot.dir, name+".log"))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(tail(string(text)))
}
