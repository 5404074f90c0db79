package engine

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"

	"yodel"
)

var quiet = slog.New(slog.DiscardHandler)

func TestUnfitService(t *testing.T) {
	for _, svc := range []any{nil, 7, struct{}{}} {
		if _, err := NewBlocking(svc, nil, nil); !errors.Is(err, ErrUnfit) {
			t.Errorf("%v: %v", svc, err)
		}
	}
	for want, svc := range map[Form]any{
		SessionForm: stepFunc(echo), ConnForm: connFunc(nil), ListenerForm: listenerFunc(nil), NoForm: 7,
	} {
		if got := FormOf(svc); got != want {
			t.Errorf("%T has form %d, want %d", svc, got, want)
		}
	}
	if b, err := NewBlocking(stepFunc(echo), nil, nil); err != nil || b.Close() != nil {
		t.Errorf("with the defaults: %v", err)
	}
}

func TestReasonOf(t *testing.T) {
	for err, want := range map[error]Reason{
		io.ErrUnexpectedEOF: Reset, io.ErrClosedPipe: Reset, os.ErrDeadlineExceeded: Vanished,
		&yodel.PeerError{Msg: "rude"}: PeerMistake,
		errors.New("anything else"):   Fault,
	} {
		if got := ReasonOf(fmt.Errorf("read: %w", err)); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

type fakeConn struct {
	net.Conn
	local, remote net.Addr
}

func (c fakeConn) LocalAddr() net.Addr  { return c.local }
func (c fakeConn) RemoteAddr() net.Addr { return c.remote }

func TestPeerOf(t *testing.T) {
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	for _, tt := range []struct {
		local, remote net.Addr
		want          string
	}{
		{tcp("192.0.2.1:7"), tcp("192.0.2.2:1000"), "tcp 192.0.2.1:7 192.0.2.2:1000 "},
		{tcp("[::ffff:192.0.2.1]:7"), tcp("[::ffff:192.0.2.2]:1000"), "tcp 192.0.2.1:7 192.0.2.2:1000 "},
		{&net.UnixAddr{Name: "/run/s", Net: "unix"}, &net.UnixAddr{Net: "unix"}, "unix invalid AddrPort invalid AddrPort /run/s"},
		{&net.UnixAddr{Name: "@", Net: "unix"}, &net.UnixAddr{Name: "@", Net: "unix"}, "unix invalid AddrPort invalid AddrPort "},
		{named("tcp4"), nil, "tcp invalid AddrPort invalid AddrPort "},
		{named("udp6"), nil, "udp invalid AddrPort invalid AddrPort "},
		{named("memory"), named("memory"), "memory invalid AddrPort invalid AddrPort "},
		{nil, nil, " invalid AddrPort invalid AddrPort "},
	} {
		p := PeerOf(fakeConn{local: tt.local, remote: tt.remote})
		if got := fmt.Sprint(p.Network, p.Local, p.Remote, p.Path); got != tt.want {
			got = fmt.Sprintf("%s %v %v %s", p.Network, p.Local, p.Remote, p.Path)
			if got != tt.want {
				t.Errorf("%v from %v: %q, want %q", tt.local, tt.remote, got, tt.want)
			}
		}
	}
}

// named is the address of some kind of network.
type named string

func (n named) Network() string { return string(n) }
func (named) String() string    { return "somewhere" }
