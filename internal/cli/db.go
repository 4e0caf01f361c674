package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/ferry"
	"ferry/internal/policy"
	"ferry/internal/scan"
)

const dbLong = `The vulnerability database is grype's. Outside it is fetched; it crosses the gap
in a bundle, or as the file that it is, and is pushed into the registry inside,
where every ferry finds it: ferry scan --db oci://REGISTRY/ferry/vulnerability-db.

It is checked at every door: its digest, that it is whole, that it is not from
the future, and how old it is.`

func (a *app) db() *cobra.Command {
	c := &cobra.Command{
		Use:   "db",
		Short: "The vulnerability database: fetch, import, look at it, pack it",
		Long:  dbLong,
		Example: `  ferry db pull                                  outside: the newest
  ferry db pack --to db.tar                      into a bundle of its own
  ferry db import db.tar                         inside
  ferry db pull oci://registry.bank.internal/ferry/vulnerability-db
  ferry db status`,
		Args: exactly(0, "pull, import, status or pack"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.dbPull(), a.dbImport(), a.dbStatus(), a.dbPack())
	return c
}

// ageFlag is --max-db-age.
type ageFlag string

func (f *ageFlag) register(c *cobra.Command, byDefault string) {
	c.Flags().StringVar((*string)(f), "max-db-age", byDefault, "how old the vulnerability database may be, as in 7d or 12h; 0 takes any age")
}

func (f *ageFlag) limit(c *cobra.Command) (time.Duration, error) {
	if *f == "" || *f == "0" {
		return 0, nil
	}
	age, err := policy.ParseAge(string(*f))
	if err != nil {
		return 0, usageError{fmt.Errorf("--max-db-age: %w", err), c.CommandPath()}
	}
	return time.Duration(age), nil
}

// defaultAge is the limit outside the gap, where a newer one can be had.
func defaultAge() string { return fmt.Sprintf("%dd", int(scan.DefaultAge.Hours()/24)) }

func (a *app) dbPull() *cobra.Command {
	var req ferry.PullRequest
	var age ageFlag
	c := &cobra.Command{
		Use:   "pull [URL]",
		Short: "Fetch the newest database and use it",
		Long: `Fetch the newest database that a listing names (latest.json, as grype publishes
it), or the one in a registry, and put it to use. This and nothing else of ferry
asks ` + ferry.ListingURL + `.`,
		Example: `  ferry db pull
  ferry db pull https://mirror.bank.example/grype/v6/latest.json
  ferry db pull oci://registry.bank.internal/ferry/vulnerability-db --max-db-age 14d`,
		Args: atMost(1, "at most one URL"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if len(args) > 0 {
				req.URL = args[0]
			}
			if req.MaxAge, err = age.limit(c); err != nil {
				return err
			}
			return a.withDatabases(func(w ferry.World) (*ferry.DatabaseResult, error) { return ferry.PullDatabase(c.Context(), w, req) })
		},
	}
	age.register(c, defaultAge())
	c.Flags().BoolVar(&req.Older, "older", false, "take it although a newer one is in use")
	a.network.register(c.Flags())
	return c
}

func (a *app) dbImport() *cobra.Command {
	var req ferry.DatabaseRequest
	var age ageFlag
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Take a database from a file or a bundle and use it",
		Long: `Take a database from the archive that grype publishes (vulnerability-db_….tar.zst)
or from a bundle that ferry packed it into, check it from end to end, make it
ready and put it to use.`,
		Example: `  ferry db import vulnerability-db_v6.1.10_2026-11-22T01:31:41Z_1763774991.tar.zst
  ferry db import release.tar
  ferry db import db.tar.zst --digest sha256:9b4c… --max-db-age 14d`,
		Args: exactly(1, "which file"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			req.File = args[0]
			if req.MaxAge, err = age.limit(c); err != nil {
				return err
			}
			return a.withDatabases(func(w ferry.World) (*ferry.DatabaseResult, error) { return ferry.ImportDatabase(c.Context(), w, req) })
		},
	}
	age.register(c, "")
	c.Flags().StringVar(&req.Digest, "digest", "", "the SHA-256 that the archive has to have")
	c.Flags().BoolVar(&req.Older, "older", false, "take it although a newer one is in use")
	return c
}

func (a *app) dbStatus() *cobra.Command {
	var age ageFlag
	c := &cobra.Command{
		Use:     "status",
		Short:   "Check the database in use, and say how old it is",
		Example: "  ferry db status\n  ferry db status --max-db-age 7d\n  ferry db status -o json",
		Args:    exactly(0, "nothing more"),
		RunE: func(c *cobra.Command, _ []string) error {
			limit, err := age.limit(c)
			if err != nil {
				return err
			}
			return a.withDatabases(func(w ferry.World) (*ferry.DatabaseResult, error) {
				return ferry.DatabaseStatus(c.Context(), w, limit)
			})
		},
	}
	age.register(c, "")
	return c
}

// withDatabases runs what is about databases, and prints which one is in use.
func (a *app) withDatabases(do func(ferry.World) (*ferry.DatabaseResult, error)) error {
	w, done, err := a.world()
	if err != nil {
		return err
	}
	r, err := do(w)
	done()
	if err != nil {
		return err
	}
	return a.printer.Database(r)
}

func (a *app) dbPack() *cobra.Command {
	req := ferry.PackRequest{WithDatabase: true}
	c := &cobra.Command{
		Use:   "pack --to FILE",
		Short: "Put the database in use into a bundle of its own",
		Long: `Put the database in use into a bundle, as an OCI artifact called
` + ferry.DatabaseName + `. ferry push sends it into a registry as
REGISTRY/ferry/vulnerability-db:v6, ferry db import takes it out again. To send it
along with images: ferry pack … --with-db.`,
		Example: "  ferry db pack --to db.tar\n  ferry push db.tar --to registry.bank.internal",
		Args:    exactly(0, "nothing more"),
		RunE: func(c *cobra.Command, _ []string) error {
			w, done, err := a.world()
			if err != nil {
				return err
			}
			r, err := ferry.Pack(c.Context(), w, req)
			done()
			if err != nil {
				return err
			}
			return a.printer.Pack(r)
		},
	}
	c.Flags().StringVar(&req.To, "to", "", "the bundle's file name")
	return c
}
