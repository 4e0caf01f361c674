// Command corpus scores ferry explain on labelled messages.
//
//	go run ./scripts/corpus [-v] [-hold N] FILE.jsonl…
//
// Each line of a file is an object: message, cause (the right label), also
// (labels that are acceptable), reason (the event's), id. It exits with 1 when
// fewer than 98 % are right or acceptable, or a wrong answer says certain.
// With -hold N only every N-th message is scored, chosen by the hash of its
// id: those that nobody looks at while rules are written. -hold -N scores the
// others.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"

	"ferry/internal/diagnose"
)

func main() {
	verbose := flag.Bool("v", false, "show each message that is not right")
	hold := flag.Int("hold", 0, "score every N-th message alone, or with -N the others")
	flag.Parse()
	good := true
	for _, name := range flag.Args() {
		s, err := file(name, *hold)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		s.print(os.Stdout, name, *verbose)
		good = good && s.good()
	}
	if !good {
		os.Exit(1)
	}
}

// message is a line of a corpus.
type message struct {
	ID      string   `json:"id"`
	Message string   `json:"message"`
	Reason  string   `json:"reason"`
	Cause   string   `json:"cause"`
	Also    []string `json:"also"`
}

// miss is an answer that is not the label.
type miss struct {
	message
	got  string
	sure diagnose.Confidence
}

func (m miss) acceptable() bool { return slices.Contains(m.Also, m.got) }

// score counts the answers.
type score struct {
	all    int
	misses []miss
}

func file(name string, hold int) (score, error) {
	f, err := os.Open(name)
	if err != nil {
		return score{}, err
	}
	defer f.Close()
	return read(f, hold)
}

func read(in io.Reader, hold int) (score, error) {
	var s score
	reader := diagnose.NewReader()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return s, fmt.Errorf("line %d: %w", n, err)
		}
		if !chosen(cmp.Or(m.ID, m.Message), hold) {
			continue
		}
		s.all++
		c := reader.Message(m.Message, diagnose.Setting{Reason: m.Reason}).Causes[0]
		if string(c.Cause) != m.Cause {
			s.misses = append(s.misses, miss{m, string(c.Cause), c.Confidence})
		}
	}
	return s, lines.Err()
}

// chosen says whether the message is scored.
func chosen(id string, hold int) bool {
	if hold == 0 {
		return true
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	held := h.Sum32()%uint32(max(hold, -hold)) == 0
	return held == (hold > 0)
}

// wrong are the answers that are neither right nor acceptable.
func (s score) wrong() []miss {
	return slices.DeleteFunc(slices.Clone(s.misses), miss.acceptable)
}

// certain are the wrong answers that claim to be certain.
func (s score) certain() []miss {
	return slices.DeleteFunc(s.wrong(), func(m miss) bool { return m.sure != diagnose.Certain })
}

func (s score) good() bool {
	const goal = 0.98
	return s.all > 0 && float64(s.all-len(s.wrong())) >= goal*float64(s.all) && len(s.certain()) == 0
}

func (s score) print(w io.Writer, name string, verbose bool) {
	right, wrong := s.all-len(s.misses), len(s.wrong())
	fmt.Fprintf(w, "%s: %d messages, %d right, %d acceptable, %d wrong (%d of them certain): %.1f %%\n",
		name, s.all, right, len(s.misses)-wrong, wrong, len(s.certain()), 100*float64(s.all-wrong)/float64(max(s.all, 1)))
	for _, m := range s.misses {
		kind := "wrong     "
		if m.acceptable() {
			kind = "acceptable"
		}
		fmt.Fprintf(w, "  %s %-10s %s taken for %s (%s)\n", kind, m.ID, m.Cause, m.got, m.sure)
		if verbose {
			fmt.Fprintf(w, "             %.600q\n", m.Message)
		}
	}
}
