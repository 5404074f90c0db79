package sock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"yodel/trace"
)

// A recorder is a sink that keeps what it is given.
type recorder struct {
	mu     sync.Mutex
	events []trace.Event
}

func (r *recorder) Emit(e *trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, *e)
}

// of returns the events of one connection, or listening socket.
func (r *recorder) of(id trace.ConnID) []trace.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.events), func(e trace.Event) bool { return e.Conn != id })
}

// all returns all events.
func (r *recorder) all() []trace.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// ops returns the names of events, "!" behind those that failed.
func ops(events []trace.Event) string {
	words := make([]string, len(events))
	for i, e := range events {
		words[i] = string(e.Op)
		if e.Err != nil {
			words[i] += "!"
		}
	}
	return strings.Join(words, " ")
}

// mustParse reads an address; "tmp:NAME" is a Unix socket in a folder of the test's.
func mustParse(t *testing.T, word string) Address {
	t.Helper()
	if name, ok := strings.CutPrefix(word, "tmp:"); ok {
		return Address{Network: "unix", Path: t.TempDir() + "/" + name}
	}
	a, err := ParseAddress(word)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// listenOn listens until the test ends.
func listenOn(t *testing.T, word string, opts *Options) *Listener {
	t.Helper()
	l, err := Listen(t.Context(), mustParse(t, word), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// echo serves echo on l until it is closed, and the test waits for that.
func echo(t *testing.T, l *Listener) {
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				io.Copy(c, c)
				c.(*Conn).CloseWrite()
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
}

// dial connects until the test ends.
func dial(t *testing.T, a Address, opts *Options) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), a, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// pairUp connects to l and accepts: both ends of one connection.
func pairUp(t *testing.T, l *Listener, opts *Options) (client, server *Conn) {
	t.Helper()
	accepted := make(chan *Conn, 1)
	go func() {
		defer close(accepted)
		c, err := l.AcceptConn()
		if err != nil {
			t.Error(err)
			return
		}
		if err := c.Handshake(context.Background()); err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	client = dial(t, l.Address(), opts)
	server = <-accepted
	if server == nil {
		t.FailNow()
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// say sends a line over a connection to an echo server, half-closes, and fails the
// test unless the same line and then the end come back.
func say(t *testing.T, c *Conn, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != line {
		t.Fatalf("sent %q; %q, %v came back", line, got, err)
	}
}

func TestEveryNetworkEchoes(t *testing.T) {
	t.Parallel()
	cert, fingerprint, err := SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := PinConfig(fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"127.0.0.1:0", "[::1]:0", "localhost:0", "tmp:s", "tls://127.0.0.1:0", "tls://[::1]:0"} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			opts := &Options{TLS: serverConfig(cert)}
			l := listenOn(t, word, opts)
			echo(t, l)
			say(t, dial(t, l.Address(), &Options{TLS: pin}), "hello there\n")
		})
	}
}

func TestBothEndsHaveOnePair(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		l := listenOn(t, word, nil)
		client, server := pairUp(t, l, nil)
		if client.Pair() != server.Pair() || !client.Pair().IsValid() {
			t.Errorf("%s: the client has %v, the server %v", word, client.Pair(), server.Pair())
		}
		if got := client.Pair().Server.Port(); got != l.Address().Port {
			t.Errorf("%s: the pair's server port is %d, bound is %d", word, got, l.Address().Port)
		}
		if client.Side() != trace.Client || server.Side() != trace.Server {
			t.Errorf("%s: sides %q and %q", word, client.Side(), server.Side())
		}
		if client.ID().IsZero() || client.ID() == server.ID() {
			t.Errorf("%s: the ends are named %q and %q; each has its own name", word, client.ID(), server.ID())
		}
	}
}

func TestUnixConnHasNoPair(t *testing.T) {
	t.Parallel()
	client, server := pairUp(t, listenOn(t, "tmp:s", nil), nil)
	if client.Pair() != (Pair{}) || server.Pair() != (Pair{}) {
		t.Errorf("pairs %v and %v", client.Pair(), server.Pair())
	}
	if client.Network() != "unix" || server.Network() != "unix" {
		t.Errorf("networks %q and %q", client.Network(), server.Network())
	}
}

func TestHalfCloseLeavesTheOtherHalf(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"127.0.0.1:0", "tmp:s", "tls://127.0.0.1:0"} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			l := listenOn(t, word, nil)
			client, server := pairUp(t, l, clientOptions(t, l))
			if err := client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(server); err != nil || len(rest) != 0 {
				t.Fatalf("the server reads %q, %v after the client's half-close", rest, err)
			}
			if _, err := io.WriteString(server, "still here"); err != nil {
				t.Fatal(err)
			}
			server.Close()
			if got, err := io.ReadAll(client); err != nil || string(got) != "still here" {
				t.Errorf("the client reads %q, %v", got, err)
			}
		})
	}
}

// clientOptions returns what it takes to dial l.
func clientOptions(t *testing.T, l *Listener) *Options {
	t.Helper()
	if l.Fingerprint() == "" {
		return nil
	}
	pin, err := PinConfig(l.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	return &Options{TLS: pin}
}

// What a connection leaves, from the first call to the last.
func TestTraceOfAConnection(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ word, listener, client, server string }{
		{"127.0.0.1:0", "socket bind listen close", "socket connect write shutdown read eof close", "accept read eof write shutdown close"},
		{"tmp:s", "socket bind listen close", "socket connect write shutdown read eof close", "accept read eof write shutdown close"},
		{"tls://127.0.0.1:0", "socket bind listen close", "socket connect handshake write shutdown read eof close", "accept handshake read eof write shutdown close"},
	} {
		t.Run(tt.word, func(t *testing.T) {
			t.Parallel()
			var sink recorder
			l := listenOn(t, tt.word, &Options{Sink: &sink})
			opts := &Options{Sink: &sink}
			if l.Network() == "tls" {
				opts.TLS = clientOptions(t, l).TLS
			}
			client, server := pairUp(t, l, opts)
			converse(t, client, server)
			l.Close()
			for _, side := range []struct {
				who  string
				id   trace.ConnID
				want string
				side trace.Side
			}{
				{"listener", l.ID(), tt.listener, trace.Server},
				{"client", client.ID(), tt.client, trace.Client},
				{"server", server.ID(), tt.server, trace.Server},
			} {
				events := sink.of(side.id)
				if got := ops(events); got != side.want {
					t.Errorf("%s:\n got %s\nwant %s", side.who, got, side.want)
				}
				checkEvents(t, events, side.side, l)
			}
		})
	}
}

// converse sends a line one way and then the other, each end half-closing.
func converse(t *testing.T, client, server *Conn) {
	t.Helper()
	for _, turn := range []struct{ from, to *Conn }{{client, server}, {server, client}} {
		if _, err := io.WriteString(turn.from, "hi there\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := turn.from.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(turn.to); err != nil || len(got) != 10 {
			t.Fatalf("%q, %v arrived", got, err)
		}
	}
	client.Close()
	server.Close()
}

// checkEvents checks what all events of one socket must have.
func checkEvents(t *testing.T, events []trace.Event, side trace.Side, l *Listener) {
	t.Helper()
	for i, e := range events {
		if e.Side != side || e.Network != l.Network() || e.Time.IsZero() {
			t.Errorf("%s: side %q, network %q, time %v", e.Op, e.Side, e.Network, e.Time)
		}
		if e.FD == 0 || e.FD != events[0].FD {
			t.Errorf("%s: descriptor %d, that of %s was %d", e.Op, e.FD, events[0].Op, events[0].FD)
		}
		if e.Path != l.Address().Path {
			t.Errorf("%s: path %q, want %q", e.Op, e.Path, l.Address().Path)
		}
		if i > 0 && e.Time.Before(events[i-1].Time) {
			t.Errorf("%s is earlier than %s before it", e.Op, events[i-1].Op)
		}
		switch e.Op {
		case trace.Handshake:
			if !strings.HasPrefix(e.Text, "TLS 1.3 TLS_") || e.Took <= 0 {
				t.Errorf("handshake: %q in %v", e.Text, e.Took)
			}
		case trace.Accept, trace.Connect:
			if e.Took <= 0 || e.Network != "unix" && (!e.Local.IsValid() || !e.Remote.IsValid()) {
				t.Errorf("%s: from %v to %v in %v", e.Op, e.Local, e.Remote, e.Took)
			}
		case trace.Bind:
			if e.Network != "unix" && e.Local.Port() != l.Address().Port {
				t.Errorf("bind: %v, bound is port %d", e.Local, l.Address().Port)
			}
		case trace.Close:
			if !e.Remote.IsValid() && e.In == 0 {
				break // the listener's
			}
			if e.In != 10 || e.Out != 10 {
				t.Errorf("close: %d bytes in, %d out; it was 10 and 10", e.In, e.Out)
			}
		}
	}
}

func TestHandshakeIsTracedWhoeverBeginsIt(t *testing.T) {
	t.Parallel()
	var sink recorder
	l := listenOn(t, "tls://127.0.0.1:0", &Options{Sink: &sink})
	echo(t, l) // which only reads
	say(t, dial(t, l.Address(), clientOptions(t, l)), "x")
	l.Close()
	if got := ops(sink.all()); !strings.Contains(got, "accept handshake read") {
		t.Errorf("the server's events are %s", got)
	}
}

func TestHandshakeFailureIsToldByEveryCall(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "tls://127.0.0.1:0", nil)
	accepted := make(chan *Conn, 1)
	go func() { c, _ := l.AcceptConn(); accepted <- c }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(client, "GET / HTTP/1.0\r\n\r\n")
	server := <-accepted
	defer server.Close()
	defer client.Close()
	_, readErr := server.Read(make([]byte, 1))
	_, writeErr := server.Write([]byte{1})
	for call, err := range map[string]error{"Read": readErr, "Write": writeErr, "CloseWrite": server.CloseWrite(), "Handshake": server.Handshake(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "TLS handshake") {
			t.Errorf("%s after plain text instead of a handshake: %v", call, err)
		}
	}
}

func TestConnGivesAccessBelow(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "tls://127.0.0.1:0", nil)
	client, server := pairUp(t, l, clientOptions(t, l))
	for _, c := range []*Conn{client, server} {
		if _, ok := c.NetConn().(*net.TCPConn); !ok {
			t.Errorf("NetConn is a %T", c.NetConn())
		}
		if fd := trace.Descriptor(c); fd <= 2 {
			t.Errorf("descriptor %d", fd)
		}
		if !c.ConnectionState().HandshakeComplete {
			t.Error("the handshake is not complete")
		}
	}
	plain, _ := pairUp(t, listenOn(t, "127.0.0.1:0", nil), nil)
	if plain.ConnectionState().HandshakeComplete {
		t.Error("a plain connection says that its handshake is complete")
	}
	if err := plain.Handshake(t.Context()); err != nil {
		t.Errorf("the handshake of a plain connection: %v", err)
	}
}

func TestSetLingerResets(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"127.0.0.1:0", "tls://127.0.0.1:0"} {
		l := listenOn(t, word, nil)
		client, server := pairUp(t, l, clientOptions(t, l))
		if err := server.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		server.NetConn().Close() // under TLS: without its goodbye
		if _, err := client.Read(make([]byte, 1)); !strings.Contains(fmt.Sprint(err), "reset") {
			t.Errorf("%s: the client reads %v", word, err)
		}
	}
	client, _ := pairUp(t, listenOn(t, "tmp:s", nil), nil)
	if err := client.SetLinger(0); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("of a Unix socket: %v", err)
	}
}

func TestPlainListener(t *testing.T) {
	t.Parallel()
	var sink recorder
	l := listenOn(t, "tls://127.0.0.1:0", &Options{Sink: &sink})
	plain := l.Plain()
	client, err := net.Dial("tcp", plain.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := plain.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(*net.TCPConn); !ok {
		t.Errorf("Accept returns a %T", c)
	}
	if trace.Descriptor(plain) != trace.Descriptor(l) {
		t.Error("it has another descriptor")
	}
	if err := plain.Close(); err != nil {
		t.Error(err)
	}
	if c, err := plain.Accept(); c != nil || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener: %v, %v", c, err)
	}
	if got := ops(sink.all()); got != "socket bind listen close" {
		t.Errorf("events %s", got)
	}
}

func TestCloseWriteOfDatagramsIsUnsupported(t *testing.T) {
	t.Parallel()
	c := dial(t, Address{Network: "udp", Host: "127.0.0.1", Port: 9}, nil)
	if err := c.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite on a datagram socket: %v", err)
	}
}
