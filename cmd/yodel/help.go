package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// advanced moves flags to --help-all: the first help shows twelve at most.
func advanced(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		f := cmd.Flags().Lookup(name)
		if f.Annotations == nil {
			f.Annotations = make(map[string][]string)
		}
		f.Annotations["advanced"] = []string{"true"}
	}
}

func isAdvanced(f *pflag.Flag) bool { return f.Annotations["advanced"] != nil }

// setHelp makes help show the advanced flags with --help-all only, and --help-all
// mean help.
func setHelp(root *cobra.Command) {
	show := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		all, _ := cmd.Flags().GetBool("help-all")
		cmd.InitDefaultHelpFlag()
		hideAdvanced(cmd, !all)
		hideCommands(cmd, !all)
		helpOfServices(cmd, all, func() { show(cmd, args) })
		hideAdvanced(cmd, false)
		hideCommands(cmd, true)
	})
	for _, c := range withParts(root) {
		if c.RunE != nil {
			helpAll(c)
		}
	}
}

// isAdvancedCommand reports whether a command is left out of the first help.
func isAdvancedCommand(c *cobra.Command) bool { return c.Annotations["advanced"] != "" }

// hideCommands hides the commands that are left to --help-all.
func hideCommands(root *cobra.Command, hide bool) {
	for _, c := range root.Commands() {
		if isAdvancedCommand(c) {
			c.Hidden = hide
		}
	}
}

// hideAdvanced hides the advanced flags of cmd from its help.
func hideAdvanced(cmd *cobra.Command, hide bool) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if isAdvanced(f) {
			f.Hidden = hide
		}
	})
}

// helpAll makes --help-all on c show the help instead of running it.
func helpAll(c *cobra.Command) {
	runE, args := c.RunE, c.Args
	wanted := func(cmd *cobra.Command) bool {
		all, _ := cmd.Flags().GetBool("help-all")
		return all
	}
	c.Args = func(cmd *cobra.Command, given []string) error {
		if wanted(cmd) || args == nil {
			return nil
		}
		return args(cmd, given)
	}
	c.RunE = func(cmd *cobra.Command, given []string) error {
		if wanted(cmd) {
			return cmd.Help()
		}
		return runE(cmd, given)
	}
}

// strictHelp makes mistakes of help and completion usage errors, which cobra answers
// with a help text and status 0.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.RunE = func(_ *cobra.Command, args []string) error {
				about, rest, err := root.Find(args)
				if err != nil || len(rest) > 0 {
					return usagef("unknown command %q; see yodel --help", strings.Join(args, " "))
				}
				return about.Help()
			}
		case "completion":
			c.RunE = func(*cobra.Command, []string) error {
				return usagef("say for which shell: bash, fish, powershell or zsh; see yodel completion --help")
			}
		}
	}
}
