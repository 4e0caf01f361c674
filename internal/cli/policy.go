package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/ui"
)

const policyLong = `A policy says what may cross. Where there is one, pack asks it, and refuses to
seal what it refuses (exit code 3). It is found as ferry.policy.yaml in this
folder or above, or named by --policy. docs/policy.md tells all that may stand
in it; the least is one line: version: 1`

func (a *app) policy() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Look at the policy that decides what may cross",
		Long:  policyLong,
		Example: `  ferry policy check
  ferry policy explain bank.yaml
  ferry policy schema > ferry.policy.schema.json`,
		Args: exactly(0, "check, explain or schema"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.policyView("check", "Say whether a policy is sound, and what of it has expired",
		`Read a policy and the OpenVEX documents that it names, compile its rules, and
say which exceptions have expired. A key that ferry does not know, a rule that
does not compile, an exception without owner, reason, ticket or end: exit code 3.`, (*ui.Printer).PolicyCheck),
		a.policyView("explain", "Say in words what a policy refuses and accepts",
			`Say in words what a policy refuses, what it accepts and in whose name, and how an
exception is written.`, (*ui.Printer).PolicyExplain),
		a.policySchema())
	return c
}

func (a *app) policyView(name, short, long string, show func(*ui.Printer, *ferry.PolicyResult) error) *cobra.Command {
	return &cobra.Command{
		Use:     name + " [FILE]",
		Short:   short,
		Long:    long,
		Example: "  ferry policy " + name + "\n  ferry policy " + name + " bank.yaml\n  ferry policy " + name + " bank.yaml -o json",
		Args:    atMost(1, "at most one policy"),
		RunE: func(_ *cobra.Command, args []string) error {
			req := ferry.PolicyRequest{Dir: "."}
			if len(args) > 0 {
				req.File = args[0]
			}
			w, done := a.offlineWorld()
			r, err := ferry.Policy(w, req)
			done()
			if err != nil {
				return err
			}
			return show(a.printer, r)
		},
	}
}

func (a *app) policySchema() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON schema of ferry.policy.yaml, for editors",
		Example: "  ferry policy schema > ferry.policy.schema.json",
		Args:    exactly(0, "nothing more"),
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(a.printer.Out, policy.Schema())
			return err
		},
	}
}

// atMost takes no more than n arguments and says so.
func atMost(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > n {
			return usageError{fmt.Errorf("%s: say %s", c.CommandPath(), what), c.CommandPath()}
		}
		return nil
	}
}

// policyFlag lets a command find a policy.
func (a *app) policyFlag(c *cobra.Command, req *ferry.PolicyRequest) {
	req.Dir = "."
	c.Flags().StringVar(&req.File, "policy", "", "the policy to hold it against (default: ferry.policy.yaml in this folder or above)")
	_ = c.MarkFlagFilename("policy", "yaml")
}

// refused prints what a policy refuses: that is an answer, and no error.
func (a *app) refused(err error) error {
	r, ok := errors.AsType[*ferry.RefusedError](err)
	if !ok || r.Verdict == nil {
		return err
	}
	if err := a.printer.Refused(r); err != nil {
		return err
	}
	return answerNo{}
}
