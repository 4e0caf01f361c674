package cli

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"

	"ferry/internal/ferry"
	"ferry/internal/report"
)

const reportLong = `Verify a bundle and write one HTML page about it, for the person who has to answer
for it: the verdict, what is refused and accepted and by whom, images by size
and severity, every finding, and where it all comes from. --compare says what is
new since an earlier bundle.

The page needs nothing but itself: it opens from a file, without a network, and
prints. The verdict is that of your policy (--policy, or ferry.policy.yaml in
this folder or above), else that of the policy which the bundle carries.`

func (a *app) report() *cobra.Command {
	var req ferry.ReportRequest
	var to string
	c := &cobra.Command{
		Use:   "report FILE --to HTML",
		Short: "Write a page about a bundle, for the one who signs",
		Long:  reportLong,
		Example: `  ferry report release.tar --to report.html
  ferry report release-2.tar --compare release-1.tar --to report.html
  ferry report release.tar --policy bank.yaml --to report.html`,
		Args:              exactly(1, "which bundle to report on"),
		ValidArgsFunction: tarFiles,
		RunE: func(c *cobra.Command, args []string) error {
			if to == "" {
				return usageError{fmt.Errorf("say where the page goes: --to report.html"), c.CommandPath()}
			}
			req.File = args[0]
			return a.runReport(c, req, to)
		},
	}
	f := c.Flags()
	f.StringVar(&to, "to", "", "the page to write")
	f.StringVar(&req.Compare, "compare", "", "say what is new since this earlier bundle")
	f.IntVar(&req.Jobs, "jobs", 4, "how many blobs are hashed at once")
	a.policyFlag(c, &req.Policy)
	_ = c.MarkFlagFilename("to", "html")
	_ = c.MarkFlagFilename("compare", "tar")
	return c
}

func (a *app) runReport(c *cobra.Command, req ferry.ReportRequest, to string) error {
	w, done := a.offlineWorld()
	r, err := ferry.Report(c.Context(), w, req)
	done()
	if err != nil {
		return err
	}
	var page bytes.Buffer
	if err := report.Write(&page, r); err != nil {
		return err
	}
	if err := ferry.SaveReport(to, page.Bytes()); err != nil {
		return err
	}
	return a.printer.Report(r, to)
}
