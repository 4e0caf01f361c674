package main

import (
	"strings"
	"testing"
)

func TestScore(t *testing.T) {
	const lines = `{"id":"a","message":"x509: certificate signed by unknown authority","cause":"tls-unknown-authority"}
{"id":"b","message":"no basic auth credentials","cause":"cloud-credential","also":["auth-required"]}
{"id":"c","message":"dial tcp 10.0.0.1:443: connect: connection refused","cause":"no-route"}
`
	s, err := read(strings.NewReader(lines), 0)
	if err != nil {
		t.Fatal(err)
	}
	if s.all != 3 || len(s.misses) != 2 || len(s.wrong()) != 1 || len(s.certain()) != 1 || s.good() {
		t.Errorf("%+v", s)
	}
	var out strings.Builder
	s.print(&out, "x", true)
	if want := "x: 3 messages, 1 right, 1 acceptable, 1 wrong (1 of them certain): 66.7 %"; !strings.HasPrefix(out.String(), want) {
		t.Error(out.String())
	}
	held, err := read(strings.NewReader(lines), 2)
	others, err2 := read(strings.NewReader(lines), -2)
	if err != nil || err2 != nil || held.all+others.all != 3 {
		t.Errorf("held %d, others %d", held.all, others.all)
	}
}
