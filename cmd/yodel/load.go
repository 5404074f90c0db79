package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"yodel/call"
	"yodel/load"
	"yodel/sock"
)

// loadFlags are the flags of load.
type loadFlags struct {
	plan               load.Plan // what flags set directly
	count, rate        numberFlag
	arrivals, steps    string
	ramp, touch        time.Duration
	bulk               bool
	search             string
	failIf             []string
	from               string
	weights            []int
	json, quiet        bool
	html, trace, admin string
	pin, serverName    string
	anyCertificate     bool
	watch              int
	procs              int
	words              []string // of the command line, for those
	part               string   // which of them this is, as 0/4; empty: none
	given              func(flag string) bool
}

// numberFlag is a number that may end in k or M.
type numberFlag float64

// Set implements pflag.Value.
func (n *numberFlag) Set(s string) error {
	v, err := load.ParseNumber(s)
	*n = numberFlag(v)
	return err
}

// String implements pflag.Value.
func (n *numberFlag) String() string { return strconv.FormatFloat(float64(*n), 'f', -1, 64) }

// Type implements pflag.Value.
func (n *numberFlag) Type() string { return "number" }

func newLoad(s std) *cobra.Command {
	f := &loadFlags{}
	cmd := &cobra.Command{
		Use:   "load ADDRESS...",
		Short: "Push verified traffic, and measure honestly",
		Long: `Push traffic at a server that echoes it, compare every byte that comes back, and measure.
Without --rate it is a closed loop: each connection sends a message when the last one has
come back. With --rate messages are due by the clock whatever the server does, and latency
counts from when a message was due. The report says whose figures it has: the server's,
the network's, or this program's own.

Addresses: HOST:PORT, PORT (on this host), tls://…, udp://…, unix:PATH, unix:@NAME, and
http://HOST/PATH, which gets a page and compares it with the first. Several share the traffic.`,
		Example: `  yodel load localhost:10007
  yodel load localhost:10007 --conns 1000 --rate 50k --arrivals poisson --duration 30s
  yodel load localhost:15213 --upper --count 1M --json
  yodel load localhost:10007 --rate 10k --fail-if 'p99>5ms' --fail-if 'errors>0'
  yodel load localhost:10007 --search 'p99<5ms'
  yodel load compare before.json after.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.given, f.words = cmd.Flags().Changed, partWords(cmd.Flags(), args)
			targets, err := parseTargets(args)
			if err != nil {
				return usageError{err}
			}
			return f.run(cmd.Context(), s, targets)
		},
	}
	f.bind(cmd.Flags())
	advanced(cmd, "ramp", "steps", "touch", "bulk", "no-verify", "reconnect", "timeout", "threads", "procs", "awake", "driver", "seed",
		"from", "weights", "admin", "trace", "pin", "insecure", "server-name", "quiet", "search", "new-conns", "arrivals", "watch")
	cmd.MarkFlagsMutuallyExclusive("pin", "insecure")
	cmd.MarkFlagsMutuallyExclusive("rate", "steps", "touch")
	cmd.MarkFlagsMutuallyExclusive("search", "steps")
	cmd.MarkFlagsMutuallyExclusive("search", "watch")
	cmd.MarkFlagsMutuallyExclusive("json", "watch")
	cmd.MarkFlagsMutuallyExclusive("search", "touch")
	for _, alone := range []string{"search", "watch", "trace"} {
		cmd.MarkFlagsMutuallyExclusive("procs", alone)
	}
	cmd.MarkFlagsMutuallyExclusive("search", "count")
	cmd.AddCommand(newCompare(s))
	return cmd
}

func (f *loadFlags) bind(fs *pflag.FlagSet) {
	p := &f.plan
	fs.IntVarP(&p.Conns, "conns", "c", 1, "hold so many connections")
	fs.IntVar(&p.Pipeline, "pipeline", 1, "have so many messages under way on each connection at most")
	fs.IntVarP(&p.Size, "size", "s", 64, "`bytes` of a message")
	fs.VarP(&f.count, "count", "n", "send so many messages, and end: 500, 20k, 1M")
	fs.DurationVarP(&p.Duration, "duration", "d", 0, "send for so long, and end (10s, if there is no --count)")
	fs.VarP(&f.rate, "rate", "r", "open loop: so many messages a second are due: 500, 50k")
	fs.StringVar(&f.arrivals, "arrivals", "constant", "with --rate: `constant` distances, or poisson: as if from many people")
	fs.BoolVar(&p.Upper, "upper", false, "send lines, which must come back in capitals")
	fs.BoolVar(&p.NewConns, "new-conns", false, "make a connection for each message: connect, echo, close")
	fs.StringArrayVar(&f.failIf, "fail-if", nil, "exit with 6 if this is `so`: 'p99>5ms', 'rate<10k', 'errors>0'; may be repeated")
	fs.StringVar(&f.search, "search", "", "find the highest rate that keeps a `bound`: 'p99<5ms'; --duration (3s, or 10 times the bound) is for each try")
	fs.BoolVar(&f.json, "json", false, "print JSON lines: progress every second, and the report")
	fs.StringVar(&f.html, "html", "", "write the report as a page with charts to this `file`")
	fs.DurationVar(&f.ramp, "ramp", 0, "take so long to come to the full rate, or to have all connections at work")
	fs.StringVar(&f.steps, "steps", "", "open loop: one rate after the other: `1k:10s,5k:10s`")
	fs.DurationVar(&f.touch, "touch", 0, "hold the connections idle, and send a message on each every so often")
	fs.BoolVar(&f.bulk, "bulk", false, "both ways at full speed: --size 64 KiB --pipeline 16, unless they are given")
	fs.BoolVar(&p.NoVerify, "no-verify", false, "do not compare what comes back; the report says so")
	fs.IntVar(&p.Reconnect, "reconnect", 0, "make a broken connection anew so many `times`; -1: always")
	fs.DurationVar(&p.Timeout, "timeout", 0, "give up on connecting, and on an answer, after so long (10s; a datagram: 1s)")
	fs.IntVar(&f.procs, "procs", 1, "have so many processes share the plan: for more connections than one may have descriptors")
	fs.StringVar(&f.part, "part", "", "")
	fs.Lookup("part").Hidden = true
	fs.IntVar(&p.Threads, "threads", 0, "event loops (one for each processor, with --rate one fewer; at most one for every 32 connections)")
	fs.BoolVar(&p.Awake, "awake", false, "never sleep: an answer is seen as soon as it is there; each event loop takes a whole core")
	fs.StringVar(&p.Driver, "driver", "", "move the bytes by `uring` or epoll (uring where it is possible; Linux)")
	fs.Uint64Var(&p.Seed, "seed", 0, "another number makes other bytes, and other random arrivals")
	fs.StringVar(&f.from, "from", "", "spread the source addresses over this `network`, as 127.0.0.0/8")
	fs.IntSliceVar(&f.weights, "weights", nil, "the targets' shares of the traffic: 3,1")
	fs.StringVar(&f.admin, "admin", "", "serve /metrics for Prometheus at this `address` of the host")
	fs.StringVar(&f.trace, "trace", "", "write the events of all connections to this `file`")
	fs.StringVar(&f.pin, "pin", "", "tls: accept exactly the certificate with this `fingerprint`")
	fs.BoolVar(&f.anyCertificate, "insecure", false, "tls: accept any certificate")
	fs.StringVar(&f.serverName, "server-name", "", "tls: the `name` to ask for and to find in the certificate")
	fs.IntVar(&f.watch, "watch", 0, "show the packets of so many connections, the first ones; that costs what it costs: not for figures")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
}

// parseTargets reads addresses, each one word; or HOST PORT.
func parseTargets(args []string) ([]load.Target, error) {
	if len(args) == 2 {
		if _, err := sock.ParseAddress(args[0]); err != nil {
			at, err := sock.ParseAddress(args...)
			return []load.Target{{Address: at}}, err
		}
	}
	var targets []load.Target
	for _, arg := range args {
		at, err := sock.ParseAddress(arg)
		if err != nil {
			return nil, err
		}
		targets = append(targets, load.Target{Address: at})
	}
	return targets, nil
}

// run is one run, or a search of several.
func (f *loadFlags) run(ctx context.Context, s std, targets []load.Target) error {
	f.plan.Targets = targets
	bounds, err := f.complete()
	if err != nil {
		return usageError{err}
	}
	if slices.ContainsFunc(targets, load.Target.IsPage) {
		log.SetOutput(io.Discard) // net/http's client tells there of each server that goes on after its answer
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if f.part != "" {
		return f.runPart(ctx, s, cancel)
	}
	defer onInterrupt(func() { cancel(call.ErrInterrupted) })()
	l := &loading{loadFlags: f, std: s, bounds: bounds}
	closeAll, err := l.open(ctx)
	if err != nil {
		return err
	}
	if f.search != "" {
		err = l.search(ctx)
	} else {
		err = l.once(ctx)
	}
	return errors.Join(err, closeAll())
}

// complete makes the plan what the flags say.
func (f *loadFlags) complete() ([]load.Bound, error) {
	p := &f.plan
	p.Count = int64(f.count)
	if float64(p.Count) != float64(f.count) || f.given("count") && p.Count < 1 {
		return nil, fmt.Errorf("--count %v: it must be a whole number above 0", float64(f.count))
	}
	if f.bulk {
		f.setUnlessGiven("size", func() { p.Size = 64 << 10 })
		f.setUnlessGiven("pipeline", func() { p.Pipeline = 16 })
	}
	for _, err := range []error{f.positive(), f.sense(), f.pace(), f.source(), f.shares(), f.certificates()} {
		if err != nil {
			return nil, err
		}
	}
	if p.Count == 0 && p.Duration == 0 && f.search == "" {
		p.Duration = 10 * time.Second
	}
	var bounds []load.Bound
	for _, text := range f.failIf {
		b, err := load.ParseBound(text)
		if err != nil {
			return nil, fmt.Errorf("--fail-if: %w", err)
		}
		bounds = append(bounds, b)
	}
	return bounds, nil
}

func (f *loadFlags) setUnlessGiven(flag string, set func()) {
	if !f.given(flag) {
		set()
	}
}

// positive refuses what package load would take for its default.
func (f *loadFlags) positive() error {
	p := &f.plan
	if f.watch < 0 {
		return fmt.Errorf("--watch %d: it must be 0 or more", f.watch)
	}
	for name, n := range map[string]int{"procs": f.procs, "conns": p.Conns, "pipeline": p.Pipeline, "size": p.Size} {
		if n < 1 {
			return fmt.Errorf("--%s %d: it must be 1 or more", name, n)
		}
	}
	for name, d := range map[string]time.Duration{"duration": p.Duration, "timeout": p.Timeout, "ramp": f.ramp, "touch": f.touch} {
		if f.given(name) && d <= 0 {
			return fmt.Errorf("--%s %v: it must be above 0", name, d)
		}
	}
	return nil
}

// sense refuses what flags say that have nothing to do with the targets or with each other.
func (f *loadFlags) sense() error {
	switch {
	case f.bulk && (slices.ContainsFunc(f.plan.Targets, load.Target.IsPage) || f.plan.NewConns):
		return errors.New("--bulk is for connections that are held and echo: not with http, nor with --new-conns")
	case f.given("size") && f.plan.OnlyPages():
		return errors.New("--size: a page is as long as its server makes it")
	case f.search != "" && f.ramp > 0:
		return errors.New("--ramp: each try of --search is at one rate")
	}
	return nil
}

// pace makes the schedule of an open loop.
func (f *loadFlags) pace() error {
	arrivals, err := f.arrival()
	if err != nil {
		return err
	}
	p := &f.plan
	switch {
	case f.given("rate") && f.rate <= 0:
		return fmt.Errorf("--rate %v: it must be above 0", float64(f.rate))
	case f.touch > 0:
		p.Pace = arrivals(float64(p.Conns) / f.touch.Seconds())
	case f.steps != "":
		steps, err := parseSteps(f.steps)
		if err != nil {
			return fmt.Errorf("--steps: %w", err)
		}
		s := load.Steps{Steps: steps, Arrivals: arrivals}
		p.Pace = s
		f.setUnlessGiven("duration", func() { p.Duration = s.Length() + f.ramp/2 }) // by which a ramp puts off what follows
	case f.rate > 0:
		p.Pace = arrivals(float64(f.rate))
	case f.given("arrivals") && f.search == "":
		return errors.New("--arrivals says how the messages of --rate come: give that, too")
	}
	if f.ramp > 0 && p.Pace != nil {
		p.Pace = load.Ramp{For: f.ramp, Then: p.Pace}
	} else {
		p.Ramp = f.ramp
	}
	return nil
}

func (f *loadFlags) arrival() (func(float64) load.Pacer, error) {
	switch f.arrivals {
	case "constant":
		return func(r float64) load.Pacer { return load.Constant(r) }, nil
	case "poisson":
		return func(r float64) load.Pacer { return load.Poisson(r) }, nil
	}
	return nil, fmt.Errorf("--arrivals %q: there are constant and poisson", f.arrivals)
}

// parseSteps reads 1k:10s,5k:10s.
func parseSteps(s string) ([]load.Step, error) {
	var steps []load.Step
	for _, part := range strings.Split(s, ",") {
		rate, length, ok := strings.Cut(part, ":")
		if !ok {
			return nil, fmt.Errorf("%q is not RATE:TIME, as 1k:10s", part)
		}
		r, err := load.ParseNumber(rate)
		if err != nil {
			return nil, err
		}
		d, err := time.ParseDuration(length)
		if err != nil || d <= 0 {
			return nil, fmt.Errorf("%q is not a time above 0, as 10s", length)
		}
		steps = append(steps, load.Step{Rate: r, For: d})
	}
	return steps, nil
}

// source reads --from.
func (f *loadFlags) source() error {
	if f.from == "" {
		return nil
	}
	network, err := netip.ParsePrefix(f.from)
	if a, addrErr := netip.ParseAddr(f.from); addrErr == nil {
		network, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil {
		return fmt.Errorf("--from %q: write an address of this host, or a network of such, as 127.0.0.0/8", f.from)
	}
	f.plan.From = network
	return nil
}

// shares reads --weights.
func (f *loadFlags) shares() error {
	targets := f.plan.Targets
	if len(f.weights) > 0 && len(f.weights) != len(targets) {
		return fmt.Errorf("--weights has %d numbers for %d targets", len(f.weights), len(targets))
	}
	for i, w := range f.weights {
		if w < 1 {
			return fmt.Errorf("--weights: %d: it must be 1 or more", w)
		}
		targets[i].Weight = w
	}
	f.setUnlessGiven("conns", func() { f.plan.Conns = max(f.plan.Conns, len(targets)) })
	return nil
}

// certificates says which certificates are accepted.
func (f *loadFlags) certificates() error {
	secure := false
	for _, t := range f.plan.Targets {
		secure = secure || t.Address.Network == "tls" || t.Address.Network == "https"
	}
	for _, name := range []string{"pin", "insecure", "server-name"} {
		if f.given(name) && !secure {
			return fmt.Errorf("--%s is for tls:// and https://, and no target is that", name)
		}
	}
	if !secure {
		return nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.pin != "" {
		pinned, err := sock.PinConfig(f.pin)
		if err != nil {
			return fmt.Errorf("--pin: %w", err)
		}
		cfg = pinned
	}
	cfg.ServerName = f.serverName
	cfg.InsecureSkipVerify = cfg.InsecureSkipVerify || f.anyCertificate
	f.plan.TLS = cfg
	return nil
}

// loading is one command under way.
type loading struct {
	*loadFlags
	std
	bounds  []load.Bound
	metrics *loadMetrics // nil: nobody asks
	shown   progressView
}

// open opens what the flags ask for besides the traffic.
func (l *loading) open(ctx context.Context) (closeAll func() error, err error) {
	var file *traceFile
	if l.trace != "" {
		if file, err = createTrace(l.trace); err != nil {
			return nil, err
		}
		l.plan.Sink = file.events(false)
	}
	closeAll = file.close
	if l.admin != "" {
		l.metrics = &loadMetrics{}
		a, err := newAdmin(ctx, l.admin, l.metrics)
		if err != nil {
			return nil, errors.Join(err, file.close())
		}
		go a.serve()
		a.ready.Store(true)
		closeAll = func() error {
			a.close()
			return file.close()
		}
	}
	l.shown = l.view()
	l.plan.Progress = func(p *load.Progress) {
		l.metrics.keep(p)
		l.shown.progress(p)
	}
	return closeAll, nil
}

// once makes one run and says what came of it.
func (l *loading) once(ctx context.Context) error {
	endWatch, err := l.startWatch()
	if err != nil {
		return err
	}
	r, err := l.push(ctx)
	if watchErr := endWatch(); err != nil || watchErr != nil {
		return errors.Join(asUsage(err), watchErr)
	}
	l.shown.done()
	l.metrics.finish(r)
	if err := l.show(r); err != nil {
		return err
	}
	return errors.Join(interruption(ctx), l.judge(r))
}

// push runs the plan, here or in several processes.
func (l *loading) push(ctx context.Context) (*load.Report, error) {
	if l.procs > 1 {
		return l.inParts(ctx)
	}
	return load.Run(ctx, l.plan)
}

// asUsage makes what is wrong with a plan a usage error. What is wrong with a name is
// none, and nil is nil.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	if text, ok := strings.CutPrefix(err.Error(), "load: "); ok {
		return usagef("%s", text)
	}
	return err
}

func interruption(ctx context.Context) error {
	if context.Cause(ctx) == call.ErrInterrupted {
		return call.ErrInterrupted
	}
	return nil
}

// show prints the report, and writes the page.
func (l *loading) show(r *load.Report) error {
	if l.json {
		if err := printJSON(l.out, r.Document()); err != nil {
			return err
		}
	} else {
		printReport(l.out, r)
	}
	if l.html == "" {
		return nil
	}
	file, err := os.Create(l.html)
	if err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return errors.Join(load.WriteHTML(file, r), file.Close())
}

// wrongError is a report that is not what it should be.
type wrongError struct {
	text   string
	status int
}

func (e *wrongError) Error() string { return e.text }

// ExitStatus returns the status for it.
func (e *wrongError) ExitStatus() int { return e.status }

// judge returns what is wrong with a report: a condition of --fail-if, wrong or lost
// answers, and else what connections have met.
func (l *loading) judge(r *load.Report) error {
	first := r.FirstError()
	missed := l.keeps(r)
	switch {
	case missed != nil:
		return missed
	case r.Corrupt == 0 && first != nil && firstClass(r).Wrong():
		return &wrongError{fmt.Sprintf("errors: %d, the first: %v", r.Failures(), first), call.StatusWrong}
	case r.Corrupt > 0:
		return &wrongError{fmt.Sprintf("%d of %d answers were wrong: %v", r.Corrupt, r.Received, first), call.StatusWrong}
	case r.Lost > 0 && r.Verified+r.Unverified > 0:
		return &wrongError{fmt.Sprintf("%d of %d messages were lost: %v", r.Lost, r.Sent, lossOf(r)), call.StatusWrong}
	case first != nil:
		return &wrongError{fmt.Sprintf("errors: %d, the first: %v", r.Failures(), first), statusOf(firstClass(r), first)}
	}
	return nil
}

// keeps returns which conditions of --fail-if are true of r, or can't be told; nil: none.
func (l *loading) keeps(r *load.Report) error {
	var missed []string
	for _, b := range l.bounds {
		holds, known, why := b.Holds(r)
		if holds || !known {
			missed = append(missed, fmt.Sprintf("--fail-if '%v': %s", b, why))
		}
	}
	if len(missed) > 0 {
		return &wrongError{strings.Join(missed, "; "), call.StatusWrong}
	}
	return nil
}

// statusOf returns the exit status for an error that has ended a connection.
func statusOf(c load.Class, err error) int {
	if c == load.EarlyClose {
		return call.StatusBroken // of which the error is only an end
	}
	return call.ExitStatus(err)
}

func firstClass(r *load.Report) load.Class {
	for _, c := range r.Classes() {
		return c
	}
	return ""
}

// lossOf returns why messages were lost: a connection that was refused has mostly had none yet.
func lossOf(r *load.Report) error {
	for _, c := range []load.Class{load.ResetClass, load.EarlyClose, load.Timeout} {
		if err := r.Examples[c]; err != nil {
			return err
		}
	}
	return cmp.Or(r.FirstError(), errors.New("no answer came in time"))
}
