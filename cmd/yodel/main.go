// Command yodel lets you see one connection from both ends: servers to talk to, a
// client to talk with, and what happened between them, in one program.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"yodel/call"
	"yodel/engine/process"
	"yodel/internal/escape"
)

func main() {
	process.Main(makeInChild) // a child of the process engine does nothing else
	os.Exit(run(context.Background(), os.Args[1:], std{os.Stdin, os.Stdout, os.Stderr}))
}

// std is where a command reads and writes.
type std struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// run runs one command line and returns the exit status.
func run(ctx context.Context, args []string, io std) int {
	if slices.Contains(args, "--inetd") {
		hush(io) // or the peer would be told what is wrong with the flags
	}
	root := newRoot(io)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var silent silentError
	if err != nil && !errors.As(err, &silent) {
		fmt.Fprintf(io.err, "yodel: %s\n", errorText(err))
	}
	return exitStatus(err)
}

// errorText is what err says, with the names of files escaped that the system quotes as they are.
func errorText(err error) string {
	text := err.Error()
	for _, path := range pathsIn(err) {
		text = strings.ReplaceAll(text, path, escape.StringN(path, 1000))
	}
	return text
}

// pathsIn returns the names of files that are in what the system says of err.
func pathsIn(err error) []string {
	var paths []string
	switch e := err.(type) {
	case *fs.PathError:
		paths = append(paths, e.Path)
	case *os.LinkError:
		paths = append(paths, e.Old, e.New)
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			paths = append(paths, pathsIn(inner)...)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			paths = append(paths, pathsIn(inner)...)
		}
	}
	return paths
}

// usageError is a mistake on the command line: exit status 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// silentError carries an exit status whose reason was already said.
type silentError struct{ error }

func (e silentError) Unwrap() error { return e.error }

// exitStatus returns the status that the documentation promises for err.
func exitStatus(err error) int {
	var usage usageError
	if errors.As(err, &usage) || isCobraUsage(err) {
		return 2
	}
	return call.ExitStatus(err)
}

// isCobraUsage reports whether err is one of cobra's own, which have no type.
func isCobraUsage(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "unknown command ")
}

const welcome = `yodel: see one connection from both ends.

  yodel demo                          all of it in a few seconds
  yodel serve                         servers to talk to: upper and echo
  yodel call localhost 15213          a client to talk with: type a line, see it come back
  yodel load localhost:10007          verified traffic, measured honestly
  yodel name localhost                hosts as sets of addresses, ports as services
  yodel --help                        all commands
`

// newRoot returns the whole command tree.
func newRoot(io std) *cobra.Command {
	root := &cobra.Command{
		Use:           "yodel",
		Short:         "See one connection from both ends",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprint(io.out, welcome)
			return nil
		},
	}
	root.SetIn(io.in)
	root.SetOut(io.out)
	root.SetErr(io.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().Bool("help-all", false, "show all flags")
	root.AddCommand(
		newServe(io), newCall(io), newLoad(io), newName(io), newEngines(io), newWatch(io), newStory(io), newDemo(io), newPasswd(io), newMail(io),
		newVersion(io), newMan(io),
	)
	strictHelp(root)
	setHelp(root)
	for _, c := range root.Commands() {
		c.PreRunE = checkFlags
		c.Args = usageArgs(c.Args)
	}
	return root
}

// checkFlags completes the flags of cmd from the environment, and refuses those that do
// not go together.
func checkFlags(cmd *cobra.Command, _ []string) error {
	if err := fromEnvironment(cmd, os.LookupEnv); err != nil {
		return err
	}
	if err := cmd.ValidateFlagGroups(); err != nil {
		return usageError{err}
	}
	return nil
}

// usageArgs makes what check refuses a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		return nil
	}
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w; see %s --help", err, cmd.CommandPath())
		}
		return nil
	}
}
