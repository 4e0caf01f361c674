package cli

import (
	"github.com/spf13/cobra"

	"ferry/internal/ferry"
)

func (a *app) inspect() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what is in a bundle",
		Long: `Show the images of a bundle with their digests, platforms, sizes and referrers,
what they share, and where they came from. It reads only what it shows: to know
that the bundle is whole, verify it.`,
		Example: `  ferry inspect release.tar
  ferry inspect release.tar -o json`,
		Args:              exactly(1, "which bundle to look into"),
		ValidArgsFunction: tarFiles,
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := ferry.Inspect(args[0])
			if err != nil {
				return err
			}
			return a.printer.Inspect(r)
		},
	}
}
