package ui_test

import (
	"strings"
	"testing"

	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/ui"
)

func TestPolicyTextCannotSteerTheTerminal(t *testing.T) {
	r := &ferry.PolicyResult{
		File: evil, Digest: top, Next: evil, Clauses: []policy.Clause{{Rule: evil, Text: evil}},
		Exceptions: []ferry.PolicyException{
			{Exception: policy.Exception{Vulnerability: evil, Image: evil, Package: evil, Owner: evil, Reason: evil, Ticket: evil, Expires: policy.Until{Text: evil}}, Expired: true},
			{Exception: policy.Exception{Rule: evil, Owner: evil, Expires: policy.Until{Text: evil}}},
		},
		VEX: []ferry.PolicyVEX{{File: evil, Author: evil, Expires: evil, Expired: true}},
	}
	for _, show := range []func(*ui.Printer, *ferry.PolicyResult) error{(*ui.Printer).PolicyCheck, (*ui.Printer).PolicyExplain} {
		for _, json := range []bool{false, true} {
			out, conversation, err := printed(ui.Printer{JSON: json}, func(p *ui.Printer) error { return show(p, r) })
			if err != nil {
				t.Fatal(err)
			}
			harmless(t, out+conversation)
			if !json && !strings.Contains(out, seen) {
				t.Errorf("it is not shown:\n%s", out)
			}
		}
	}
}
