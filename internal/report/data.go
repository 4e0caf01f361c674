package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"strconv"
	"strings"

	"ferry/internal/ferry"
)

type rowView struct {
	ID, Package, Type, Severity, EPSS, FixedIn string
	Exploited, Refused, New                    bool
	Accepted                                   string
	Images                                     []string
	More                                       int
}

func viewRow(r *ferry.ReportResult, f ferry.ReportFinding) rowView {
	v := rowView{
		ID: show(f.ID), Package: show(strings.TrimSpace(f.Name + " " + f.Version)), Type: show(f.Type), Severity: severityNames()[5-f.Severity.Rank()],
		EPSS: epss(f.EPSS), FixedIn: show(strings.Join(f.FixedIn, ", ")), Exploited: f.KnownExploited, Refused: f.Refused, New: f.New,
		Accepted: show(acceptedText(f)),
	}
	if r == nil {
		return v
	}
	for _, n := range f.Images[:min(len(f.Images), 2)] {
		v.Images = append(v.Images, show(r.Images[n].Name))
	}
	v.More = len(f.Images) - len(v.Images)
	return v
}

func epss(f float64) string {
	if f <= 0 {
		return ""
	}
	return fmt.Sprintf("%.1f %%", f*100)
}

func acceptedText(f ferry.ReportFinding) string {
	if f.Accepted == nil {
		return ""
	}
	s := "accepted by " + f.Accepted.Owner
	if f.Accepted.Until != "" {
		s += " until " + f.Accepted.Until
	}
	return s
}

// Flags of a row.
const (
	flagExploited = 1 << iota
	flagRefused
	flagAccepted
	flagNew
)

// viewData is all findings as JSON, for the page's script. Texts stand in it
// once, rows name them by number: id, package, version, type, severity's rank,
// EPSS in thousandths, flags, fixed in, acceptance, images. The JSON holds no
// <, > or &, so that nothing in it ends the element that it stands in.
func viewData(r *ferry.ReportResult) (template.JS, error) {
	t := texts{at: map[string]int{}}
	images := []int{}
	for _, i := range r.Images {
		images = append(images, t.number(i.Name))
	}
	var rows bytes.Buffer
	for i, f := range r.Findings {
		if i > 0 {
			rows.WriteByte(',')
		}
		row := []int{
			t.number(f.ID), t.number(f.Name), t.number(f.Version), t.number(f.Type), f.Severity.Rank(), int(f.EPSS*1000 + 0.5),
			flags(f), t.number(strings.Join(f.FixedIn, ", ")), t.number(acceptedText(f)),
		}
		rows.WriteByte('[')
		numbers(&rows, row)
		rows.WriteString(",[")
		numbers(&rows, f.Images)
		rows.WriteString("]]")
	}
	all, err := json.Marshal(t.all)
	if err != nil {
		return "", err
	}
	var names bytes.Buffer
	numbers(&names, images)
	return template.JS(fmt.Sprintf(`{"texts":%s,"images":[%s],"rows":[%s]}`, all, &names, &rows)), nil //nolint:gosec // numbers, and strings as encoding/json escapes them
}

// texts numbers texts.
type texts struct {
	at  map[string]int
	all []string
}

func (t *texts) number(s string) int {
	n, ok := t.at[s]
	if !ok {
		n = len(t.all)
		t.at[s] = n
		t.all = append(t.all, show(s))
	}
	return n
}

func numbers(b *bytes.Buffer, all []int) {
	for i, n := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(n))
	}
}

func flags(f ferry.ReportFinding) int {
	n := 0
	if f.KnownExploited {
		n |= flagExploited
	}
	if f.Refused {
		n |= flagRefused
	}
	if f.Accepted != nil {
		n |= flagAccepted
	}
	if f.New {
		n |= flagNew
	}
	return n
}
