package cli

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"ferry/internal/diagnose"
	"ferry/internal/ferry"
	"ferry/internal/ui"
)

const explainLong = `Tell why an image did not arrive, from what a failed pull leaves behind.

The text is recognised by itself: one message or several, what kubectl describe
pod and kubectl get pod|events -o json|yaml print, logs of kubelet, containerd,
CRI-O and Docker, the output of docker, podman, crictl and kubeadm. Nothing is
sent anywhere: the answer comes from rules, says how sure it is, and quotes
what it rests on.

The argument is - for what comes through a pipe, else the name of a lesson,
else a file, else the text itself.`

func (a *app) explain() *cobra.Command {
	var list bool
	var req ferry.ExplainRequest
	c := &cobra.Command{
		Use:   "explain [FILE|-|LESSON|TEXT]",
		Short: "Tell why an image did not arrive, from text",
		Long:  explainLong,
		Example: `  kubectl describe pod my-web-684f49ddf4-pmprv | ferry explain -
  kubectl get events -A -o json | ferry explain -
  journalctl -u kubelet --since -1h | ferry explain -
  ferry explain 'Failed to pull image "nginx": … lookup registry-1.docker.io: i/o timeout'
  ferry explain dns-timeout
  ferry explain --list`,
		ValidArgsFunction: completeLessons,
		RunE: func(c *cobra.Command, args []string) error {
			if list {
				return a.printer.Lessons(diagnose.Lessons())
			}
			req.Words, req.Stdin = args, c.InOrStdin()
			if len(args) == 0 && terminal(req.Stdin) {
				return c.Help()
			}
			req.Open = openFile
			r, err := ferry.Explain(req)
			var lesson *ferry.LessonError
			if errors.As(err, &lesson) {
				return usageError{err, c.CommandPath()}
			}
			if err != nil {
				return err
			}
			return a.printer.Explain(r)
		},
	}
	f := c.Flags()
	f.BoolVar(&list, "list", false, "name the lessons")
	f.StringVarP(&req.Setting.Namespace, "namespace", "n", "", "the pod's namespace, for the commands that are proposed")
	return c
}

func completeLessons(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return diagnose.LessonNames(), cobra.ShellCompDirectiveDefault
}

func terminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	return ok && ui.IsTerminal(f)
}

func openFile(name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if s, err := f.Stat(); err == nil && s.IsDir() {
		_ = f.Close()
		return nil, ferry.ErrFolder
	}
	return f, nil
}
