package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/scan"
)

const scanLong = `List what images consist of, and what is known against that: the vulnerability
database in use is asked (ferry db), and nothing leaves this machine.

An image that cannot be read, a database that is missing, damaged, too old or from
the future: exit code 1, and never an empty list. With --fail-on the answer is no
(exit code 3) where there is a finding as bad as that; what nobody has rated counts
as high.

--cluster looks into what runs: images by the digests that the nodes name, from the
bundles that are given, else from their registries, and in which workloads they are.
An image that cannot be had is said, and the exit code is 1. --new-since shows what
has become known since that bundle was gated and sealed, and no more.

Where nodes pull images by upstream's names from a mirror (ferry mirror-config),
--registry says which: it is asked first, by the digests, for the names that ferry
push gives; what it does not have is asked for where the node says.

Forms of the answer (-o): text, json, sarif, and the SBOM of one image as cyclonedx
or spdx.`

func (a *app) scan() *cobra.Command {
	var req ferry.ScanRequest
	var age ageFlag
	var failOn string
	var all bool
	var running clusterFlags
	c := &cobra.Command{
		Use:         "scan FILE|ARCHIVE|IMAGE… | --cluster [BUNDLE…]",
		Short:       "What is in images, and what is known against it",
		Long:        scanLong,
		Annotations: map[string]string{formsKey: "sarif cyclonedx spdx"},
		Example: `  ferry scan release.tar
  ferry scan nginx:1.27 --only-fixed --fail-on high
  ferry scan containers-storage:localhost/my-web:1.0
  ferry scan release.tar --db oci://registry.bank.internal/ferry/vulnerability-db --max-db-age 14d
  ferry scan release.tar -o sarif > findings.sarif
  ferry scan release.tar --image nginx:1.27 --platform linux/amd64 -o spdx
  ferry scan --cluster -A
  ferry scan --cluster -n shop --new-since release.tar --fail-on high
  ferry scan --cluster -A --registry registry.bank.internal/mirror`,
		Args: func(c *cobra.Command, args []string) error {
			if running.asked() {
				return nil
			}
			return some("which bundle, archive or images to scan")(c, args)
		},
		ValidArgsFunction: tarFiles,
		RunE: func(c *cobra.Command, args []string) (err error) {
			req.Places = args
			if req.MaxAge, err = age.limit(c); err != nil {
				return err
			}
			if failOn != "" {
				if req.FailOn, err = policy.ParseSeverity(failOn); err != nil {
					return usageError{fmt.Errorf("--fail-on: %w", err), c.CommandPath()}
				}
			}
			if running.asked() {
				return a.runScanCluster(c, req, &running, all)
			}
			return a.runScan(c, req, all)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&req.Images, "image", nil, "only this image of the bundle (repeatable)")
	f.StringSliceVar(&req.Platforms, "platform", nil, "only this platform, as in linux/amd64 (repeatable)")
	f.StringVar(&failOn, "fail-on", "", "exit code 3 where there is a finding of this severity or worse: critical, high, medium, low, negligible")
	f.BoolVar(&req.OnlyFixed, "only-fixed", false, "leave out what no update mends")
	f.BoolVar(&all, "all", false, "list every finding, and not only the worst")
	running.register(f)
	age.register(c, defaultAge())
	a.scanning.register(f)
	a.network.register(f)
	return c
}

// scanWorld is the world of a scan, and takes over which form was asked for.
func (a *app) scanWorld(req *ferry.ScanRequest) (ferry.World, func(), error) {
	switch a.output {
	case "spdx":
		req.Form = scan.SPDX
	case "cyclonedx":
		req.Form = scan.CycloneDX
	}
	return a.world()
}

func (a *app) runScan(c *cobra.Command, req ferry.ScanRequest, all bool) error {
	w, done, err := a.scanWorld(&req)
	if err != nil {
		return err
	}
	r, err := ferry.Scan(c.Context(), w, req)
	done()
	return a.scanned(r, req, all, err)
}

// scanned shows what was found, what could not be read too.
func (a *app) scanned(r *ferry.ScanResult, req ferry.ScanRequest, all bool, err error) error {
	var part *ferry.UnscannedError
	if err != nil && !errors.As(err, &part) {
		return err
	}
	if show := a.showScan(r, req, all); show != nil {
		return errors.Join(show, err)
	}
	if err != nil {
		return err
	}
	if r.Over > 0 {
		return answerNo{}
	}
	return nil
}

func (a *app) showScan(r *ferry.ScanResult, req ferry.ScanRequest, all bool) error {
	switch {
	case req.Form != "":
		if len(r.Images) != 1 {
			return usageError{fmt.Errorf("an SBOM is of one image on one platform, and there are %d: say which with --image and --platform", len(r.Images)), "ferry scan"}
		}
		if len(r.Documents) != 1 {
			return nil // it failed, and that is said
		}
		_, err := a.printer.Out.Write(r.Documents[0])
		return err
	case a.output == "sarif":
		return a.printer.SARIF(r, a.version.Version)
	}
	return a.printer.Scan(r, all)
}
