package diagnose

import (
	"strconv"
	"strings"

	"ferry/internal/pattern"
)

var (
	describeEvent = pattern.New(`^\s*(Normal|Warning)\s+(\w+)\s+(\S+(?: \(x\d+ over [^)]+\))?)\s+(\S+(?:, \S+)?)\s+(.*)$`)
	tableEvent    = pattern.New(`^\s*(?:(\S+)\s+)??(\S+(?: \(x\d+ over [^)]+\))?)\s+(Normal|Warning)\s+(\w+)\s+([A-Za-z.]+/\S+)\s+(.*)$`)
	times         = pattern.New(`\(x(\d+) over`)
	podRow        = pattern.New(`^\s*(?:(\S+)\s+)??(\S+)\s+(\d+/\d+)\s+((?:Init:)?[A-Z]\w+)\s+(\d+)`)
	field         = pattern.New(`^( *)([A-Z][A-Za-z /-]*):(?:\s+(.*))?$`)
	containerLine = pattern.New(`^  ([a-z0-9][a-z0-9.-]*):\s*$`)
)

// described says whether the lines are what kubectl describe prints.
func described(lines []string) bool {
	name, sections := false, 0
	for _, l := range lines {
		switch {
		case strings.HasPrefix(l, "Name:"):
			name = true
		case strings.HasPrefix(l, "Namespace:"), strings.HasPrefix(l, "Containers:"), strings.HasPrefix(l, "Events:"), strings.HasPrefix(l, "Conditions:"):
			sections++
		}
		if name && sections > 1 {
			return true
		}
	}
	return false
}

// eventTable says whether the lines are events as kubectl prints them, in get
// or in describe.
func eventTable(lines []string) bool {
	for _, l := range lines {
		if describeEvent.MatchString(l) || tableEvent.MatchString(l) {
			return true
		}
	}
	return false
}

func podTable(lines []string) bool {
	for _, l := range lines {
		if podRow.MatchString(l) {
			return true
		}
	}
	return false
}

// events reads lines of events. A line that is none belongs to the one before.
func (c *collector) eventLines(lines []string) {
	var all []object
	for _, l := range lines {
		e, ok := eventLine(l)
		switch {
		case ok:
			all = append(all, e)
		case len(all) > 0 && !strings.Contains(l, "----") && strings.TrimSpace(l) != "":
			all[len(all)-1].Message += "\n" + l
		case looksLikeError(l):
			c.add(item{text: l, setting: c.setting, log: true})
		}
	}
	for _, e := range all {
		c.object(e)
	}
}

func eventLine(l string) (object, bool) {
	var o object
	if m := tableEvent.FindStringSubmatch(l); m != nil {
		kind, name, _ := strings.Cut(m[5], "/")
		o = object{Kind: "Event", Type: m[3], Reason: m[4], Message: m[6]}
		o.InvolvedObject = reference{Kind: capital(kind), Name: name, Namespace: namespaceColumn(m[1])}
		o.Count = timesIn(m[2])
		return o, true
	}
	if m := describeEvent.FindStringSubmatch(l); m != nil {
		return object{Kind: "Event", Type: m[1], Reason: m[2], Message: m[5], Count: timesIn(m[3])}, true
	}
	return o, false
}

func namespaceColumn(s string) string {
	if objectName.MatchString(s) && !age.MatchString(s) {
		return s
	}
	return ""
}

var age = pattern.New(`^[0-9hdmsy]+$`)

func timesIn(s string) int {
	if m := times.FindStringSubmatch(s); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 1
}

func capital(kind string) string {
	switch k := strings.ToLower(kind); k {
	case "po", "pod", "pods":
		return "Pod"
	case "":
		return ""
	default:
		return strings.ToUpper(k[:1]) + k[1:]
	}
}

// podTable reads what kubectl get pods prints: it has the reasons alone.
func (c *collector) podTable(lines []string) {
	for _, l := range lines {
		m := podRow.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		c.pods++
		reason := strings.TrimPrefix(m[4], "Init:")
		if !imageReason(reason) {
			c.healthy++
			continue
		}
		s := c.setting
		s.Namespace, s.Pod, s.Reason = namespaceColumn(m[1]), m[2], reason
		c.add(item{text: reason, setting: s, object: named(reference{}, s)})
	}
}

// describe reads what kubectl describe pod prints, one pod or several.
func (c *collector) describe(lines []string) {
	var d describing
	for _, l := range lines {
		if strings.HasPrefix(l, "Name:") && d.section != "" {
			c.described(d)
			d = describing{}
		}
		d.line(l)
	}
	c.described(d)
}

// describing is a pod of which the description is being read.
type describing struct {
	pod     object
	events  []object
	section string
	state   string // State or Last State, whose fields follow
}

// line reads a line of a description.
func (d *describing) line(l string) {
	l = strings.TrimRight(l, "\r")
	if d.section == "Events" {
		d.event(l)
		return
	}
	if m := containerLine.FindStringSubmatch(l); m != nil && strings.HasSuffix(d.section, "Containers") {
		d.container(m[1])
		return
	}
	m := field.FindStringSubmatch(l)
	if m == nil {
		return
	}
	indent, key, value := len(m[1]), m[2], strings.TrimSpace(m[3])
	switch {
	case indent == 0:
		d.section = key
		d.top(key, value)
	case strings.HasSuffix(d.section, "Containers"):
		d.containerField(key, value)
	}
}

func (d *describing) top(key, value string) {
	switch key {
	case "Name":
		d.pod.Metadata.Name, d.pod.Kind = value, "Pod"
	case "Namespace":
		d.pod.Metadata.Namespace = value
	case "Node":
		d.pod.Spec.NodeName, _, _ = strings.Cut(value, "/")
	case "Service Account":
		d.pod.Spec.ServiceAccountName = value
	case "Reason":
		d.pod.Status.Reason = value
	case "Message":
		d.pod.Status.Message = value
	case "Controlled By":
		kind, name, _ := strings.Cut(value, "/")
		d.pod.Metadata.OwnerReferences = []reference{{Kind: kind, Name: name}}
	}
}

func (d *describing) container(name string) {
	d.state = ""
	d.pod.Spec.Containers = append(d.pod.Spec.Containers, specContainer{Name: name})
	d.pod.Status.ContainerStatuses = append(d.pod.Status.ContainerStatuses, containerStatus{Name: name})
}

func (d *describing) containerField(key, value string) {
	n := len(d.pod.Status.ContainerStatuses) - 1
	if n < 0 {
		return
	}
	st := &d.pod.Status.ContainerStatuses[n]
	switch key {
	case "Image":
		st.Image, d.pod.Spec.Containers[n].Image = value, value
	case "Ready":
		st.Ready = value == "True"
		d.state = ""
	case "State", "Last State":
		d.state = key
		begin(d.current(st), value)
	case "Reason", "Message", "Exit Code", "Started", "Finished":
		if d.state != "" {
			detail(d.current(st), key, value)
		}
	default:
		d.state = ""
	}
}

func (d *describing) current(st *containerStatus) *state {
	if d.state == "Last State" {
		return &st.LastState
	}
	return &st.State
}

func begin(s *state, value string) {
	switch value {
	case "Waiting":
		s.Waiting = &struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		}{}
	case "Running":
		s.Running = &struct{}{}
	case "Terminated":
		s.Terminated = &ending{}
	}
}

func detail(s *state, key, value string) {
	switch {
	case s.Waiting != nil && key == "Reason":
		s.Waiting.Reason = value
	case s.Waiting != nil && key == "Message":
		s.Waiting.Message = value
	case s.Terminated == nil:
	case key == "Reason":
		s.Terminated.Reason = value
	case key == "Message":
		s.Terminated.Message = value
	case key == "Exit Code":
		s.Terminated.ExitCode, _ = strconv.Atoi(value)
	case key == "Started":
		s.Terminated.StartedAt = value
	case key == "Finished":
		s.Terminated.FinishedAt = value
	}
}

func (d *describing) event(l string) {
	if e, ok := eventLine(l); ok {
		d.events = append(d.events, e)
		return
	}
	if n := len(d.events); n > 0 && !strings.Contains(l, "----") && strings.TrimSpace(l) != "" {
		d.events[n-1].Message += "\n" + l
	}
}

// described adds a pod that was read to its end.
func (c *collector) described(d describing) {
	if d.pod.Kind == "" {
		return
	}
	c.object(d.pod)
	for _, e := range d.events {
		e.InvolvedObject = reference{Kind: "Pod", Name: d.pod.Metadata.Name, Namespace: d.pod.Metadata.Namespace}
		c.object(e)
	}
}
