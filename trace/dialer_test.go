package trace_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"yodel/trace"
	"yodel/yodeltest"
)

func TestDialer(t *testing.T) {
	t.Parallel()
	l := listen(t, "tcp", "127.0.0.1:0")
	go echo(l)
	rec := newRecorder()
	d := &trace.Dialer{Sink: rec}
	c, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, "hello")
	want(t, c, "hello")
	c.(*trace.Conn).CloseWrite()
	wantEOF(t, c)
	c.Close()
	rec.wantOps(t, "socket connect write read shutdown eof close")
	for _, e := range rec.all() {
		check(t, "conn", e.Conn, c.(*trace.Conn).ID())
		check(t, "side", e.Side, trace.Client)
		check(t, "network", e.Network, "tcp")
		check(t, "descriptor", e.FD, rec.all()[0].FD)
	}
	e := rec.wait(t, trace.Connect)
	check(t, "local", e.Local.String(), c.LocalAddr().String())
	check(t, "remote", e.Remote.String(), l.Addr().String())
	check(t, "error", e.Err, nil)
	if e.Took <= 0 || e.FD <= 2 {
		t.Errorf("connect took %v, descriptor %d", e.Took, e.FD)
	}
}

func TestDialerUnix(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	rec := newRecorder()
	d := &trace.Dialer{Sink: rec}
	if _, err := d.Dial("unix", path); err == nil {
		t.Error("a dial to nobody has no error")
	}
	e := rec.wait(t, trace.Connect)
	check(t, "path", e.Path, path)
	check(t, "has an error", e.Err != nil, true)

	go echo(listen(t, "unix", path))
	c, err := d.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	rec.wantOps(t, "socket connect socket connect close")
	check(t, "path", rec.all()[3].Path, path)
	check(t, "error", rec.all()[3].Err, nil)
}

func TestDialerWithoutSink(t *testing.T) {
	t.Parallel()
	l := listen(t, "tcp", "127.0.0.1:0")
	c, err := (&trace.Dialer{}).Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(*net.TCPConn); !ok {
		t.Errorf("without a sink: %T", c)
	}
}

func TestDialsThatFail(t *testing.T) {
	t.Parallel()
	gone := listen(t, "tcp", "127.0.0.1:0")
	refused := gone.Addr().String()
	gone.Close()
	for _, c := range []struct {
		name, network, address string
		ops                    string
		remote                 string
	}{
		{"nobody listens", "tcp4", refused, "socket connect", refused},
		{"no such port", "tcp", "127.0.0.1:port", "connect", "invalid AddrPort"},
		{"no such network", "tcp5", refused, "connect", "invalid AddrPort"},
	} {
		rec := newRecorder()
		_, err := (&trace.Dialer{Sink: rec}).Dial(c.network, c.address)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		rec.wantOps(t, c.ops)
		e := rec.wait(t, trace.Connect)
		check(t, c.name+": remote", e.Remote.String(), c.remote)
		check(t, c.name+": network", e.Network, strings.TrimSuffix(c.network, "4"))
		if e.Err == nil || !strings.Contains(err.Error(), e.Err.Error()) {
			t.Errorf("%s: event says %v, DialContext %v", c.name, e.Err, err)
		}
	}
}

func TestDialUDP(t *testing.T) {
	t.Parallel()
	rec := newRecorder()
	c, err := (&trace.Dialer{Sink: rec}).Dial("udp4", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	rec.wantOps(t, "socket connect close")
	check(t, "network", rec.all()[0].Network, "udp")
}

func TestDialerCallsWhatTheUserSet(t *testing.T) {
	t.Parallel()
	l := listen(t, "tcp", "127.0.0.1:0")
	errControl := errors.New("not this one")
	control := func(string, string, syscall.RawConn) error { return errControl }
	for _, d := range []*trace.Dialer{
		{Dialer: net.Dialer{Control: control}},
		{Dialer: net.Dialer{ControlContext: func(_ context.Context, a, b string, c syscall.RawConn) error { return control(a, b, c) }}},
	} {
		rec := newRecorder()
		d.Sink = rec
		if _, err := d.Dial("tcp", l.Addr().String()); !errors.Is(err, errControl) {
			t.Errorf("Control was not called: %v", err)
		}
		rec.wantOps(t, "socket connect")
	}
	starts := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{ConnectStart: func(string, string) { starts++ }})
	c, err := (&trace.Dialer{Sink: newRecorder()}).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	check(t, "calls of the user's own trace", starts, 1)
}

// TestDialerTriesEachAddress: a name has two addresses, and at the first nobody
// listens.
func TestDialerTriesEachAddress(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t) // where all of 127.0.0.0/8 is there
	l := listen(t, "tcp", "127.0.0.2:0")
	go echo(l)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	rec := newRecorder()
	d := &trace.Dialer{Sink: rec, Dialer: net.Dialer{Resolver: resolver("\x7f\x00\x00\x01", "\x7f\x00\x00\x02")}}
	c, err := d.Dial("tcp", net.JoinHostPort("two.example.", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rec.wantOps(t, "resolve socket connect socket connect")
	all := rec.all()
	check(t, "addresses", all[0].Text, "127.0.0.1 127.0.0.2")
	check(t, "first", all[2].Remote.String(), "127.0.0.1:"+port)
	check(t, "error of the first", all[2].Err != nil, true)
	check(t, "second", all[4].Remote.String(), "127.0.0.2:"+port)
	check(t, "error of the second", all[4].Err, nil)
	if all[0].Took <= 0 || all[2].Took <= 0 || all[4].Took <= 0 {
		t.Errorf("took %v, %v and %v", all[0].Took, all[2].Took, all[4].Took)
	}
}

func TestNameThatIsNone(t *testing.T) {
	t.Parallel()
	rec := newRecorder()
	d := &trace.Dialer{Sink: rec, Dialer: net.Dialer{Resolver: resolver()}}
	if _, err := d.Dial("tcp", "none.example.:7"); err == nil {
		t.Error("no error")
	}
	rec.wantOps(t, "resolve")
	check(t, "has an error", rec.all()[0].Err != nil, true)
}

// resolver returns one that knows every name by these IPv4 addresses, or none.
func resolver(addrs ...string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go answer(server, addrs)
		return client, nil
	}}
}

// answer speaks DNS over a stream (RFC 1035 §4.2.2).
func answer(c net.Conn, addrs []string) {
	defer c.Close()
	for {
		var length uint16
		if binary.Read(c, binary.BigEndian, &length) != nil {
			return
		}
		msg := make([]byte, length)
		if _, err := io.ReadFull(c, msg); err != nil {
			return
		}
		end := 12 // of the question: the name, its type and its class
		for msg[end] != 0 {
			end += int(msg[end]) + 1
		}
		end += 5
		var known []string
		if isA := msg[end-3] == 1; isA {
			known = addrs
		}
		reply := append([]byte{msg[0], msg[1], 0x81, 0x80, 0, 1, 0, byte(len(known)), 0, 0, 0, 0}, msg[12:end]...)
		for _, a := range known {
			reply = append(reply, "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04"+a...)
		}
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
	}
}
