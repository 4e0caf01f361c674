package workload

// Running is an image that a container was made of.
type Running struct {
	// Image is the name that the pod has for it.
	Image string
	// ID is what its node says of it: REPOSITORY@DIGEST, or the digest of its
	// config alone where it was imported. "" where the node does not say.
	ID string
	// Workload is the outermost owner as the pod names it: Deployment shop/web.
	Workload string
	// Platform is the node's; "" where nodes may not be read.
	Platform string
}
