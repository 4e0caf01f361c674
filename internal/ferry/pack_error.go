package ferry

import (
	"fmt"
	"strings"
)

// ImageError is an image that could not be packed.
type ImageError struct {
	Image string `json:"image"`
	Err   error  `json:"-"`
	Text  string `json:"error"`
}

func imageError(name string, err error) ImageError {
	return ImageError{Image: name, Err: err, Text: err.Error()}
}

// PackError names every image that could not be packed.
type PackError struct {
	// File is the bundle that was to be written; "" where nobody asked for one,
	// and it would have lain in the cache.
	File   string
	Images []ImageError
	// Kept says that blobs were pulled, which the next try goes on with.
	Kept bool
	// Others says that other images could be packed.
	Others bool
}

func (e *PackError) Error() string {
	var s strings.Builder
	for _, i := range e.Images {
		fmt.Fprintf(&s, "%s %s: %v\n", e.Deed(), i.Image, i.Err)
	}
	return strings.TrimSuffix(s.String(), "\n")
}

// Deed is what failed, for whoever asked for it.
func (e *PackError) Deed() string {
	if e.File == "" {
		return "pull"
	}
	return "pack"
}

// Unwrap returns all causes.
func (e *PackError) Unwrap() []error {
	errs := make([]error, len(e.Images))
	for i, f := range e.Images {
		errs[i] = f.Err
	}
	return errs
}
