package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// serviceFlags are the flags of serve that only some services know. Which ones, the
// table of services says.
type serviceFlags struct {
	root       string
	allowWrite bool
	users      string
	plainText  bool // --plain-text-is-fine
	sessions   int  // --max-sessions

	cgi        string
	hidden     bool
	noListing  bool
	accessLog  string
	cgiTimeout time.Duration
	cgiMax     int
	bodyMax    int64

	anonymous      bool
	requireReuse   bool
	fsync          bool
	passivePorts   string
	passiveAddress string

	spool      string
	domains    []string
	format     string
	acceptAll  bool
	maxSize    int64
	greetDelay time.Duration

	shell          string
	linemode       bool
	authorizedKeys string
	hostKey        string
	program        []string
	stderr         bool
}

func (f *serviceFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.root, "root", "", "the `folder` whose files are served, or in which programs start")
	fs.BoolVar(&f.allowWrite, "allow-write", false, "let users store, delete and rename files, and make folders")
	fs.StringVar(&f.users, "users", "", "who may log in with a password is in this `file`, which yodel passwd writes")
	fs.BoolVar(&f.plainText, "plain-text-is-fine", false, "take passwords over connections that others can read")
	fs.IntVar(&f.sessions, "max-sessions", 0, "users, or programs, at once (0: telnet and ssh 64, command 256, ftp as --max-conns)")

	fs.StringVar(&f.cgi, "cgi", "", "run the programs in this `folder`, below the path /cgi-bin/")
	fs.BoolVar(&f.hidden, "hidden", false, "send and list names that begin with a dot too")
	fs.BoolVar(&f.noListing, "no-listing", false, "404 for a folder without an index.html, instead of a list")
	fs.StringVar(&f.accessLog, "access-log", "", "write a line for each request to this `file`, in the common log format (-: standard output)")
	fs.DurationVar(&f.cgiTimeout, "cgi-timeout", 0, "how long a program may say nothing (0: 60s; negative: for ever)")
	fs.IntVar(&f.cgiMax, "cgi-max", 0, "programs at once; for more the answer is 503 (0: 64; negative: no bound)")
	fs.Int64Var(&f.bodyMax, "body-max", 0, "the longest body of a request, in bytes (0: 64 MiB; negative: no bound)")

	fs.BoolVar(&f.anonymous, "anonymous", false, "let everybody in who logs in as anonymous or ftp, with any password")
	fs.BoolVar(&f.requireReuse, "require-tls-reuse", false, "refuse data connections that do not resume the TLS session of their control connection")
	fs.BoolVar(&f.fsync, "fsync", false, "make a stored file durable before it is acknowledged")
	fs.StringVar(&f.passivePorts, "passive-ports", "", "ports for passive data connections, as `FIRST-LAST` (none: any)")
	fs.StringVar(&f.passiveAddress, "passive-address", "", "the IPv4 `address` that PASV tells to clients that are not on this host")

	fs.StringVar(&f.spool, "spool", "", "the `folder` in which messages are stored")
	fs.StringSliceVar(&f.domains, "domain", nil, "a `domain` whose mail is taken (may be given again; none: this host's name and localhost)")
	fs.StringVar(&f.format, "format", "", "how mailboxes are kept: `mbox` or maildir (none: as the spool has it; a new one: mbox)")
	fs.BoolVar(&f.acceptAll, "accept-all", false, "take mail for every domain, from this host only: for testing what sends mail")
	fs.Int64Var(&f.maxSize, "max-size", 0, "the longest message in bytes (0: 10 MiB; negative: no bound)")
	fs.DurationVar(&f.greetDelay, "greet-delay", 0, "hold the greeting back for so long, and refuse who talks meanwhile")

	fs.StringVar(&f.shell, "shell", "", "the `program`, with arguments, that who logs in gets (none: /bin/sh)")
	fs.BoolVar(&f.linemode, "linemode", false, "let clients that can edit lines themselves while the program wants lines (LINEMODE)")
	fs.StringVar(&f.authorizedKeys, "authorized-keys", "", "who has one of the keys in this `file` may log in; it is as OpenSSH's authorized_keys")
	fs.StringVar(&f.hostKey, "host-key", "", "the server's private key is in this `file`, which is made if it is not there (none: ssh_host_ed25519_key in yodel's state folder)")
	fs.StringArrayVar(&f.program, "program", nil, "a `word` of the program and its arguments (may be given again); what stands behind -- is the same")
	fs.BoolVar(&f.stderr, "stderr", false, "send the peer what the program writes to standard error, too")
}

// ofServices returns the flags that only some services know.
func ofServices(fs *pflag.FlagSet) map[*pflag.Flag]bool {
	all := make(map[*pflag.Flag]bool)
	for _, s := range services {
		for _, name := range s.flags {
			all[fs.Lookup(name)] = true
		}
	}
	return all
}

// helpOfServices makes the help that show prints of serve show the flags of services by
// service: their names, and with all what they mean.
func helpOfServices(cmd *cobra.Command, all bool, show func()) {
	if cmd.Name() != "serve" {
		show()
		return
	}
	own := ofServices(cmd.Flags())
	for f := range own {
		f.Hidden = true
	}
	show()
	for f := range own {
		f.Hidden = false
	}
	printServiceFlags(cmd.OutOrStdout(), cmd.Flags(), all)
}

func printServiceFlags(w io.Writer, fs *pflag.FlagSet, all bool) {
	if all {
		fmt.Fprint(w, "\nFlags of services:\n")
	} else {
		fmt.Fprint(w, "\nFlags of services, which --help-all explains:\n")
	}
	for _, s := range services {
		switch {
		case len(s.flags) == 0:
		case all:
			fmt.Fprintf(w, "\n%s:\n%s", s.name, s.usages(fs))
		default:
			fmt.Fprint(w, folded(fmt.Sprintf("  %-8s ", s.name), s.flags))
		}
	}
}

// usages explains a service's flags.
func (s *serviceRow) usages(fs *pflag.FlagSet) string {
	own := pflag.NewFlagSet(s.name, pflag.ContinueOnError)
	own.SortFlags = false
	for _, name := range s.flags {
		own.AddFlag(fs.Lookup(name))
	}
	return own.FlagUsages()
}

// folded returns flags behind a head, in lines of at most 110 columns.
func folded(head string, flags []string) string {
	var b strings.Builder
	line := head
	for _, name := range flags {
		if len(line)+len(name)+2 > 110 {
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", len(head))
		}
		line += " " + name
	}
	b.WriteString(line + "\n")
	return b.String()
}
