package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"yodel/call"
	"yodel/engine"
	"yodel/sock"
)

// forInetd are the flags of serve that mean something for one connection which
// somebody else has accepted.
var forInetd = []string{
	"inetd", "line-max", "idle", "header-timeout", "min-rate", "keepalive", "user-timeout", "allow", "deny", "proxy-from",
	"names", "trace", "each-call", "grace", "user",
}

// inetdPlan returns what serve --inetd is to serve: one service, without an address.
func inetdPlan(fs *pflag.FlagSet, args []string) (plan, error) {
	if len(args) != 1 {
		return plan{}, usagef("--inetd serves one connection of one service: yodel serve --inetd SERVICE")
	}
	p, err := parsePlan(args[0])
	if err != nil {
		return plan{}, err
	}
	if p.given || p.addr.Network == "tls" {
		return plan{}, usagef("%s: with --inetd the connection is standard input and output: leave the address out", args[0])
	}
	if p.row.single != nil {
		return plan{}, usagef("%s can't serve with --inetd: %w", p.row.name, p.row.single)
	}
	fs.Visit(func(fl *pflag.Flag) {
		switch {
		case err != nil || slices.Contains(forInetd, fl.Name) || slices.Contains(p.row.flags, fl.Name):
		case fl.Name == "json":
			err = usagef("--json prints on standard output, which is the connection with --inetd: use --trace FILE")
		default:
			err = usagef("--%s means nothing with --inetd, which serves one connection that somebody else has accepted", fl.Name)
		}
	})
	return p, err
}

// serveInetd is the command serve --inetd. First of all it sees to it that nothing which
// goes wrong is told to the peer.
func serveInetd(cmd *cobra.Command, io std, f *serveFlags, args []string) error {
	if err := hush(io); err != nil {
		return err
	}
	f.noteGiven(cmd.Flags())
	p, err := inetdPlan(cmd.Flags(), args)
	if err != nil {
		return err
	}
	if err := checkServiceFlags(cmd.Flags(), []plan{p}); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // a peer that has gone is a normal end
	return runInetd(cmd.Context(), io, f, p, listenForSignals())
}

// runInetd serves the one connection that standard input and output are.
func runInetd(ctx context.Context, io std, f *serveFlags, p plan, sig signals) error {
	defer sig.end()
	user, err := f.runAs()
	if err != nil {
		return err
	}
	s, err := newServer(std{io.in, io.err, io.err}, f) // what is said is said on standard error
	if err != nil {
		return err
	}
	s.user = user
	defer s.close()
	nc, err := standardConn(io, s.options(s.flags, sock.Address{}))
	if err != nil {
		return err
	}
	if err := s.checkService(p); err != nil {
		return err
	}
	if p.row.early != nil {
		if err := p.row.early(s, &served{}, s.flags); err != nil {
			return err
		}
	}
	if err := s.dropPrivileges(); err != nil {
		return err
	}
	if err := s.openInetd(p, nc); err != nil {
		return err
	}
	return s.run(ctx, sig)
}

// openInetd makes the engine that will serve nc.
func (s *server) openInetd(p plan, nc net.Conn) error {
	if p.row.isDoor() {
		d, err := s.door(p)
		if err != nil {
			return err
		}
		p.made = d.service
	}
	eng, err := engine.NewBlocking(p.service(s.flags), s.config(p), func(serve func()) { serve() })
	if err != nil {
		return usageError{err}
	}
	serve := func() error {
		if err := eng.Serve(engine.Single(nc)); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return inetdEnd(eng.Stats())
	}
	s.served = append(s.served, &served{plan: p, engine: "inetd", stopper: eng, serve: serve})
	return nil
}

// inetdEnd returns nil if the connection has ended as it should, and else an error that
// the log has told.
func inetdEnd(st engine.Stats) error {
	for reason := range st.Ended {
		if status := inetdStatus(reason, st.Unsent); status != call.StatusDone {
			return silentError{endedError{reason, status}}
		}
	}
	return nil
}

// endedError says how a connection has ended.
type endedError struct {
	reason engine.Reason
	status int
}

func (e endedError) Error() string { return "the connection ended: " + e.reason.String() }

// ExitStatus returns the exit status for it.
func (e endedError) ExitStatus() int { return e.status }

// inetdStatus returns the exit status for a connection that has ended so.
func inetdStatus(reason engine.Reason, unsent int64) int {
	switch reason {
	case engine.Denied, engine.PerAddress, engine.BouncePort, engine.Busy, engine.NoProxyHeader:
		return call.StatusRefused
	case engine.Idle, engine.SlowMessage, engine.SlowReader, engine.Vanished:
		return call.StatusTimedOut
	case engine.Reset:
		return call.StatusBroken
	case engine.Fault, engine.Panic, engine.LongMessage, engine.Cut:
		return call.StatusFailed
	}
	if unsent > 0 {
		return call.StatusBroken
	}
	return call.StatusDone
}

// standardConn returns the connection that standard input and output are: the same
// connected socket, or two streams such as pipes.
func standardConn(s std, opts *sock.Options) (net.Conn, error) {
	in, isFile := s.in.(*os.File)
	out, isFileToo := s.out.(*os.File)
	if !isFile || !isFileToo {
		return newStdio(s.in, s.out, closerOf(s.out)), nil
	}
	switch {
	case !isSocket(in):
		return newStdio(in, out, func() error { return letGo(out) }), nil
	case sameFile(in, out):
		nc, err := sock.PassedConn(in, opts)
		if err == nil {
			err = errors.Join(letGo(in), letGo(out)) // or closing nc would end nothing
		}
		return nc, err
	case isSocket(out):
		return newStdio(in, out, func() error { return letGo(out) }), nil
	}
	return nil, errors.New("standard input is a socket, and standard output is not: what the peer sends would end in a log or on a terminal; in a systemd unit, leave StandardOutput= out")
}

func closerOf(w io.Writer) func() error {
	if c, ok := w.(io.Closer); ok {
		return c.Close
	}
	return func() error { return nil }
}

// hush makes standard error silent if the peer would hear it: inetd passes the
// connection there too.
func hush(s std) error {
	errFile, ok := s.err.(*os.File)
	if !ok {
		return nil
	}
	for _, stream := range []any{s.in, s.out} {
		if f, ok := stream.(*os.File); ok && sameFile(f, errFile) && !isTerminal(f) {
			return letGo(errFile)
		}
	}
	return nil
}

func sameFile(a, b *os.File) bool {
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}

func isSocket(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeSocket != 0
}
