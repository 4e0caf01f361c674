package diagnose

import (
	"slices"
	"strings"
)

// item is one message of a text, and what stands around it.
type item struct {
	text    string
	setting Setting
	object  string // Pod default/my-web-1
	seen    int
	// log says that it is a line among others: it has to speak of pulling, and
	// without a cause it says nothing.
	log bool
}

// collector gathers the causes that a text tells.
type collector struct {
	reader  *Reader
	setting Setting
	form    Form
	count   int // lines
	parsed  int // bytes
	// documents of YAML
	documents int
	pods      int
	healthy   int
	causes    []Cause
	// known are the messages that were parsed, without their numbers, and the
	// indexes of their causes.
	known map[string][]int
	index map[[3]string]int
	// Pods that are not well, and events by the name of what they are about,
	// are kept until all are known; of the others the names alone.
	sick     []*object
	about    map[string][]*object
	events   int
	wellPods map[string]bool
}

func newCollector(s Setting) *collector {
	return &collector{reader: NewReader(), setting: s, known: map[string][]int{}, index: map[[3]string]int{}, about: map[string][]*object{}, wellPods: map[string]bool{}}
}

// add parses an item, unless the same was parsed before. It returns the
// indexes of its causes.
func (c *collector) add(i item) []int {
	key := numberless(i.text) + "\x00" + i.object + "\x00" + i.setting.Image
	if at, ok := c.again(key, i.seen); ok {
		return at
	}
	if len(c.known) >= maxDistinct || c.parsed >= maxParsed {
		return nil
	}
	c.parsed += min(len(i.text), maxMessage)
	causes := c.reader.Message(i.text, i.setting).Causes
	if i.log && (causes[0].Cause == Unknown || causes[0].Confidence == Possible) {
		causes = nil
	}
	var at []int
	for _, cause := range causes {
		at = append(at, c.put(cause, i))
	}
	c.known[key] = at
	return at
}

// again counts what was parsed before.
func (c *collector) again(key string, seen int) ([]int, bool) {
	at, ok := c.known[key]
	for _, n := range at {
		c.causes[n].Seen += max(seen, 1)
	}
	return at, ok
}

// put adds a cause to those that say the same.
func (c *collector) put(cause Cause, i item) int {
	cause.Seen = max(i.seen, 1)
	if i.object != "" {
		cause.Objects = []string{i.object}
	}
	key := [3]string{string(cause.Cause), cause.Image, cause.Detail[DetailHost]}
	n, ok := c.index[key]
	if !ok {
		c.index[key] = len(c.causes)
		c.causes = append(c.causes, cause)
		return len(c.causes) - 1
	}
	evidence := c.causes[n].Evidence
	if cause.Title == notAboutImages { // which says more than that nothing is known
		cause, c.causes[n] = c.causes[n], cause
	}
	c.causes[n] = c.causes[n].with(cause)
	if len(evidence) >= maxEvidence {
		c.causes[n].Evidence = evidence
	}
	return n
}

// maxEvidence is how many quotations stand for one cause.
const maxEvidence = 3

// reading is the result. A cause that is known makes those that are not
// known uninteresting, for the same image or where no image is named.
func (c *collector) reading() *Reading {
	c.settle()
	causes := slices.DeleteFunc(Merge(gathered(c.causes)...), func(u Cause) bool {
		return u.Cause == Unknown && slices.ContainsFunc(c.causes, func(k Cause) bool {
			return k.Cause != Unknown && k.Cause != SecretMissing && explains(k, u)
		})
	})
	slices.SortStableFunc(causes, func(a, b Cause) int { return order(a) - order(b) })
	if len(causes) == 0 && c.healthy == 0 {
		causes = []Cause{c.nothing()}
	}
	r := &Reading{Report: Report{Causes: causes[:min(len(causes), maxCauses)]}, Form: c.form, Lines: c.count, Pods: c.pods}
	if len(causes) > 0 {
		r.Image = causes[0].Image
	}
	return r
}

// gathered gives causes that name no image, or none but its repository, to the
// same cause of the one image that has it: a program often says an error twice,
// and once without the name.
func gathered(causes []Cause) []Cause {
	all := slices.Clone(causes)
	for i, c := range all {
		if len(c.Objects) > 0 {
			continue
		}
		fuller := func(o Cause) bool {
			return o.Cause == c.Cause && o.Image != c.Image && (c.Image == "" || strings.HasPrefix(o.Image, c.Image+":"))
		}
		one := slices.IndexFunc(all, fuller)
		if one < 0 || slices.ContainsFunc(all, func(o Cause) bool { return fuller(o) && o.Image != all[one].Image }) {
			continue
		}
		if host := c.Detail[DetailHost]; host == "" || host == all[one].Detail[DetailHost] {
			all[one] = all[one].with(c)
			all[i].Seen = -1
		}
	}
	return slices.DeleteFunc(all, func(c Cause) bool { return c.Seen < 0 })
}

// explains says whether a known cause makes an unknown one uninteresting: it
// is of the same image, or as far as the text tells of the same pull.
func explains(known, u Cause) bool {
	if known.Image != "" && u.Image != "" {
		return sameImage(known.Image, u.Image)
	}
	return len(known.Objects) == 0 || len(u.Objects) == 0 ||
		slices.ContainsFunc(u.Objects, func(o string) bool { return slices.Contains(known.Objects, o) })
}

// order puts behind all else what often only follows another failure,
// warnings, and what is unknown.
func order(c Cause) int {
	switch c.Cause {
	case Unknown:
		return 2
	case SecretMissing, Canceled:
		return 1
	}
	return 0
}

// nothing is the cause where the text tells none.
func (c *collector) nothing() Cause {
	cause := c.reader.Message("", c.setting).Causes[0]
	cause.Evidence = []string{}
	cause.Title, cause.Meaning = nothingIn(c.form)
	return cause
}

func nothingIn(f Form) (title, meaning string) {
	switch f {
	case FormEmpty:
		return "the text is empty", "Nothing was read. Paste the event \"Failed to pull image …\", or pipe in what kubectl describe pod prints."
	case FormBinary:
		return "this is not text", "What was read is no text that a program writes about a failed pull. Try what kubectl describe pod prints."
	case FormLog:
		return "the log says nothing of an image that could not be had", "No line of it tells of a failed pull. The kubelet's and the runtime's log of the pod's node have the cause, and so have the pod's events for an hour."
	case FormPods:
		return "a list of pods does not say why", "It says which pods wait for an image. The cause stands in their events: kubectl describe pod."
	}
	return "the text does not say why", "No error of a failed pull was found in it. The cause stands in the event \"Failed to pull image\" or in the node's log."
}

// numberless returns a message without what changes from one time to the
// next: digits. Two messages that differ in an address' last number alone
// are taken for one.
func numberless(s string) string {
	b := make([]byte, 0, min(len(s), maxMessage))
	for i := 0; i < len(s) && len(b) < maxMessage; i++ {
		c := s[i]
		if '0' <= c && c <= '9' {
			if len(b) > 0 && b[len(b)-1] == '0' {
				continue
			}
			c = '0'
		}
		b = append(b, c)
	}
	return string(b)
}

func sameImage(a, b string) bool {
	return a == b || strings.HasSuffix(a, "/"+b) || strings.HasSuffix(b, "/"+a) || familiar(a) == familiar(b)
}
