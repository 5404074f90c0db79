package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"yodel/call"
	"yodel/internal/escape"
	"yodel/sock"
	"yodel/trace"
)

// callFlags are the flags of call.
type callFlags struct {
	prompt, verify, upper  bool
	expect                 string
	connectOnly            bool
	hex, time, json, quiet bool
	crlf, crlfGiven        bool
	timeout, wait          time.Duration
	pin, serverName        string
	insecure               bool
	source                 string
	proxy, proxySource     string
	v4, v6                 bool
	trace, history         string
	eachCall               bool
	noHistory, noRecord    bool
	watch                  bool
}

func newCall(s std) *cobra.Command {
	f := &callFlags{}
	cmd := &cobra.Command{
		Use:   "call ADDRESS | call HOST PORT",
		Short: "Talk with a server",
		Long: `Talk with a server. At a terminal you type lines, with editing and a history, and ^] leaves.
Otherwise it is a pipe: what comes in is sent as it is, what comes back goes out, our
direction ends with the input, and the end of the peer's is waited for.

Addresses: HOST PORT, HOST:PORT, PORT (on this host), udp://…, tls://…, unix:PATH, unix:@NAME.
PORT is a number or a name from /etc/services.`,
		Example: `  yodel call localhost 15213
  printf 'hello\n' | yodel call --verify --upper localhost 15213
  yodel call --hex --time tls://localhost:7008 --pin sha256:…
  yodel call --expect talk.txt mail.example smtp`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.crlfGiven = cmd.Flags().Changed("crlf")
			to, err := sock.ParseAddress(args...)
			if err != nil {
				return usageError{err}
			}
			return f.run(cmd.Context(), s, to)
		},
	}
	f.bind(cmd.Flags())
	advanced(cmd, "quiet", "wait", "insecure", "server-name", "source", "proxy", "proxy-source", "ipv4", "ipv6", "history", "no-history", "no-record", "each-call", "timeout")
	cmd.MarkFlagsMutuallyExclusive("prompt", "verify", "expect", "connect-only")
	cmd.MarkFlagsMutuallyExclusive("ipv4", "ipv6")
	cmd.MarkFlagsMutuallyExclusive("watch", "json")
	cmd.MarkFlagsMutuallyExclusive("pin", "insecure")
	return cmd
}

func (f *callFlags) bind(fs *pflag.FlagSet) {
	fs.BoolVar(&f.prompt, "prompt", false, "prompt with type: and echo:, as the lecture's client does")
	fs.BoolVar(&f.verify, "verify", false, "check that what is sent comes back; the first wrong byte ends it")
	fs.BoolVar(&f.upper, "upper", false, "with --verify: it must come back in capitals")
	fs.StringVar(&f.expect, "expect", "", "play a `script` of what to send and what to expect")
	fs.BoolVar(&f.connectOnly, "connect-only", false, "connect, and close")
	fs.BoolVar(&f.hex, "hex", false, "show both directions as a hexadecimal dump")
	fs.BoolVar(&f.time, "time", false, "show both directions with the time of each piece")
	fs.BoolVar(&f.json, "json", false, "print JSON lines of all that happens")
	fs.BoolVar(&f.crlf, "crlf", false, "send newlines as CR LF (by itself for ports 21, 23, 25 and 80)")
	fs.DurationVar(&f.timeout, "timeout", 0, "give up when connecting takes, or nothing moves for, so long (0: never; 10 s when checking)")
	fs.StringVar(&f.pin, "pin", "", "tls: accept exactly the certificate with this `fingerprint`")
	fs.BoolVar(&f.watch, "watch", false, "show the packets of the connection beside the dialogue, on standard error")
	fs.StringVar(&f.trace, "trace", "", "write all events of the connection to this `file`")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "do not say who is connected and who closes")
	fs.DurationVar(&f.wait, "wait", time.Second, "udp: how long to wait for another datagram at the end")
	fs.BoolVar(&f.insecure, "insecure", false, "tls: accept any certificate")
	fs.StringVar(&f.serverName, "server-name", "", "tls: the `name` to ask for and to find in the certificate")
	fs.StringVar(&f.source, "source", "", "the `address` to call from")
	fs.StringVar(&f.proxy, "proxy", "", "send a PROXY header before all else, as a proxy does: `version` v1, or v2 by itself")
	fs.Lookup("proxy").NoOptDefVal = "v2"
	fs.StringVar(&f.proxySource, "proxy-source", "", "with --proxy: the `address` and port of the client it tells of (default: our own)")
	fs.BoolVarP(&f.v4, "ipv4", "4", false, "use IPv4 only")
	fs.BoolVarP(&f.v6, "ipv6", "6", false, "use IPv6 only")
	fs.StringVar(&f.history, "history", "", "keep typed lines in this `file` (default: in the state directory)")
	fs.BoolVar(&f.noRecord, "no-record", false, "keep nothing for yodel story last")
	fs.BoolVar(&f.noHistory, "no-history", false, "do not keep typed lines")
	fs.BoolVar(&f.eachCall, "each-call", false, "with --trace: write each single read and write")
}

// run is one call.
func (f *callFlags) run(ctx context.Context, s std, to sock.Address) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signal.Ignore(syscall.SIGPIPE) // a closed output is an error to tell, not to die of
	defer onInterrupt(func() { cancel(call.ErrInterrupted) })()
	tty := terminalOf(s)
	c := &calling{callFlags: f, std: s, to: to, tty: tty, status: &rawWriter{w: s.err}, show: &rawWriter{w: s.out}}
	if err := c.checkFlags(); err != nil {
		return err
	}
	opts, closeTrace, err := c.options()
	if err != nil {
		return err
	}
	endWatch, err := c.startWatch()
	if err != nil {
		return errors.Join(err, closeTrace())
	}
	conn, err := c.dial(ctx, opts)
	if err == nil {
		err = c.talk(ctx, cancel, call.Record(conn, to, c.view()))
	}
	if endErr := errors.Join(endWatch(), closeTrace()); err == nil {
		err = endErr
	}
	return err
}

// onInterrupt calls f at the first SIGINT or SIGTERM, until the returned function is
// called. A second one ends the process: an output may hold up the end.
func onInterrupt(f func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			signal.Stop(signals)
			f()
		case <-done:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// calling is one call under way.
type calling struct {
	*callFlags
	std
	to     sock.Address
	tty    *terminal  // nil: standard input is no terminal
	status *rawWriter // who is connected, who closes
	show   *rawWriter // what --json, --hex and --time show
	shown  call.View  // nil: none, or not made yet
	script *call.Script
	typed  *call.History // what was typed before; nil: nobody types
}

func (c *calling) checkFlags() error {
	if c.upper && !c.verify {
		return usagef("--upper says how --verify compares: give both")
	}
	if c.tty != nil && !c.verify && !c.connectOnly && c.expect == "" {
		var err error
		if c.typed, err = c.openHistory(); err != nil {
			return usagef("--%w", err)
		}
	}
	if c.expect == "" {
		return nil
	}
	file, err := os.Open(c.expect)
	if err != nil {
		return usagef("--expect: %w", err)
	}
	defer file.Close()
	c.script, err = call.ParseScript(c.expect, file)
	return err
}

// view is what shows the events of this call: none, one, or several.
func (c *calling) view() call.View {
	if c.shown != nil {
		return c.shown
	}
	var status, text call.View
	if !c.quiet && !c.json {
		status = &call.StatusView{W: c.status, EscapeKey: c.tty != nil}
	}
	switch {
	case c.json:
		text = &call.JSONView{W: c.show}
	case c.hex || c.time:
		text = &call.TextView{W: c.show, Hex: c.hex, Time: c.time}
	}
	c.shown = call.Views(status, text)
	return c.shown
}

// output is where what the peer says goes: nowhere if a view on the same output
// shows it.
func (c *calling) output() io.Writer {
	switch {
	case c.json || c.hex || c.time:
		return io.Discard
	case isTerminal(c.out):
		return call.NewScreen(c.out)
	}
	return c.out
}

func (c *calling) options() (*sock.Options, func() error, error) {
	opts := &sock.Options{Sink: call.Attempts(c.view(), c.to), UserTimeout: -1} // a person may press Ctrl-S
	done := func() error { return nil }
	switch {
	case c.v4:
		opts.Family = sock.V4
	case c.v6:
		opts.Family = sock.V6
	}
	if c.source != "" {
		addr, err := netip.ParseAddr(c.source)
		if err != nil {
			return nil, nil, usagef("--source %q: write an IP address of this host", c.source)
		}
		opts.Source = addr
	}
	if err := c.setProxy(opts); err != nil {
		return nil, nil, err
	}
	var err error
	if opts.TLS, err = c.tlsConfig(); err != nil {
		return nil, nil, usageError{err}
	}
	if c.trace != "" {
		f, err := createTrace(c.trace)
		if err != nil {
			return nil, nil, err
		}
		opts.Sink, done = trace.Tee(f.events(c.eachCall), opts.Sink), f.close
	}
	return opts, c.record(opts, done), nil
}

// record keeps the events for yodel story last, too, and returns what is to be done at
// the end.
func (c *calling) record(opts *sock.Options, done func() error) func() error {
	r := openRecorder(c.noRecord)
	opts.Sink = trace.Tee(opts.Sink, r.sink())
	return func() error { return errors.Join(done(), r.close()) }
}

func (c *calling) tlsConfig() (*tls.Config, error) {
	if c.to.Network != "tls" && c.to.Network != "https" {
		for name, given := range map[string]bool{"--pin": c.pin != "", "--insecure": c.insecure, "--server-name": c.serverName != ""} {
			if given {
				return nil, fmt.Errorf("%s is for tls://, and %v is not", name, c.to)
			}
		}
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.pin != "" {
		pinned, err := sock.PinConfig(c.pin)
		if err != nil {
			return nil, fmt.Errorf("--pin: %w", err)
		}
		cfg = pinned
	}
	cfg.ServerName = c.serverName
	cfg.InsecureSkipVerify = cfg.InsecureSkipVerify || c.insecure
	return cfg, nil
}

func (c *calling) dial(ctx context.Context, opts *sock.Options) (*sock.Conn, error) {
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	conn, err := sock.Dial(ctx, c.to, opts)
	err = inFlags(err)
	if err != nil && c.view() != nil {
		c.view().Show(&call.Event{Type: call.Failed, Time: time.Now(), Target: c.to, Err: err})
	}
	if context.Cause(ctx) == call.ErrInterrupted {
		err = call.ErrInterrupted
	}
	return conn, err
}

// inFlags says what to do about a certificate in the words of the command line, where
// package sock says it in those of its own.
func inFlags(err error) error {
	h, ok := errors.AsType[*sock.HandshakeError](err)
	if !ok {
		return err
	}
	advice := ""
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		advice = "--pin with the fingerprint that its operator gives you accepts it, and no other"
	}
	if _, otherName := errors.AsType[x509.HostnameError](err); otherName {
		advice = "call it by a name that its certificate has, or say --server-name"
	}
	if advice == "" {
		return err
	}
	text := fmt.Sprintf("TLS with %v: %v; %s", h.Address, h.Err, advice)
	return rephrased{err, escape.String(text)} // the names in a certificate may be anything
}

// rephrased is an error that reads otherwise.
type rephrased struct {
	error
	text string
}

func (e rephrased) Error() string { return e.text }

func (e rephrased) Unwrap() error { return e.error }

// talk holds the conversation, in the mode that the flags and the terminal ask for.
func (c *calling) talk(ctx context.Context, cancel context.CancelCauseFunc, conn *call.Recorder) error {
	cfg := &call.Config{Timeout: c.timeout, Wait: c.wait, Upper: c.upper, CRLF: c.crlf}
	if !c.crlfGiven && call.DefaultCRLF(c.to.Port) && !c.verify && !c.connectOnly && c.script == nil {
		cfg.CRLF = true
		if !c.quiet && c.tty == nil {
			fmt.Fprintln(c.status, "Sending each newline as CR LF, as this port wants it; --crlf=false leaves them.")
		}
	}
	switch {
	case c.connectOnly:
		return call.ConnectOnly(conn)
	case c.verify:
		return c.checkAnswers(ctx, conn, cfg)
	case c.script != nil:
		return call.Expect(ctx, conn, c.script, c.output(), cfg)
	case c.tty != nil:
		return c.atTerminal(ctx, cancel, conn, cfg)
	case c.prompt:
		return call.Prompt(ctx, conn, call.NewLines(c.in), c.output(), cfg)
	}
	return call.Pipe(ctx, conn, c.in, c.output(), cfg)
}

func (c *calling) checkAnswers(ctx context.Context, conn *call.Recorder, cfg *call.Config) error {
	result, err := call.Verify(ctx, conn, c.in, cfg)
	if c.json {
		c.view().Show(&call.Event{Type: call.Checked, Time: time.Now(), Conn: conn.ID(), Target: c.to, Verified: result, Err: err})
	} else if !c.quiet {
		fmt.Fprintln(c.err, result)
	}
	return err
}
