package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"yodel/trace"
)

// blackHole returns a port at an address of loopback's that answers nothing: its
// queue has one place, that is taken, and the kernel drops further requests.
func blackHole(t *testing.T, host string, port uint16) netip.AddrPort {
	t.Helper()
	l, err := Listen(t.Context(), Address{Network: "tcp", Host: host, Port: port}, &Options{Backlog: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for { // a backlog of 1 has room for two
		d := net.Dialer{Timeout: 50 * time.Millisecond}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			return trace.AddrPort(l.Addr())
		}
		t.Cleanup(func() { c.Close() })
	}
}

// openFDs returns what this process has open, by descriptor.
func openFDs(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	open := make(map[string]string)
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			open[e.Name()] = to
		}
	}
	return open
}

// leavesNothing runs f and fails the test if a goroutine or a descriptor is left.
// The test must not be parallel.
func leavesNothing(t *testing.T, f func()) {
	t.Helper()
	before, ignore := openFDs(t), goleak.IgnoreCurrent()
	f()
	goleak.VerifyNone(t, ignore)
	for fd, to := range openFDs(t) {
		if strings.HasPrefix(to, "socket:") && before[fd] != to {
			t.Errorf("descriptor %s is left: %s", fd, to)
		}
	}
}

func TestDialRacesPastABlackHole(t *testing.T) {
	l := listenOn(t, "127.0.0.1:0", nil)
	echo(t, l)
	hole := blackHole(t, "127.0.0.9", l.Address().Port)
	dns := &nameServer{records: map[string][]string{"A holed.example.": {"127.0.0.9", "127.0.0.1"}}}
	resolver := &Resolver{Net: dns.overUDP(t)}
	leavesNothing(t, func() {
		var sink recorder
		c, err := Dial(t.Context(), Address{Network: "tcp", Host: "holed.example", Port: l.Address().Port}, &Options{Resolver: resolver, Sink: &sink})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p := c.Phases()
		if len(p.Attempts) != 2 || p.Attempts[0].Addr != hole || p.Attempts[0].Err != ErrOutrun || p.Attempts[1].Err != nil {
			t.Fatalf("attempts %+v", p.Attempts)
		}
		if p.Connect < attemptDelay || p.Connect > 4*attemptDelay {
			t.Errorf("the race took %v", p.Connect)
		}
		if got := ops(sink.of(c.ID())); got != "resolve socket socket connect! connect" {
			t.Errorf("events %s", got)
		}
		say(t, c, "hello there\n")
	})
}

func TestDialGivesUpWithItsContext(t *testing.T) {
	hole := blackHole(t, "127.0.0.1", 0)
	a := Address{Network: "tcp", Host: "127.0.0.1", Port: hole.Port()}
	leavesNothing(t, func() {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		_, err := Dial(ctx, a, nil)
		e, ok := errors.AsType[*ConnectError](err)
		want := fmt.Sprintf("connect to %v: i/o timeout; no answer: the host is down, or a firewall drops what is sent to it", hole)
		if !ok || !e.Timeout() || e.Refused() || err.Error() != want {
			t.Errorf("\n got %v\nwant %s", err, want)
		}
	})
	leavesNothing(t, func() {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		_, err := Dial(ctx, a, nil)
		if e, ok := errors.AsType[*ConnectError](err); !ok || e.Timeout() || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// The kernel gives up by itself after UserTimeout.
func TestUserTimeoutBoundsConnect(t *testing.T) {
	t.Parallel()
	hole := blackHole(t, "127.0.0.1", 0)
	_, err := Dial(t.Context(), Address{Network: "tcp", Host: "127.0.0.1", Port: hole.Port()}, &Options{UserTimeout: 100 * time.Millisecond})
	if e, ok := errors.AsType[*ConnectError](err); !ok || !e.Timeout() || !errors.Is(err, unix.ETIMEDOUT) {
		t.Errorf("connect to a black hole: %v", err)
	}
}

func TestNothingIsLeft(t *testing.T) {
	for _, word := range []string{"127.0.0.1:0", "tmp:s", "tls://127.0.0.1:0"} {
		leavesNothing(t, func() {
			l, err := Listen(t.Context(), mustParse(t, word), nil)
			if err != nil {
				t.Fatal(err)
			}
			client, server := pairUp(t, l, clientOptions(t, l))
			client.Close()
			server.Close()
			l.Close()
		})
	}
	taken := listenOn(t, "127.0.0.1:0", nil)
	leavesNothing(t, func() {
		for _, opts := range []*Options{nil, {ReusePort: true}, {KeepAliveIdle: 1e6 * time.Second}} {
			if _, err := Listen(t.Context(), taken.Address(), opts); err == nil {
				t.Error("bound twice")
			}
		}
		plain := taken.Address()
		plain.Network = "tls"
		if _, err := Dial(t.Context(), plain, &Options{HandshakeTimeout: time.Millisecond}); err == nil {
			t.Error("a handshake without a server")
		}
	})
}
