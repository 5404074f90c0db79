package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newMan(io std) *cobra.Command {
	return &cobra.Command{
		Use:    "man FOLDER",
		Short:  "Write the man pages of all commands into a folder",
		Hidden: true, // for packages and make install
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeManPages(cmd.Root(), args[0])
		},
	}
}

// writeManPages writes one page for each visible command.
func writeManPages(root *cobra.Command, dir string) error {
	for _, c := range withParts(root) {
		if c.Hidden && !isAdvancedCommand(c) || c.Name() == "help" || strings.HasPrefix(c.CommandPath(), "yodel completion") {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, manName(c)+".1"), []byte(manPage(c)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// withParts returns c, its commands and theirs.
func withParts(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, part := range c.Commands() {
		all = append(all, withParts(part)...)
	}
	return all
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage returns the page of one command in man(7) macros.
func manPage(c *cobra.Command) string {
	var b strings.Builder
	name := manName(c)
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"yodel %s\"\n", strings.ToUpper(name), roff(versionText()))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", name, roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
	if c.Long != "" {
		fmt.Fprintf(&b, ".SH DESCRIPTION\n.nf\n%s\n.fi\n", roff(c.Long))
	}
	manFlags(&b, c)
	if c.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(c.Example))
	}
	if c.HasParent() {
		fmt.Fprintf(&b, ".SH EXIT STATUS\n%s\n", roff(exitStatuses))
	}
	if c.HasAvailableSubCommands() {
		manCommands(&b, c)
	}
	return b.String()
}

const exitStatuses = "0 done, 1 failed, 2 usage, 3 refused, 4 timed out, 5 name not found, 6 the answer was wrong, " +
	"7 reset or closed with data unsent or an expectation unmet, 130 interrupted."

func manFlags(b *strings.Builder, c *cobra.Command) {
	b.WriteString(".SH OPTIONS\n")
	c.InitDefaultHelpFlag()
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		kind, usage := pflag.UnquoteUsage(f)
		short := ""
		if f.Shorthand != "" {
			short = "-" + f.Shorthand + ", "
		}
		fmt.Fprintf(b, ".TP\n.B %s\n%s", roff(strings.TrimSpace(short+"--"+f.Name+" "+kind)), roff(usage))
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" && f.DefValue != "0s" {
			fmt.Fprintf(b, ". Default: %s.", roff(f.DefValue))
		}
		b.WriteString("\n")
	})
}

func manCommands(b *strings.Builder, root *cobra.Command) {
	b.WriteString(".SH COMMANDS\n")
	for _, c := range root.Commands() {
		if !c.Hidden {
			fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(c.CommandPath()), roff(c.Short))
		}
	}
}

// roff escapes text for man(7): backslashes, dashes, what is not ASCII, and dots and
// quotes that begin a line.
func roff(s string) string {
	var b strings.Builder
	atStart := true
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case atStart && (r == '.' || r == '\''):
			b.WriteString(`\&` + string(r))
		case r > '~':
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
		atStart = r == '\n'
	}
	return b.String()
}
