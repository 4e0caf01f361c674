package cli

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"ferry/internal/bundle"
	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/ref"
)

// The exit codes. docs say them too: README.md.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNo          = 3
	exitDamaged     = 4
	exitPartly      = 5
	exitInterrupted = 130
)

// partly is work that was done in part.
type partly struct{ error }

// answerNo is work that was done, and whose answer is no. The answer was
// printed, so nothing more is said.
type answerNo struct{}

func (answerNo) Error() string { return "the answer is no" }

// hinter is an error that knows what to do next.
type hinter interface{ Hint() string }

// told is a failure whose reasons were printed already.
type told struct{}

func (told) Error() string { return "it could not be done" }

// exit prints err with a hint, and returns the exit code.
func (a *app) exit(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil {
		a.printer.Error("interrupted"+a.interrupted, "")
		return exitInterrupted
	}
	if errors.Is(err, told{}) && ctx.Err() == nil {
		return exitFailed
	}
	if errors.Is(err, answerNo{}) {
		return exitNo
	}
	a.sayParts(parts(err))
	var p *ferry.PackError
	if errors.As(err, &p) && standing(p) != "" {
		a.printer.Say(standing(p))
	}
	return code(err)
}

// standing says where a failed pack left things.
func standing(p *ferry.PackError) string {
	if p.File == "" {
		if p.Kept {
			return "what was pulled is kept, and the same command goes on from there"
		}
		return ""
	}
	s := "nothing was written under the name " + p.File
	if p.Kept {
		s += "; what was pulled is kept, and the same command goes on from there"
	}
	if p.Others {
		s += " (--keep-going packs the others)"
	}
	return s
}

func code(err error) int {
	var damaged *bundle.DamageError
	var notBundle *bundle.NotBundleError
	var wrong *bundle.WrongDigestError
	var blob *ferry.DamagedBlobError
	var u1 usageError
	var u2 *ferry.UsageError
	var part partly
	var unfit *policy.Error
	var refused *ferry.RefusedError
	switch {
	case errors.As(err, &unfit), errors.As(err, &refused):
		return exitNo
	case errors.As(err, &damaged), errors.As(err, &blob), errors.As(err, &notBundle), errors.As(err, &wrong):
		return exitDamaged
	case errors.As(err, &u1), errors.As(err, &u2), strings.HasPrefix(err.Error(), "unknown command"):
		return exitUsage
	case errors.As(err, &part):
		return exitPartly
	}
	return exitFailed
}

// hint says what to do next, where ferry knows.
func hint(err error) string {
	var h hinter
	var damaged *bundle.DamageError
	var notBundle *bundle.NotBundleError
	var wrong *bundle.WrongDigestError
	var busy *bundle.BusyError
	var usage usageError
	var platform *ferry.PlatformError
	var blob *ferry.DamagedBlobError
	var collision *ref.CollisionError
	var space *bundle.SpaceError
	switch {
	case errors.As(err, &h):
		return h.Hint()
	case errors.Is(err, ferry.ErrNoDatabase):
		return "Fetch one with ferry db pull, or import one with ferry db import FILE."
	case errors.As(err, &damaged):
		return "Do not use it: carry it over again, or pack it again from the lock beside the original."
	case errors.As(err, &blob):
		return "Nothing of that blob was committed. Do not use the bundle: ferry verify says where it is damaged; carry it over again."
	case errors.As(err, &collision):
		return "Nothing was sent or changed. Pack them into bundles of their own, and push each under a prefix of its own (or without --flatten)."
	case errors.As(err, &notBundle):
		return "Read is what ferry pack wrote; of what other tools save, ferry pack makes a bundle: ferry pack FILE --to release.tar"
	case errors.As(err, &wrong):
		return "Either the wrong file was carried over, or someone replaced it: ask who packed it."
	case errors.As(err, &busy):
		return "Wait for it, or give this one another name with --to."
	case errors.As(err, &platform):
		return "Leave --platform out to take all there are."
	case errors.As(err, &usage):
		return "See " + usage.command + " --help."
	case strings.HasPrefix(err.Error(), "unknown command"):
		return "See ferry --help."
	case errors.As(err, &space) && errors.Is(err, syscall.ENOSPC):
		return "Free some space there, or write the bundle to another disk. What an earlier run left there (.partial, .partial.former) may go too."
	case errors.Is(err, syscall.ENOSPC):
		return "Free some space there, or write the bundle to another disk. What was pulled is kept."
	case errors.Is(err, syscall.EFBIG):
		return "That file system, or a limit (ulimit -f), takes no file of this size. FAT32 ends at 4 GiB; exFAT and ext4 do not."
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "The bundle is written beside its final name: that folder has to be writable."
	case errors.Is(err, fs.ErrNotExist):
		return "Is the name right? Paths are read from the current folder."
	}
	return ""
}
