package sock

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/trace"
)

func TestListenBindsWhatWasAsked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		word   string
		family Family
		host   string // of Address
		ip     string // of Addr
		v4, v6 bool   // who gets through
	}{
		{"127.0.0.1:0", Both, "127.0.0.1", "127.0.0.1", true, false},
		{"[::1]:0", Both, "::1", "::1", false, true},
		{"0", Both, "127.0.0.1", "127.0.0.1", true, false},
		{"localhost:0", Both, "127.0.0.1", "127.0.0.1", true, false},
		{"http://127.0.0.1:0/", Both, "127.0.0.1", "127.0.0.1", true, false},
		{":0", Both, "", "::", true, true},
		{":0", V4, "", "0.0.0.0", true, false},
		{":0", V6, "", "::", false, true},
	} {
		t.Run(tt.word+" "+tt.family.String(), func(t *testing.T) {
			t.Parallel()
			l := listenOn(t, tt.word, &Options{Family: tt.family})
			a, bound := l.Address(), trace.AddrPort(l.Addr())
			if a.Network != "tcp" || l.Network() != "tcp" || a.Host != tt.host || a.Path != "" {
				t.Errorf("Address is %+v, want host %q", a, tt.host)
			}
			if a.Port == 0 || a.Port != bound.Port() || bound.Addr().String() != tt.ip {
				t.Errorf("bound is %v, Address has port %d", bound, a.Port)
			}
			go sayName(l, tt.word)
			for ip, want := range map[string]bool{"127.0.0.1": tt.v4, "::1": tt.v6} {
				if got := saysName(Address{Host: ip, Port: a.Port}.HostPort(), tt.word); got != want {
					t.Errorf("from %s: %v, want it to be %v", ip, got, want)
				}
			}
		})
	}
}

// sayName says a name to all who call.
func sayName(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.WriteString(c, name)
		c.Close()
	}
}

// saysName reports whether who listens there says that name: another program may have
// the same port on another address.
func saysName(address, name string) bool {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	got := make([]byte, len(name))
	_, err = io.ReadFull(c, got)
	return err == nil && string(got) == name
}

func TestListenOnANameTakesItsFirstIPv4Address(t *testing.T) {
	t.Parallel()
	dns := &nameServer{records: map[string][]string{
		"A dual.example.": {"127.0.0.1"}, "AAAA dual.example.": {"::1"}, "AAAA six.example.": {"::1"},
	}}
	resolver := &Resolver{Net: dns.overUDP(t)}
	for _, tt := range []struct {
		name   string
		family Family
		want   string
	}{{"dual.example", Both, "127.0.0.1"}, {"dual.example", V6, "::1"}, {"six.example", Both, "::1"}} {
		var sink recorder
		l := listenOn(t, tt.name+":0", &Options{Resolver: resolver, Family: tt.family, Sink: &sink})
		if got := l.Address().Host; got != tt.want {
			t.Errorf("%s (%v) is bound to %s, want %s", tt.name, tt.family, got, tt.want)
		}
		e := sink.all()[0]
		if e.Op != trace.Resolve || e.Name != tt.name || !strings.Contains(e.Text, tt.want) || e.Took <= 0 || e.FD != 0 {
			t.Errorf("%s: the first event is %+v", tt.name, e)
		}
	}
	for host, family := range map[string]Family{"six.example": V4, "nosuch.example": Both, "127.0.0.1": V6} {
		_, err := Listen(t.Context(), Address{Network: "tcp", Host: host}, &Options{Resolver: resolver, Family: family})
		if e, ok := errors.AsType[*ResolveError](err); !ok || !e.NotFound() {
			t.Errorf("%s (%v): %v", host, family, err)
		}
		_, err = ListenPacket(t.Context(), Address{Network: "udp", Host: host}, &Options{Resolver: resolver, Family: family})
		if !isA[*ResolveError](err) {
			t.Errorf("datagrams, %s (%v): %v", host, family, err)
		}
	}
}

// timeWait leaves a connection of l's port in TIME_WAIT: the server's side closes
// first. Then it closes l and returns its address.
func timeWait(t *testing.T, l *Listener) Address {
	t.Helper()
	client, server := pairUp(t, l, nil)
	server.Close()
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the client reads %v, not the end", err)
	}
	client.Close()
	l.Close()
	return l.Address()
}

func TestRestartOverTimeWait(t *testing.T) {
	t.Parallel()
	a := timeWait(t, listenOn(t, "127.0.0.1:0", nil))
	_, err := Listen(t.Context(), a, &Options{NoReuseAddr: true})
	if !errors.Is(err, errnoInUse) || !strings.Contains(err.Error(), "TIME_WAIT") {
		t.Errorf("without SO_REUSEADDR: %v", err)
	}
	l, err := Listen(t.Context(), a, nil)
	if err != nil {
		t.Fatalf("a restart: %v", err)
	}
	l.Close()
}

func TestTakenPortIsAnError(t *testing.T) {
	t.Parallel()
	for _, first := range []*Options{nil, {ReusePort: true}} {
		for _, second := range []*Options{nil, {ReusePort: true}, {NoReuseAddr: true}} {
			for _, word := range []string{"127.0.0.1:0", "[::1]:0", ":0", "tls://127.0.0.1:0"} {
				l := listenOn(t, word, first)
				again, err := Listen(t.Context(), l.Address(), second)
				if err == nil {
					again.Close()
					t.Errorf("%s: bound twice, with %+v and %+v", word, first, second)
					continue
				}
				if e, ok := errors.AsType[*ListenError](err); !ok || !errors.Is(err, errnoInUse) || e.Address != l.Address() {
					t.Errorf("%s: %v", word, err)
				}
			}
		}
	}
}

func TestListenFailureIsTraced(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "127.0.0.1:0", nil)
	for _, a := range []Address{l.Address(), {Network: "udp", Host: "192.0.2.1"}} {
		var sink recorder
		var err error
		if a.Network == "udp" {
			_, err = ListenPacket(t.Context(), a, &Options{Sink: &sink})
		} else {
			_, err = Listen(t.Context(), a, &Options{Sink: &sink})
		}
		if err == nil {
			t.Fatalf("%v was bound", a)
		}
		if got := ops(sink.all()); got != "socket bind!" {
			t.Errorf("%v: events %s", a, got)
		}
	}
	var sink recorder
	if _, err := Listen(t.Context(), mustParse(t, "127.0.0.1:0"), &Options{Sink: &sink, Device: "yodel0"}); err == nil {
		t.Fatal("an interface that is not there was found")
	}
	if got := ops(sink.all()); got != "socket" {
		t.Errorf("events %s: nothing after the socket was called", got)
	}
}

func TestListenStopsWithItsContext(t *testing.T) {
	t.Parallel()
	dns := &nameServer{records: map[string][]string{"A slow.example.": {"SILENT"}, "AAAA slow.example.": {"SILENT"}}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := Listen(ctx, Address{Network: "tcp", Host: "slow.example"}, &Options{Resolver: &Resolver{Net: dns.overUDP(t)}})
	if e, ok := errors.AsType[*ResolveError](err); !ok || !e.Timeout() || !strings.Contains(err.Error(), "no name server answered in time") {
		t.Errorf("a name server that does not answer: %v", err)
	}
}

func TestCloseAndDeadlineOfAListener(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"127.0.0.1:0", "tmp:s"} {
		var sink recorder
		l := listenOn(t, word, &Options{Sink: &sink})
		if err := l.SetDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: Accept after its deadline: %v", word, err)
		}
		if err := l.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		go func() { _, err := l.Accept(); waiting <- err }()
		if err := l.Close(); err != nil {
			t.Errorf("%s: %v", word, err)
		}
		if err := <-waiting; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Accept of a closed listener: %v", word, err)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: a second Close: %v", word, err)
		}
		if got := ops(sink.all()); got != "socket bind listen close" {
			t.Errorf("%s: events %s", word, got)
		}
	}
}

// A listener whose descriptor somebody has broken: what Accept then says is told.
func TestFailedAcceptIsTraced(t *testing.T) {
	t.Parallel()
	var sink recorder
	l := listenOn(t, "127.0.0.1:0", &Options{Sink: &sink})
	l.inner = brokenListener{l.inner}
	if _, err := l.Accept(); !errors.Is(err, syscall.EMFILE) {
		t.Fatalf("Accept: %v", err)
	}
	events := sink.all()
	last := events[len(events)-1]
	if last.Op != trace.Accept || !errors.Is(last.Err, syscall.EMFILE) || last.Conn != l.ID() {
		t.Errorf("the last event is %+v", last)
	}
}

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) {
	return nil, os.NewSyscallError("accept4", syscall.EMFILE)
}

func TestListenPacket(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"udp://127.0.0.1:0", "udp://[::1]:0", "udp://:0"} {
		var sink recorder
		c, err := ListenPacket(t.Context(), mustParse(t, word), &Options{Sink: &sink, ReadBuffer: 50_000})
		if err != nil {
			t.Fatal(err)
		}
		if c.Address().Port == 0 || c.Network() != "udp" {
			t.Errorf("%s: bound is %+v", word, c.Address())
		}
		client := dial(t, c.Address(), &Options{Sink: &sink})
		buf := make([]byte, 100)
		for _, text := range []string{"hello there\n", ""} { // an empty datagram is one too
			if _, err := io.WriteString(client, text); err != nil {
				t.Fatal(err)
			}
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil || string(buf[:n]) != text {
				t.Fatalf("%s: %q, %v arrived", word, buf[:n], err)
			}
			if _, err := c.WriteToUDPAddrPort(buf[:n], from); err != nil {
				t.Fatal(err)
			}
			if n, err := client.Read(buf); err != nil || string(buf[:n]) != text {
				t.Errorf("%s: %q, %v came back", word, buf[:n], err)
			}
		}
		if client.Network() != "udp" || !client.Pair().IsValid() {
			t.Errorf("%s: the client is %s %v", word, client.Network(), client.Pair())
		}
		c.Close()
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: a second Close: %v", word, err)
		}
		client.Close()
		if got := ops(sink.of(c.ID())); got != "socket bind close" {
			t.Errorf("%s: the server's events are %s", word, got)
		}
		if got := ops(sink.of(client.ID())); !strings.HasSuffix(got, "socket connect write read close") {
			t.Errorf("%s: the client's events are %s", word, got)
		}
	}
	c, err := ListenPacket(t.Context(), mustParse(t, "udp://127.0.0.1:0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := ListenPacket(t.Context(), c.Address(), nil); !errors.Is(err, errnoInUse) {
		t.Errorf("bound twice: %v", err)
	}
	if _, err := ListenPacket(t.Context(), Address{Network: "tcp"}, nil); !isA[*ListenError](err) {
		t.Errorf("datagrams over tcp: %v", err)
	}
}
