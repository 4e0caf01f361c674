package diagnose

import (
	"slices"
	"strings"
	"time"
)

// imageReasons are the waiting reasons of the kubelet that are about images.
func imageReasons() []string {
	return []string{
		"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "ImageInspectError", "InvalidImageName",
		"RegistryUnavailable", "SignatureValidationFailed", "ImageVolumeMountFailed",
	}
}

// AboutImage says whether a waiting reason is about the image.
func AboutImage(reason string) bool { return slices.Contains(imageReasons(), reason) }

// Suspect says whether a pod is worth a closer look: its events, its owner
// and its pull secrets are then read. It is the one place where the many
// pods of a cluster are told from the few.
func (p Pod) Suspect() bool {
	if p.Deleting || p.Phase == "Succeeded" || p.Node == "" {
		return false
	}
	if p.Reason == "Evicted" {
		return aboutDisk(p.Message)
	}
	return slices.ContainsFunc(p.Containers, p.suspect)
}

func (p Pod) suspect(c Container) bool {
	switch {
	case c.Kind == ImageVolume:
		return false // its failure shows in the containers
	case AboutImage(c.Waiting.Reason):
		return true
	case c.runs():
		return false
	case c.MayBeForeign():
		return true
	}
	return p.Phase == "Pending" && (c.Waiting.Reason != "" || c.Ended == nil)
}

// MayBeForeign says whether the container ended the way a program does that
// this processor cannot run: at once, and with an error. Its log tells.
func (c Container) MayBeForeign() bool {
	e := c.Ended
	if e == nil || c.runs() || e.ExitCode == 0 {
		return false
	}
	switch e.Reason {
	case "Error", "StartError", "ContainerCannotRun":
		return e.Finished.Sub(e.Started) <= 2*time.Second
	}
	return false
}

// runs says that the container runs, and not only between two ends.
func (c Container) runs() bool { return c.Running && !c.JustRestarted }

func aboutDisk(message string) bool {
	return strings.Contains(message, "ephemeral-storage") || strings.Contains(message, "imagefs") ||
		strings.Contains(message, "nodefs") || strings.Contains(message, "DiskPressure")
}
