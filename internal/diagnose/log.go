package diagnose

import (
	"strings"

	"ferry/internal/pattern"
)

// logPrefix is what stands before a message in the logs of systemd, klog,
// containers and docker.
var logPrefix = pattern.New(`^(?:` +
	`\S{2,8} +\d+ \d\d:\d\d:\d\d(?:\.\d+)? +\S+ [\w.()/-]+(?:\[\d+\])?: ` + // Nov 24 10:00:00 node kubelet[1]:, in any language
	`|\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d\S*(?: [+-]\d{4}(?: \w+)?)? (?:std(?:out|err) [FP] )?(?:\S+ [\w.-]+\[\d+\]: )?` +
	`|[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w./-]+:\d+\] ` +
	`|time="?[^" ]+"? +level=\w+ ` +
	`|ts=\S+ ` +
	`|(?:ERRO|FATA|WARN|INFO|DEBU)\[[^\]]*\] ` +
	`)+`)

// logged says whether most lines begin as those of a log.
func logged(lines []string) bool {
	n, all := 0, 0
	for _, l := range lines {
		if strings.TrimSpace(l) == "" {
			continue
		}
		all++
		if logPrefix.MatchString(l) {
			n++
		}
	}
	return all > 1 && n > all/2
}

// signs are words of which a line has at least one if it speaks of pulling
// images, or of the runtime that does.
func signs() []string {
	return []string{
		"pull", "registry", "/v2/", "manifest", "docker://", "sandbox image", "exec format error", "containerd.sock", "docker.sock", "crio.sock",
		"cri-dockerd", "no space left", "garbage collect", "x509", "blobs/", "media type", "digest",
	}
}

func looksLikeError(line string) bool {
	low := strings.ToLower(line)
	for _, s := range signs() {
		if strings.Contains(low, s) {
			return !strings.Contains(low, "probe failed")
		}
	}
	return false
}

// logLine reads a line of a log.
func (c *collector) logLine(line string) {
	line = colourless(line)
	if !looksLikeError(line) {
		return
	}
	// Most lines of a long log were there before; to know that is cheaper than
	// to take them apart.
	key := "line\x00" + numberless(line)
	if _, ok := c.again(key, 1); ok {
		return
	}
	s := c.setting
	if m := logPod.FindStringSubmatch(line); m != nil {
		s.Namespace, s.Pod = m[1], m[2]
	}
	text := strings.TrimSpace(line[len(logPrefix.FindString(line)):])
	i := item{text: text, setting: s, log: true}
	if s.Pod != "" {
		i.object = named(reference{}, s)
	}
	at := c.add(i)
	if len(c.known) < 2*maxDistinct {
		c.known[key] = at
	}
}

// logPod is how the kubelet names the pod in its log.
var logPod = pattern.New(`\bpod="([a-z0-9-]+)/([a-z0-9.-]+)"`)
