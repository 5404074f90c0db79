package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"yodel/rio"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	engine    string
	maxConns  int
	children  int // at once, of the process engine
	loops     int // of the engines with event loops
	maxPerIP  int
	idle      time.Duration
	header    time.Duration
	minRate   int
	keepAlive time.Duration
	unacked   time.Duration // --user-timeout
	lineMax   int
	backlog   int
	names     bool
	json      bool
	trace     string
	allow     []string
	deny      []string
	grace     time.Duration
	tlsCert   string
	tlsKey    string
	proxyFrom []string
	admin     string
	amplify   bool
	udpRate   int
	unixMode  uint32
	eachCall  bool
	noRecord  bool
	idleGiven bool
	user      string
	userGiven bool
	inetd     bool
	base      uint16 // of serve all
	lab       *lab   // what serve all has made; nil: it is another
	serviceFlags

	config      string
	checkConfig bool
	byDefault   bool // nobody has said what to serve
}

func newServe(io std) *cobra.Command {
	f := &serveFlags{}
	cmd := &cobra.Command{
		Use:   "serve [SERVICE[@ADDRESS]]...",
		Short: "Run servers to talk to",
		Long: `Run servers to talk to. Each is a service, and an address if the service's own on
loopback is not the one you want; without any, upper and echo are run, with the single word
all every service, with folders, a user and a password made for the occasion.

Services:
` + serviceList() + `
Addresses: PORT (loopback), HOST:PORT, :PORT (all interfaces), udp://…, tls://…, unix:PATH,
unix:@NAME (abstract). PORT is a number or a name; 0 takes a free one. Sockets that
systemd has passed go to the services without an address.`,
		Example: `  yodel serve
  yodel serve upper echo@:7007 echo@udp://:7007 echo@tls://:7008 echo@unix:/tmp/echo.sock
  yodel serve web --root files --cgi programs
  yodel serve all                   every service, with all it needs, and the lines to try it`,
		ValidArgsFunction: completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := f.takeProgram(cmd, args)
			if err != nil {
				return err
			}
			if f.inetd {
				return serveInetd(cmd, io, f, args)
			}
			if slices.Contains(args, labName) {
				return serveLab(cmd, io, f, args)
			}
			plans, err := f.plans(cmd.Flags(), args)
			if err == nil {
				err = checkServiceFlags(cmd.Flags(), plans)
			}
			switch {
			case err != nil:
				return err
			case f.checkConfig:
				return checkConfig(cmd.Context(), io, f, plans)
			}
			signal.Ignore(syscall.SIGPIPE) // a closed output must not end a server
			return runServe(cmd.Context(), io, f, plans, listenForSignals())
		},
	}
	f.bind(cmd.Flags())
	advanced(cmd, "max-per-ip", "header-timeout", "min-rate", "backlog", "grace", "allow", "deny",
		"amplify", "udp-rate", "unix-mode", "each-call", "proxy-from", "keepalive", "user-timeout", "check-config", "max-children", "loops", "inetd", "no-record", "base")
	return cmd
}

func (f *serveFlags) bind(fs *pflag.FlagSet) {
	f.serviceFlags.bind(fs)
	fs.StringVar(&f.engine, "engine", auto, "how connections are served: "+engines.names()+"; see yodel engines")
	fs.IntVar(&f.maxConns, "max-conns", 0, "connections at once; further ones wait (0: what the descriptor limit allows)")
	fs.IntVar(&f.children, "max-children", 0, "processes at once of the engine process; further clients wait (0: 256, or fewer where descriptors are few)")
	fs.IntVar(&f.loops, "loops", 0, "event loops of each service, of the engines that have some (0: one for each processor)")
	fs.IntVar(&f.maxPerIP, "max-per-ip", 0, "connections at once from one address, loopback exempt (0: a quarter of --max-conns)")
	fs.DurationVar(&f.idle, "idle", 0, "end a connection on which nothing moves for so long (0: the service's own; negative: never)")
	fs.DurationVar(&f.header, "header-timeout", 10*time.Second, "how long one line may take from its first byte (negative: for ever)")
	fs.IntVar(&f.minRate, "min-rate", 500, "bytes a second that a peer must take while output is pending (negative: none)")
	fs.DurationVar(&f.keepAlive, "keepalive", 0, "ask a silent peer's host after so long, and again, whether it is there: the 4th time without an answer ends it (0: 15s; negative: never)")
	fs.DurationVar(&f.unacked, "user-timeout", 0, "end a connection whose peer's host has not acknowledged, or has had no room, for so long (0: 60s, on Linux; negative: what the system does)")
	fs.StringVar(&f.config, "config", "", "take what is not given from this TOML `file`: flags by their names, and a [[serve]] for each service")
	fs.BoolVar(&f.checkConfig, "check-config", false, "say what would be served, or what is wrong, and serve nothing")
	fs.IntVar(&f.lineMax, "line-max", rio.MaxLine, "longest line in bytes; upper answers longer ones in pieces")
	fs.IntVar(&f.backlog, "backlog", 0, "connections that may wait to be accepted (0: what the system allows)")
	fs.BoolVar(&f.names, "names", false, "look up the names of clients")
	fs.BoolVar(&f.json, "json", false, "print JSON lines")
	fs.StringVar(&f.trace, "trace", "", "write all events of all connections to this `file`")
	fs.StringSliceVar(&f.allow, "allow", nil, "serve only these networks (`CIDR`, may be given again)")
	fs.StringSliceVar(&f.deny, "deny", nil, "do not serve these networks (`CIDR`, may be given again)")
	fs.DurationVar(&f.grace, "grace", 10*time.Second, "how long connections may finish after the first signal")
	fs.StringVar(&f.tlsCert, "tls-cert", "", "certificate `file` for tls:// (without one, a new one is made and its fingerprint printed)")
	fs.StringVar(&f.tlsKey, "tls-key", "", "key `file` of --tls-cert")
	fs.StringSliceVar(&f.proxyFrom, "proxy-from", nil, "expect a PROXY header, from proxies in these networks only (`CIDR`, may be given again)")
	fs.StringVar(&f.admin, "admin", "", "answer /livez, /readyz, /metrics and /debug/pprof/ at this loopback `address`")
	fs.Uint16Var(&f.base, "base", 10000, "ports of serve all: this one and the well-known one (0: free ones)")
	fs.StringVar(&f.user, "user", "", "once all is open, give up root for good and run as `USER` or USER:GROUP")
	fs.BoolVar(&f.inetd, "inetd", false, "serve the one connection that standard input and output are, as inetd passes it")
	fs.BoolVar(&f.amplify, "amplify", false, "let datagram answers be longer than their requests: others can be flooded that way")
	fs.IntVar(&f.udpRate, "udp-rate", 0, "datagrams answered a second for one source (0: 100, and 100000 on this host; negative: no bound)")
	fs.Uint32Var(&f.unixMode, "unix-mode", 0o600, "permission bits of unix: sockets")
	fs.BoolVar(&f.noRecord, "no-record", false, "keep nothing for yodel story last")
	fs.BoolVar(&f.eachCall, "each-call", false, "with --trace: write each single read and write")
}

// serviceList is the table of services for help.
func serviceList() string {
	var b strings.Builder
	for _, s := range services {
		fmt.Fprintf(&b, "  %-8s  port %-5d  %s\n", s.name, s.port, s.about)
	}
	return b.String()
}

func completeServices(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, s := range services {
		if strings.HasPrefix(s.name, start) {
			names = append(names, s.name+"\t"+s.about)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// checkServiceFlags refuses a flag that none of the services knows.
func checkServiceFlags(fs *pflag.FlagSet, plans []plan) error {
	known := make(map[string]bool)
	for _, p := range plans {
		for _, name := range p.row.flags {
			known[name] = true
		}
	}
	var unknown error
	for _, s := range services {
		for _, name := range s.flags {
			if fs.Changed(name) && !known[name] && unknown == nil {
				unknown = usagef("--%s is a flag of %s, which is not served here", name, s.name)
			}
		}
	}
	return unknown
}

// prefixes parses --allow and --deny. An address stands for itself alone.
func prefixes(flag string, list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, usagef("--%s %q: write a network as 192.0.2.0/24 or 2001:db8::/32", flag, s)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// signals are what an operator sends to a server.
type signals struct {
	stop   chan os.Signal // SIGTERM, SIGINT: once to drain, twice to cut
	reload chan os.Signal // SIGHUP: read certificates again
}

func listenForSignals() signals {
	sig := signals{make(chan os.Signal, 2), make(chan os.Signal, 1)}
	signal.Notify(sig.stop, syscall.SIGTERM, os.Interrupt)
	signal.Notify(sig.reload, syscall.SIGHUP)
	return sig
}

func (sig signals) end() {
	signal.Stop(sig.stop)
	signal.Stop(sig.reload)
}

// runServe listens on all addresses, serves, and returns after a signal to stop when
// all is drained.
func runServe(ctx context.Context, io std, f *serveFlags, plans []plan, sig signals) error {
	defer sig.end()
	user, err := f.runAs()
	if err != nil {
		return err
	}
	s, err := newServer(io, f)
	if err != nil {
		return err
	}
	s.user = user
	defer s.close()
	if plans, err = s.takePassed(plans); err != nil {
		return err
	}
	for _, p := range plans {
		if err := s.open(ctx, p); err != nil {
			return p.error(err)
		}
	}
	if err := s.openAdmin(ctx); err != nil {
		return err
	}
	if err := s.dropPrivileges(); err != nil {
		return err
	}
	if err := s.openDoors(); err != nil {
		return err
	}
	s.announce(f.byDefault)
	if f.lab != nil {
		f.lab.announce(s)
	}
	return s.run(ctx, sig)
}
