package sock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"yodel/trace"
)

func addrsOf(words ...string) []netip.Addr {
	addrs := make([]netip.Addr, len(words))
	for i, w := range words {
		addrs[i] = netip.MustParseAddr(w)
	}
	return addrs
}

func TestInterleave(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want []netip.Addr }{
		{addrsOf("::1"), addrsOf("::1")},
		{addrsOf("127.0.0.1", "127.0.0.2"), addrsOf("127.0.0.1", "127.0.0.2")},
		{addrsOf("::1", "::2", "::3", "127.0.0.1"), addrsOf("::1", "127.0.0.1", "::2", "::3")},
		{addrsOf("127.0.0.1", "127.0.0.2", "::1", "::2", "::3"), addrsOf("127.0.0.1", "::1", "127.0.0.2", "::2", "::3")},
	} {
		if got := interleave(tt.in); !slices.Equal(got, tt.want) {
			t.Errorf("%v come as %v, want %v", tt.in, got, tt.want)
		}
	}
}

// A runnerUp is an address in a race: how long it takes to answer, and what. One
// that answers never waits until it is given up.
type runnerUp struct {
	after time.Duration // negative: never
	err   error
}

type raceConn struct {
	net.Conn
	target netip.AddrPort
	closed bool
}

func (c *raceConn) Close() error { c.closed = true; return nil }

var errRefusedInRace = errors.New("refused")

// Races in a bubble, where time is exact. A script is a list of addresses; what is
// wanted tells for each attempt when it began and how it ended.
func TestRace(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	ok, refused := func(d time.Duration) runnerUp { return runnerUp{d, nil} }, func(d time.Duration) runnerUp { return runnerUp{d, errRefusedInRace} }
	never := runnerUp{-1, nil}
	for _, tt := range []struct {
		what    string
		runners []runnerUp
		timeout time.Duration
		want    string        // of each attempt: when it began, and how it ended
		took    time.Duration // of the whole race
	}{
		{"the only one answers", []runnerUp{ok(10 * ms)}, 0, "0s won", 10 * ms},
		{"the only one is refused", []runnerUp{refused(10 * ms)}, 0, "0s refused", 10 * ms},
		{"the only one is silent", []runnerUp{never}, 600 * ms, "0s timeout", 600 * ms},
		{"the first answers", []runnerUp{ok(10 * ms), ok(0)}, 0, "0s won", 10 * ms},
		{"the first answers just in time", []runnerUp{ok(249 * ms), ok(0)}, 0, "0s won", 249 * ms},
		{"the first is silent", []runnerUp{never, ok(10 * ms)}, 0, "0s outrun, 250ms won", 260 * ms},
		{"the first is slow, and still first", []runnerUp{ok(300 * ms), ok(200 * ms)}, 0, "0s won, 250ms outrun", 300 * ms},
		{"the first is slow", []runnerUp{ok(300 * ms), ok(10 * ms)}, 0, "0s outrun, 250ms won", 260 * ms},
		{"the first is refused", []runnerUp{refused(10 * ms), ok(10 * ms)}, 0, "0s refused, 10ms won", 20 * ms},
		{"a failure starts the next at once", []runnerUp{never, refused(10 * ms), ok(10 * ms)}, 0, "0s outrun, 250ms refused, 260ms won", 270 * ms},
		{"each gets its time", []runnerUp{refused(200 * ms), never, ok(0)}, 0, "0s refused, 200ms outrun, 450ms won", 450 * ms},
		{"two answer in the same moment", []runnerUp{ok(250 * ms), ok(0)}, 0, "", 250 * ms},
		{"all are refused", []runnerUp{refused(10 * ms), refused(20 * ms)}, 0, "0s refused, 10ms refused", 30 * ms},
		{"time is up", []runnerUp{never, refused(0), never}, 600 * ms, "0s timeout, 250ms refused, 250ms timeout", 600 * ms},
		{"there was no time", []runnerUp{never, never}, 1, "0s timeout", 1},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runRace(t, tt.runners, tt.timeout, tt.want, tt.took) })
		})
	}
}

func runRace(t *testing.T, runners []runnerUp, timeout time.Duration, want string, took time.Duration) {
	ctx := t.Context()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	targets := make([]netip.AddrPort, len(runners))
	for i := range runners {
		targets[i] = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i))
	}
	began := time.Now()
	starts := make([]time.Duration, len(runners))
	conns := make([]*raceConn, len(runners))
	winner, attempts := race(ctx, targets, func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		i := int(to.Port())
		starts[i] = time.Since(began)
		var answer <-chan time.Time // nil: never
		if runners[i].after >= 0 {
			answer = time.After(runners[i].after)
		}
		select {
		case <-answer:
			if err := runners[i].err; err != nil {
				return nil, err
			}
			conns[i] = &raceConn{target: to}
			return conns[i], nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	if got := time.Since(began); got != took {
		t.Errorf("the race took %v, want %v", got, took)
	}
	var story []string
	for i, a := range attempts {
		if a.Addr != targets[i] || a.Took > took-starts[i] {
			t.Errorf("attempt %d is of %v in %v, began at %v", i, a.Addr, a.Took, starts[i])
		}
		story = append(story, fmt.Sprint(starts[i], " ", ending(a.Err)))
	}
	if got := strings.Join(story, ", "); want != "" && got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	for i, c := range conns {
		if c == nil {
			continue
		}
		if won := winner == net.Conn(c); c.closed == won || won != (attempts[i].Err == nil) {
			t.Errorf("connection %d: closed %v, won %v, %v", i, c.closed, won, attempts[i].Err)
		}
	}
	if (winner == nil) == slices.ContainsFunc(attempts, func(a Attempt) bool { return a.Err == nil }) {
		t.Errorf("the winner is %v of %+v", winner, attempts)
	}
}

func ending(err error) string {
	switch err {
	case nil:
		return "won"
	case ErrOutrun:
		return "outrun"
	case context.DeadlineExceeded:
		return "timeout"
	}
	return err.Error()
}

func TestDialRacesPastARefusal(t *testing.T) {
	t.Parallel()
	dns := &nameServer{records: map[string][]string{"A dual.example.": {"127.0.0.1"}, "AAAA dual.example.": {"::1"}}}
	for _, live := range []string{"127.0.0.1", "[::1]"} {
		var sink recorder
		l := listenOn(t, live+":0", nil)
		echo(t, l)
		a := l.Address()
		a.Host = "dual.example"
		c := dial(t, a, &Options{Resolver: &Resolver{Net: dns.overUDP(t)}, Sink: &sink})
		say(t, c, "hello there\n")
		p := c.Phases()
		if len(p.Addrs) != 2 || p.Resolve <= 0 || p.Connect <= 0 || p.TLS != 0 {
			t.Errorf("phases %+v", p)
		}
		if p.Connect > attemptDelay {
			t.Errorf("a refusal made the other address wait: %v", p.Connect)
		}
		events := sink.of(c.ID())
		if e := events[0]; e.Op != trace.Resolve || e.Name != "dual.example" || !strings.Contains(e.Text, "127.0.0.1") || !strings.Contains(e.Text, "::1") {
			t.Errorf("the first event is %+v", e)
		}
		last := p.Attempts[len(p.Attempts)-1]
		if last.Err != nil || last.Addr.Addr() != trace.AddrPort(l.Addr()).Addr() || last.Took <= 0 {
			t.Errorf("the last attempt is %+v", last)
		}
		if len(p.Attempts) == 2 {
			checkRefusedFirst(t, p.Attempts[0], events)
		}
	}
}

func checkRefusedFirst(t *testing.T, first Attempt, events []trace.Event) {
	t.Helper()
	if !errors.Is(first.Err, errnoRefused) {
		t.Errorf("the first attempt is %+v", first)
	}
	if got := ops(events); !strings.HasPrefix(got, "resolve socket connect! socket connect ") {
		t.Errorf("events: %s", got)
	}
	if e := events[2]; e.Remote != first.Addr || !errors.Is(e.Err, errnoRefused) || e.Took <= 0 {
		t.Errorf("the refusal's event is %+v", e)
	}
}

// deaf returns an address at which nobody listens, now and until the test ends: a
// connection has the port.
func deaf(t *testing.T) Address {
	t.Helper()
	client, _ := pairUp(t, listenOn(t, "127.0.0.1:0", nil), nil)
	return Address{Network: "tcp", Host: "127.0.0.1", Port: client.Pair().Client.Port()}
}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	gone := deaf(t)
	dead := listenOn(t, "tmp:s", nil)
	dead.inner.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.path = nil
	dead.Close()
	dns := &nameServer{records: map[string][]string{"A two.example.": {"127.0.0.1", "127.0.0.2"}}}
	resolver := &Resolver{Net: dns.overUDP(t)}
	port := gone.Port
	for _, tt := range []struct {
		what             string
		addr             Address
		opts             *Options
		refused, timeout bool
		is               error
		want             string
	}{
		{
			"nobody listens", gone, nil, true, false, errnoRefused,
			"connect to " + gone.String() + ": connection refused; nothing listens there: check the address, or start the server",
		},
		{
			"nobody listens on any address",
			Address{Network: "tcp", Host: "two.example", Port: port},
			&Options{Resolver: resolver}, true, false, errnoRefused,
			fmt.Sprintf("connect to two.example:%d: 127.0.0.1:%d connection refused, 127.0.0.2:%d connection refused; nothing listens there: check the address, or start the server", port, port, port),
		},
		{
			"a dead socket", dead.Address(), nil, true, false, errnoRefused,
			"connect to " + dead.Address().String() + ": connection refused; nothing listens there: check the address, or start the server",
		},
		{
			"no such path",
			Address{Network: "unix", Path: "/nowhere/s"},
			nil, false, false, fs.ErrNotExist,
			"connect to unix:/nowhere/s: no such file or directory; no server has made that socket",
		},
		{
			"no path",
			Address{Network: "unix"},
			nil, false, false, nil,
			"connect to unix:: the path is empty; write unix:PATH, or unix:@NAME for an abstract socket",
		},
		{
			"an unknown network",
			Address{Network: "ipx", Host: "h"},
			nil, false, false, nil,
			`connect to ipx://h:0: unknown network "ipx": use tcp, tls, udp or unix`,
		},
		{
			"a source that is not ours", gone, &Options{Source: netip.MustParseAddr("192.0.2.1")}, false, false, errnoNotAvail,
			"connect to " + gone.String() + ": bind: cannot assign requested address; this host has no such address to dial from",
		},
	} {
		_, err := Dial(t.Context(), tt.addr, tt.opts)
		e, ok := errors.AsType[*ConnectError](err)
		if !ok || err.Error() != tt.want {
			t.Errorf("%s:\n got %v\nwant %s", tt.what, err, tt.want)
			continue
		}
		if e.Refused() != tt.refused || e.Timeout() != tt.timeout || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: refused %v, timeout %v; %v", tt.what, e.Refused(), e.Timeout(), e.Unwrap())
		}
	}
}

func TestConnectErrorAdvice(t *testing.T) {
	t.Parallel()
	fail := func(err error) Attempt {
		return Attempt{Addr: netip.MustParseAddrPort("192.0.2.1:7"), Err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)}}
	}
	for _, tt := range []struct {
		attempts         []Attempt
		refused, timeout bool
		want             string
	}{
		{[]Attempt{fail(errnoRefused)}, true, false, "nothing listens there"},
		{[]Attempt{fail(errnoTimedOut)}, false, true, "no answer"},
		{[]Attempt{fail(errnoRefused), fail(errnoTimedOut)}, false, true, "no answer"},
		{[]Attempt{fail(errnoNetUnreach), fail(errnoRefused)}, true, false, "nothing listens there"},
		{[]Attempt{fail(errnoNetUnreach)}, false, false, "no way to it"},
		{[]Attempt{fail(errnoHostUnreach)}, false, false, "no way to it"},
		{[]Attempt{fail(errnoNotAvail)}, false, false, "no ephemeral port is free"},
		{[]Attempt{fail(errnoAgain)}, false, false, "its queue of connections to accept is full"},
		{[]Attempt{fail(syscall.EMFILE)}, false, false, "too many open files"},
	} {
		e := &ConnectError{Address: Address{Network: "tcp", Host: "h", Port: 7}, Attempts: tt.attempts}
		if e.Refused() != tt.refused || e.Timeout() != tt.timeout || !strings.Contains(e.Error(), tt.want) {
			t.Errorf("refused %v, timeout %v: %v", e.Refused(), e.Timeout(), e)
		}
	}
}

func TestDialNameErrors(t *testing.T) {
	t.Parallel()
	dns := &nameServer{records: map[string][]string{
		"A four.example.": {"127.0.0.1"}, "A slow.example.": {"SILENT"}, "AAAA slow.example.": {"SILENT"},
	}}
	resolver := &Resolver{Net: dns.overUDP(t)}
	six := netip.MustParseAddr("::1")
	for _, tt := range []struct {
		host              string
		opts              Options
		notFound, timeout bool
		want              string
	}{
		{"nosuch.example", Options{}, true, false, "look up nosuch.example: no such host; check the spelling, or give an IP address"},
		{"four.example", Options{Family: V6}, true, false, "look up four.example: no IPv6 address; it has 127.0.0.1; check the spelling, or give an IP address"},
		{"127.0.0.1", Options{Family: V6}, true, false, "look up 127.0.0.1: no IPv6 address; it has 127.0.0.1; check the spelling, or give an IP address"},
		{"four.example", Options{Source: six}, true, false, "look up four.example: no IPv6 address; it has 127.0.0.1; check the spelling, or give an IP address"},
		{"four.example", Options{Source: six, Family: V4}, true, false, "look up four.example: no IPv4 address; the source address has ::1; check the spelling, or give an IP address"},
		{"slow.example", Options{}, false, true, "no name server answered in time"},
	} {
		var sink recorder
		tt.opts.Resolver, tt.opts.Sink = resolver, &sink
		_, err := Dial(deadline(t, 100*time.Millisecond), Address{Network: "tcp", Host: tt.host, Port: 7}, &tt.opts)
		e, ok := errors.AsType[*ResolveError](err)
		if !ok || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", tt.host, err, tt.want)
			continue
		}
		if e.NotFound() != tt.notFound || e.Timeout() != tt.timeout {
			t.Errorf("%s: not found %v, timeout %v", tt.host, e.NotFound(), e.Timeout())
		}
		for _, event := range sink.all() {
			if event.Op != trace.Resolve {
				t.Errorf("%s: there is a %s event", tt.host, event.Op)
			}
		}
	}
}

func TestDialEmptyHostIsLocalhost(t *testing.T) {
	t.Parallel()
	l := listenOn(t, ":0", nil)
	echo(t, l)
	say(t, dial(t, l.Address(), nil), "hello there\n")
}

func TestDialBoundsTheAddresses(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("127.0.1.%d", i+1))
	}
	dns := &nameServer{records: map[string][]string{"A many.example.": many}}
	a := deaf(t)
	a.Host = "many.example"
	_, err := Dial(t.Context(), a, &Options{Resolver: &Resolver{Net: dns.overUDP(t)}})
	if e, ok := errors.AsType[*ConnectError](err); !ok || len(e.Attempts) != maxTargets {
		t.Errorf("of 40 addresses were tried: %v", err)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	source := netip.MustParseAddr("127.0.0.2")
	var sink recorder
	l := listenOn(t, "127.0.0.1:0", nil)
	client, server := pairUp(t, l, &Options{Source: source, Sink: &sink})
	if got := server.Pair().Client.Addr(); got != source {
		t.Errorf("the server sees a client from %v", got)
	}
	events := sink.of(client.ID())
	if got := ops(events); got != "socket bind connect" {
		t.Fatalf("events: %s", got)
	}
	if bind := events[1]; bind.Local != netip.AddrPortFrom(source, 0) || bind.FD == 0 {
		t.Errorf("bind is %+v", bind)
	}
	if connect := events[2]; connect.Local != client.Pair().Client || connect.Remote != client.Pair().Server {
		t.Errorf("connect is %+v", connect)
	}

	packets, err := ListenPacket(t.Context(), mustParse(t, "udp://127.0.0.1:0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	dial(t, packets.Address(), &Options{Source: source}).Write([]byte("x"))
	if _, from, err := packets.ReadFromUDPAddrPort(make([]byte, 9)); err != nil || from.Addr() != source {
		t.Errorf("a datagram from %v, %v", from, err)
	}

	var failed recorder
	if _, err := Dial(t.Context(), l.Address(), &Options{Source: netip.MustParseAddr("192.0.2.1"), Sink: &failed}); err == nil {
		t.Fatal("192.0.2.1 is an address of this host")
	}
	if got := ops(failed.all()); !strings.HasSuffix(got, "socket bind!") { // package net tries three times
		t.Errorf("events of a source that is not ours: %s", got)
	}
}
