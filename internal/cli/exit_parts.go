package cli

import (
	"errors"
	"fmt"
	"strings"

	"ferry/internal/ferry"
	"ferry/internal/registry"
)

// A part is one of several errors that are said together. image is the one it
// is about, "" where it is about none.
type part struct {
	err   error
	image string
}

// parts splits an error that names several images into one each.
func parts(err error) []part {
	var all []part
	if pushed, ok := errors.AsType[*ferry.PushError](err); ok {
		for _, i := range pushed.Images {
			all = append(all, pushFailed(i))
		}
		return all
	}
	if loaded, ok := errors.AsType[*ferry.LoadError](err); ok {
		return each(loaded.Errors())
	}
	if files, ok := errors.AsType[*ferry.FilesError](err); ok {
		return each(files.Errs)
	}
	packed, ok := errors.AsType[*ferry.PackError](err)
	if !ok {
		return []part{{err: err}}
	}
	for _, i := range packed.Images {
		all = append(all, part{fmt.Errorf("%s %s: %w", packed.Deed(), i.Image, i.Err), i.Image})
	}
	return all
}

func each(errs []error) []part {
	all := make([]part, len(errs))
	for i, err := range errs {
		all[i].err = err
	}
	return all
}

// sayParts prints errors with their hints. A registry that cannot be reached
// fails for each of its images alike: it is said once, with their names.
func (a *app) sayParts(all []part) {
	for len(all) > 0 {
		first, others := all[0], []part{}
		var same []string
		for _, p := range all[1:] {
			if alike(first, p) {
				same = append(same, p.image)
			} else {
				others = append(others, p)
			}
		}
		text := first.err.Error()
		if len(same) > 0 {
			text += "\nthe same: " + strings.Join(same, ", ")
		}
		a.printer.Error(text, hint(first.err))
		all = others
	}
}

// alike says whether two images failed because there was no way to the same
// registry.
func alike(a, b part) bool {
	if a.image == "" || b.image == "" {
		return false
	}
	one, ok := errors.AsType[*registry.Error](a.err)
	other, too := errors.AsType[*registry.Error](b.err)
	return ok && too && one.Status == 0 && other.Status == 0 && one.Host == other.Host &&
		cause(one).Error() == cause(other).Error() && hint(a.err) == hint(b.err)
}

// cause is what an error comes from.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
