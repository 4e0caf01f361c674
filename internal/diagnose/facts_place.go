package diagnose

import (
	"fmt"
	"strings"
)

// Place says where a cluster was looked for.
type Place struct {
	// Kubeconfig are the files, as kubectl would read them.
	Kubeconfig []string `json:"kubeconfig,omitempty"`
	Context    string   `json:"context,omitempty"`
	Server     string   `json:"server,omitempty"`
	// Namespace is the one that is meant where none is named.
	Namespace string `json:"namespace,omitempty"`
}

func (p Place) String() string {
	files := strings.Join(p.Kubeconfig, ", ")
	if files == "" {
		files = "no kubeconfig"
	}
	if p.Context == "" {
		return files
	}
	return fmt.Sprintf("%s (context %s)", files, p.Context)
}

// Scope says which part of a cluster is looked at.
type Scope struct {
	// Namespace is the one to look at; "" means all, unless Objects are named.
	Namespace string
	// Objects are workloads or pods of Namespace; none means everything.
	Objects []Object
}
