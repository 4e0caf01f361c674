// Package cli is the command line: flags become a request, a verb does the
// work, ui prints the result. One file a command; wire.go builds the world,
// exit.go turns errors into hints and exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ferry/internal/near"
	"ferry/internal/ui"
)

// Version is what the build stamped.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
}

// Main runs ferry with the process's arguments and returns its exit code.
func Main(v Version) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Whoever presses Ctrl-C twice wants it to end at once.
	context.AfterFunc(ctx, stop)
	return Run(ctx, v, os.Args[1:], os.Stdout, os.Stderr)
}

// Run runs ferry and returns its exit code.
func Run(ctx context.Context, v Version, args []string, out, errw io.Writer) int {
	a := &app{version: v, printer: &ui.Printer{Out: out, Err: errw}}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	return a.exit(ctx, err)
}

// app is what all commands share.
type app struct {
	version Version
	printer *ui.Printer
	output  string
	network networkFlags
	// scanning is set by the commands that scan.
	scanning scanFlags
	// interrupted is what to say of the work when Ctrl-C ends it.
	interrupted string
}

const rootLong = `ferry carries container images into Kubernetes clusters that cannot reach the
internet, tells why an image did not arrive, and can prove what it carried.

  a pod that waits    kubectl describe pod my-web | ferry explain -
                      ferry fix deploy/my-web
  connected side      ferry pack nginx:1.27 --to release.tar
  behind the gap      ferry verify release.tar --digest sha256:…
                      ferry push release.tar --to registry.bank.internal
                      ferry deploy -f manifests/ --registry registry.bank.internal`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "ferry",
		Short: "Carry container images into clusters without internet",
		Long:  rootLong,
		Example: `  ferry demo                             the journey on this machine, without a network
  ferry explain ImagePullBackOff         what it means, and what helps
  ferry load nginx:1.27 --to minikube    put an image where it is run, without a registry`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return a.prepare(c) },
	}
	f := root.PersistentFlags()
	f.StringVarP(&a.output, "output", "o", "text", "form of the answer: text or json")
	f.BoolVarP(&a.printer.Quiet, "quiet", "q", false, "print the answer and errors, nothing else")
	f.BoolVarP(&a.printer.Verbose, "verbose", "v", false, "also tell of each blob, and where it came from")
	root.SetFlagErrorFunc(flagError)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	a.addCommands(root)
	return root
}

// asAdded has cobra list commands as they were added. It is a setting of all
// of a process.
var asAdded = sync.OnceFunc(func() { cobra.EnableCommandSorting = false }) //nolint:gochecknoglobals // once for a global of cobra's

// addCommands adds the verbs, in the order in which people come to need them.
func (a *app) addCommands(root *cobra.Command) {
	asAdded()
	for _, g := range []struct {
		title string
		verbs []*cobra.Command
	}{
		{"Why is an image not there?", []*cobra.Command{a.explain(), a.doctor(), a.fix()}},
		{"On the connected side", []*cobra.Command{a.pack(), a.scan(), a.db(), a.policy(), a.report()}},
		{"Behind the gap", []*cobra.Command{a.verify(), a.inspect(), a.push(), a.load(), a.serve()}},
		{"Into the cluster", []*cobra.Command{a.rewrite(), a.deploy(), a.mirrorConfig()}},
		{"About ferry", []*cobra.Command{a.demo(), a.versionCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, verb := range g.verbs {
			verb.GroupID = g.title
			root.AddCommand(verb)
		}
	}
	root.SetHelpCommandGroupID("About ferry")
	root.SetCompletionCommandGroupID("About ferry")
	root.InitDefaultCompletionCmd("")
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		// A shell that there is not is a mistake, and no answer for eval to run.
		c.Args = exactly(0, "bash, zsh, fish or powershell")
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
}

// formsKey is the annotation of a command that knows more forms of an answer.
const formsKey = "forms"

// prepare reads what all commands have in common.
func (a *app) prepare(c *cobra.Command) error {
	if err := filledIn(c); err != nil {
		return err
	}
	p := a.printer
	p.Terminal = ui.IsTerminal(p.Err) && os.Getenv("TERM") != "dumb"
	p.Color = p.Terminal && ui.IsTerminal(p.Out) && os.Getenv("NO_COLOR") == ""
	switch a.output {
	case "text":
	case "json":
		p.JSON = true
	default:
		if forms := strings.Fields(c.Annotations[formsKey]); !slices.Contains(forms, a.output) {
			return usageError{fmt.Errorf("-o %q: write %s", a.output, strings.Join(append([]string{"text or json"}, forms...), ", ")), c.CommandPath()}
		}
	}
	return nil
}

// filledIn refuses a flag that is given with nothing, as --policy "$POLICY"
// is where the variable was not set: it would ask for less than was meant. A
// number or a time below zero is refused too.
func filledIn(c *cobra.Command) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		given := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			given = list.GetSlice()
		}
		if len(given) == 0 || slices.Contains(given, "") {
			err = usageError{fmt.Errorf("--%s is given with nothing: write a value, or leave it out", f.Name), c.CommandPath()}
		}
		if kind := f.Value.Type(); (kind == "int" || kind == "duration") && strings.HasPrefix(f.Value.String(), "-") {
			err = usageError{fmt.Errorf("--%s cannot be %s: less than nothing", f.Name, f.Value), c.CommandPath()}
		}
	})
	return err
}

// usageError is a command that cannot be meant so.
type usageError struct {
	error
	command string
}

func (e usageError) Unwrap() error { return e.error }

// flagError says which flag may have been meant.
func flagError(c *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() == "" {
		var have []string
		c.Flags().VisitAll(func(f *pflag.Flag) { have = append(have, f.Name) })
		if alike := near.Names(unknown.GetSpecifiedName(), have); len(alike) > 0 {
			err = fmt.Errorf("%w; did you mean --%s?", err, alike[0])
		}
	}
	return usageError{err, c.CommandPath()}
}

// exactly wants n arguments and says which.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%s: say %s", c.CommandPath(), what), c.CommandPath()}
		}
		return nil
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  ferry version\n  ferry version -o json",
		Args:    exactly(0, "nothing more"),
		RunE:    func(*cobra.Command, []string) error { return a.printer.Version(a.version.Version, a.version.Commit) },
	}
}
