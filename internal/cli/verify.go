package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/ferry"
	"ferry/internal/policy"
)

const verifyLong = `Hash every blob of a bundle, build all that is not a blob anew from the lock and
the seal, and compare. Any changed, missing, added or moved byte is found, and
the first one is named: exit code 4.

A bundle that someone built whole with other contents is whole too. --digest
tells it apart: give it the digest that pack printed, or the file's SHA-256.

Where there is a policy (--policy, or ferry.policy.yaml in this folder or above),
the evidence in the bundle is held against it, and not against the packer's:
every image needs an SBOM and a scan report. A vulnerability database here that
is not older is asked about the SBOMs; --rescan reads the layers instead of
trusting them. What the policy refuses: exit code 3. The evidence is not signed.`

func (a *app) verify() *cobra.Command {
	var req ferry.VerifyRequest
	var age string
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check every byte of a bundle, and its evidence",
		Long:  verifyLong,
		Example: `  ferry verify release.tar
  ferry verify release.tar --digest sha256:3f1a…
  ferry verify release.tar --policy bank.yaml
  ferry verify release.tar --policy bank.yaml --rescan --max-db-age 7d
  ferry verify release.tar -o json`,
		Args: exactly(1, "which bundle to verify"),
		RunE: func(c *cobra.Command, args []string) error {
			req.File = args[0]
			if age != "" {
				limit, err := policy.ParseAge(age)
				if err != nil {
					return usageError{fmt.Errorf("--max-db-age: %w", err), c.CommandPath()}
				}
				req.DatabaseAge = time.Duration(limit)
			}
			return a.runVerify(c, req)
		},
	}
	f := c.Flags()
	f.StringVar(&req.Digest, "digest", "", "the digest that it has to have")
	f.IntVar(&req.Jobs, "jobs", 4, "how many blobs are hashed at once")
	f.BoolVar(&req.Rescan, "rescan", false, "read the layers anew instead of trusting the evidence")
	f.StringVar(&age, "max-db-age", "", "how old the vulnerability database may be, as in 7d, where the policy does not say (default: any age)")
	a.policyFlag(c, &req.Policy)
	c.ValidArgsFunction = tarFiles
	return c
}

func (a *app) runVerify(c *cobra.Command, req ferry.VerifyRequest) error {
	w, done := a.offlineWorld()
	if err := a.withScanner(&w); err != nil {
		return err
	}
	r, err := ferry.Verify(c.Context(), w, req)
	done()
	if err != nil {
		return a.refused(err)
	}
	return a.printer.Verify(r)
}

func tarFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"tar"}, cobra.ShellCompDirectiveFilterFileExt
}
