package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Change is what an image becomes; what is empty stays as it is.
type Change struct {
	Name   string
	Policy string
}

// Edit puts Text in the place of the bytes from Start to End. Where Start is
// End it is put in between.
type Edit struct {
	Start, End int
	Text       string
}

// Rewritten is a file with its images changed.
type Rewritten struct {
	Text  []byte
	Edits []Edit // in the order of the file
	// Left are images that could not be changed where they stand.
	Left []Finding
}

// Rewrite changes the images of f as decide says. The result is read again,
// and has to be the same but for what was decided: else it is an error, and
// nothing is changed. Its errors are *Error.
func (f *File) Rewrite(decide func(Image) Change) (*Rewritten, error) {
	r := &rewriter{file: f, want: map[*node]string{}, wantAlias: map[*node]string{}, insert: map[*node]addition{}, shared: map[*node]bool{}}
	r.aliases()
	for i, img := range f.Images {
		if c := decide(img); c != (Change{}) {
			r.change(img, f.places[i], c)
		}
	}
	edits, err := r.edits()
	if err != nil {
		return nil, err
	}
	out := &Rewritten{Text: Apply(f.Text, edits), Edits: edits, Left: r.left}
	if len(edits) == 0 {
		return out, nil
	}
	if err := r.check(out.Text); err != nil {
		return nil, err
	}
	return out, nil
}

// Apply makes the edits, which are in order and do not overlap.
func Apply(text []byte, edits []Edit) []byte {
	var b bytes.Buffer
	at := 0
	for _, e := range edits {
		b.Write(text[at:e.Start])
		b.WriteString(e.Text)
		at = e.End
	}
	b.Write(text[at:])
	return b.Bytes()
}

type rewriter struct {
	file *File
	// want are new values of scalars, wantAlias of aliases that lead to them.
	want, wantAlias map[*node]string
	// insert are pull policies for mappings that have none.
	insert map[*node]addition
	refs   []*node // all aliases
	// shared is what aliases repeat where no image is expected.
	shared map[*node]bool
	left   []Finding
}

// addition is a key and a value, new beside another key.
type addition struct {
	beside entry
	key    string
	value  string
}

func (r *rewriter) change(img Image, p place, c Change) {
	policy, has := p.within.get(p.policy)
	has = has && p.policy != ""
	if r.shared[p.holder] || has && r.shared[policy.holder] {
		r.left = append(r.left, Finding{
			Object: img.Object, Path: img.Path, Text: img.Name, Line: img.Line,
			Why: "is repeated by an alias where no image is expected: write it out there", Image: true,
		})
		return
	}
	if c.Name != "" {
		r.set(p.value, c.Name)
	}
	if c.Policy == "" || p.policy == "" {
		return
	}
	if e := policy; has {
		if v := e.value.real(); v.kind == scalar && v.tag != "!!null" && v.value != "" {
			r.set(e.value, c.Policy)
			return
		}
		r.left = append(r.left, Finding{Object: img.Object, Path: img.Path, Text: p.policy, Line: r.file.source.line(e.key.start), Why: "its pull policy is empty", Image: true})
		return
	}
	r.insert[p.holder] = addition{beside: p.entry, key: p.policy, value: c.Policy}
}

// set wants a new value. One that is named for others to repeat stays as it
// is where only the repetition is an image.
func (r *rewriter) set(v *node, text string) {
	if v.kind == alias {
		r.wantAlias[v] = text
		return
	}
	r.want[v] = text
}

// aliases gathers all aliases of the file.
func (r *rewriter) aliases() {
	var walk func(n *node)
	walk = func(n *node) {
		if n.kind == alias {
			r.refs = append(r.refs, n)
		}
		for _, k := range n.kids {
			walk(k)
		}
	}
	for _, d := range r.file.docs {
		walk(d)
	}
	for _, a := range r.refs {
		if !r.file.walked[a] && a.target.kind != scalar {
			r.share(a.target)
		}
	}
}

// share marks n and all that is in it, through further aliases.
func (r *rewriter) share(n *node) {
	n = n.real()
	if r.shared[n] {
		return
	}
	r.shared[n] = true
	for _, k := range n.kids {
		r.share(k)
	}
}

// edits turns what is wanted into changes of bytes.
func (r *rewriter) edits() ([]Edit, error) {
	r.settleAliases()
	var all []Edit
	for n, text := range r.want {
		e, err := r.file.replace(n, text)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	for n, text := range r.wantAlias {
		end := n.start + 1 + len(r.name(n))
		all = append(all, Edit{n.start, end, text})
	}
	for _, a := range r.insert {
		e, err := r.add(a)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Edit) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End), cmp.Compare(a.Text, b.Text))
	})
	all = slices.DeleteFunc(all, func(e Edit) bool { return string(r.file.Text[e.Start:e.End]) == e.Text })
	for i := 1; i < len(all); i++ {
		if all[i].Start < all[i-1].End {
			return nil, r.unsafe(all[i].Start, "two changes would meet")
		}
	}
	return all, nil
}

// settleAliases makes each alias to a value say what it should, once the
// value has changed: nothing, a new value, or the old one.
func (r *rewriter) settleAliases() {
	for _, a := range r.refs {
		t := a.target
		if t.kind != scalar {
			continue
		}
		says, changed := r.want[t]
		if !changed {
			says = t.value
		}
		wanted, is := r.wantAlias[a]
		if !is {
			wanted = t.value
		}
		delete(r.wantAlias, a)
		if wanted != says {
			r.wantAlias[a] = written(wanted)
		}
	}
}

// name is the anchor that an alias names, as it is written.
func (r *rewriter) name(a *node) string { return a.target.anchor }

var plainText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/:@-]*[A-Za-z0-9]$`)

// written is a string as YAML and JSON read it.
func written(s string) string {
	if plainText.MatchString(s) && !ambiguous(s) {
		return s
	}
	return quoted(s)
}

// ambiguous are words that are no strings to YAML 1.1.
func ambiguous(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return true
	}
	return false
}

func quoted(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string cannot fail
	return strings.TrimSuffix(b.String(), "\n")
}

// replace returns the edit that gives a scalar another value.
func (f *File) replace(n *node, text string) (Edit, error) {
	start, end, err := f.token(n)
	if err != nil {
		return Edit{}, err
	}
	switch {
	case n.quoted == '"':
		q := quoted(text)
		return Edit{start + 1, end - 1, q[1 : len(q)-1]}, nil
	case n.quoted == '\'':
		return Edit{start + 1, end - 1, strings.ReplaceAll(text, "'", "''")}, nil
	case n.block:
		return Edit{start, end, text}, nil
	}
	return Edit{start, end, written(text)}, nil
}

// add returns the edit that puts a key beside another.
func (r *rewriter) add(a addition) (Edit, error) {
	src := r.file.source
	if a.beside.holder.flow {
		return r.addFlow(a)
	}
	indent := strings.Repeat(" ", src.column(a.beside.key.start)-1)
	line := a.key + ": " + a.value
	if v := a.beside.value; v.kind == alias || v.kind == scalar && !v.block {
		end, err := r.end(v)
		if err != nil {
			return Edit{}, err
		}
		rest, eol := src.rest(end)
		if trimmed := bytes.TrimLeft(rest, " \t"); len(trimmed) == 0 || trimmed[0] == '#' && len(trimmed) < len(rest) {
			at := end + len(rest)
			if len(eol) == 0 {
				return Edit{at, at, src.eol() + indent + line}, nil
			}
			return Edit{at + len(eol), at + len(eol), indent + line + string(eol)}, nil
		}
	}
	// What follows the value is not simple: before its key it is.
	return Edit{a.beside.key.start, a.beside.key.start, line + src.eol() + indent}, nil
}

var justColon = regexp.MustCompile(`^[ \t]*:[ \t]*$`)

// addFlow puts a key behind a value in braces, spaced as the one beside it.
func (r *rewriter) addFlow(a addition) (Edit, error) {
	end, err := r.end(a.beside.value)
	if err != nil {
		return Edit{}, err
	}
	key, value := a.key, a.value
	if a.beside.key.quoted == '"' {
		key, value = quoted(key), quoted(value)
	}
	colon := ": "
	if keyEnd, err := r.end(a.beside.key); err == nil {
		if b := r.file.Text[keyEnd:a.beside.value.start]; justColon.Match(b) {
			colon = string(b)
		}
	}
	before := r.file.Text[:a.beside.key.start]
	space := string(before[len(bytes.TrimRight(before, " \t\r\n")):])
	if space == "" && a.beside.key.quoted == 0 {
		space = " "
	}
	return Edit{end, end, "," + space + key + colon + value}, nil
}

// end is where a value's token ends.
func (r *rewriter) end(n *node) (int, error) {
	if n.kind == alias {
		return n.start + 1 + len(r.name(n)), nil
	}
	_, end, err := r.file.token(n)
	return end, err
}

func (r *rewriter) unsafe(at int, why string) error {
	return r.file.unsafe(at, why)
}

func (f *File) unsafe(at int, why string) error {
	return &Error{
		File: f.Name, Line: f.source.line(at), Problem: "it cannot be changed safely: " + why,
		Todo: "Write this place more plainly, as in image: nginx:1.27, and please report it: nothing was changed.",
	}
}

// check reads the new text and wants it to be the old one with the changes,
// and nothing else.
func (r *rewriter) check(text []byte) error {
	docs, err := parse(r.file.Name, newSource(text))
	if err != nil {
		why := err.Error()
		if e, ok := errors.AsType[*Error](err); ok {
			why = fmt.Sprintf("in its line %d: %s", e.Line, e.Problem)
		}
		return r.unsafe(0, "what comes out cannot be read, "+why)
	}
	if len(docs) != len(r.file.docs) {
		return r.unsafe(0, fmt.Sprintf("of %d documents would come out %d", len(r.file.docs), len(docs)))
	}
	for i, d := range r.file.docs {
		if at := r.differ(d, docs[i]); at != nil {
			return r.unsafe(at.start, "something else would change")
		}
	}
	return nil
}

// differ returns the first node that is not what it should be; nil for none.
func (r *rewriter) differ(old, now *node) *node {
	if old.kind == alias {
		if text, ok := r.wantAlias[old]; ok {
			if now.kind == scalar && (now.value == text || quoted(now.value) == text) {
				return nil
			}
			return old
		}
		if now.kind == alias && now.target.anchor == old.target.anchor {
			return nil
		}
		return old
	}
	if old.kind != now.kind || old.anchor != now.anchor || old.tag != now.tag && !(old.kind == scalar && r.wants(old)) {
		return old
	}
	if old.kind == scalar {
		return r.differScalar(old, now)
	}
	kids := now.kids
	if a, ok := r.insert[old]; ok {
		kids = without(kids, a.key)
	}
	if len(kids) != len(old.kids) || len(now.kids) != len(kids) && !r.added(old, now) {
		return old
	}
	for i := range kids {
		if at := r.differ(old.kids[i], kids[i]); at != nil {
			return at
		}
	}
	return nil
}

func (r *rewriter) wants(n *node) bool {
	_, ok := r.want[n]
	return ok
}

func (r *rewriter) differScalar(old, now *node) *node {
	want, ok := r.want[old]
	if !ok {
		want = old.value
	}
	if now.value == want || ok && old.block && strings.TrimSpace(now.value) == want {
		return nil
	}
	return old
}

// added says whether a new key has the value that was wanted.
func (r *rewriter) added(old, now *node) bool {
	a, ok := r.insert[old]
	return ok && now.text(a.key) == a.value
}

// without leaves a key and its value out.
func without(kids []*node, key string) []*node {
	var out []*node
	for i := 0; i+1 < len(kids); i += 2 {
		if kids[i].kind != scalar || kids[i].value != key {
			out = append(out, kids[i], kids[i+1])
		}
	}
	return out
}
