package cli

import (
	"github.com/spf13/cobra"

	"ferry/internal/ferry"
)

const verifyLong = `Hash every blob of a bundle, build all that is not a blob anew from the lock and
the seal, and compare. Any changed, missing, added or moved byte is found, and
the first one is named: exit code 4.

A bundle that someone built whole with other contents is whole too. --digest
tells it apart: give it the digest that pack printed, or the file's SHA-256.`

func (a *app) verify() *cobra.Command {
	var req ferry.VerifyRequest
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check every byte of a bundle",
		Long:  verifyLong,
		Example: `  ferry verify release.tar
  ferry verify release.tar --digest sha256:3f1a…
  ferry verify release.tar -o json`,
		Args: exactly(1, "which bundle to verify"),
		RunE: func(c *cobra.Command, args []string) error {
			req.File = args[0]
			w, done := a.offlineWorld()
			r, err := ferry.Verify(c.Context(), w, req)
			done()
			if err != nil {
				return err
			}
			return a.printer.Verify(r)
		},
	}
	c.Flags().StringVar(&req.Digest, "digest", "", "the digest that it has to have")
	c.Flags().IntVar(&req.Jobs, "jobs", 4, "how many blobs are hashed at once")
	c.ValidArgsFunction = tarFiles
	return c
}

func tarFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"tar"}, cobra.ShellCompDirectiveFilterFileExt
}
