package sock

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"yodel/trace"
)

// What Dial sends in front of all else is what a server behind a proxy reads there: with
// the connection's own addresses, or as somebody else's proxy, and below TLS.
func TestDialIntroducesItself(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what, listen string
		source       string // "" for the real one
		want         string // of the pair, "%" for the connection's own
	}{
		{"itself", "127.0.0.1:0", "", "%"},
		{"itself over IPv6", "[::1]:0", "", "%"},
		{"another", "127.0.0.1:0", "192.0.2.1:51213", "192.0.2.1:51213"},
		{"another over IPv6", "[::1]:0", "[2001:db8::1]:51213", "[2001:db8::1]:51213"},
		{"another whose address is mapped", "127.0.0.1:0", "[::ffff:192.0.2.1]:51213", "192.0.2.1:51213"},
		{"below TLS", "tls://127.0.0.1:0", "192.0.2.1:51213", "192.0.2.1:51213"},
		{"over a Unix socket, without addresses", "tmp:s", "", ""},
	} {
		for version := 1; version <= 2; version++ {
			t.Run(tt.what, func(t *testing.T) {
				t.Parallel()
				l := listenOn(t, tt.listen, nil)
				var rec recorder
				opts := &Options{ProxyHeader: version, Sink: &rec}
				if tt.source != "" {
					opts.ProxySource = netip.MustParseAddrPort(tt.source)
				}
				if l.Network() == "tls" {
					opts.TLS, _ = PinConfig(l.Fingerprint())
				}
				told := make(chan Pair, 1)
				go behindHeader(t, l, told)
				c := dial(t, l.Address(), opts)
				say(t, c, "hello there\n")
				want := c.Pair()
				if tt.want != "%" {
					want.Client, _ = netip.ParseAddrPort(tt.want)
				}
				if got := <-told; got != want {
					t.Errorf("the header tells of %v, want %v", got, want)
				}
				if in, out := c.Sums(); in != 12 || out != 12 {
					t.Errorf("%d bytes in and %d out: the header is none of the payload", in, out)
				}
				events := ops(rec.of(c.ID()))
				if !strings.HasPrefix(events, "socket connect note ") || tt.what == "below TLS" && !strings.HasPrefix(events, "socket connect note handshake ") {
					t.Errorf("events: %s", events)
				}
			})
		}
	}
}

// behindHeader serves echo to one client, behind a PROXY header, whose pair goes to
// told.
func behindHeader(t *testing.T, l *Listener, told chan<- Pair) {
	c, err := l.AcceptConn()
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	pair, err := ReadProxyHeader(c.NetConn())
	if err != nil {
		t.Error(err)
	}
	told <- pair
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		t.Error(err)
	}
	c.Write(buf[:n])
	c.CloseWrite()
	c.Read(buf)
}

func TestDialCannotIntroduceItself(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what, listen string
		opts         Options
		want         string
	}{
		{"over UDP", "", Options{ProxyHeader: 2}, "PROXY header: datagrams have none"},
		{"a version to come", "127.0.0.1:0", Options{ProxyHeader: 3}, "PROXY header: the PROXY protocol has versions 1 and 2, not 3"},
		{"over a Unix socket", "tmp:s", Options{ProxyHeader: 1, ProxySource: netip.MustParseAddrPort("192.0.2.1:7")}, "192.0.2.1:7 can't have called a Unix socket"},
		{"of the other IP", "127.0.0.1:0", Options{ProxyHeader: 1, ProxySource: netip.MustParseAddrPort("[2001:db8::1]:7")}, "give a source of the same version of IP"},
	} {
		to := mustParse(t, "udp://127.0.0.1:9")
		if tt.listen != "" {
			to = listenOn(t, tt.listen, nil).Address()
		}
		var rec recorder
		tt.opts.Sink = &rec
		_, err := Dial(t.Context(), to, &tt.opts)
		if !isA[*ConnectError](err) || !strings.HasPrefix(err.Error(), "connect to ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.what, err, tt.want)
		}
		all := rec.all()
		if last := all[len(all)-1]; last.Op != trace.Close || last.Text != "PROXY header not sent" {
			t.Errorf("%s: the last event is %+v", tt.what, last)
		}
	}
}

// A peer that is gone when the header is sent.
func TestIntroduceToNobody(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "127.0.0.1:0", nil)
	c := dial(t, l.Address(), nil)
	c.raw.Close()
	d := &dialing{opening: opening{addr: l.Address(), opts: &Options{ProxyHeader: 2}}}
	err := d.introduce(c)
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if got := d.notIntroduced(c.raw, err).Error(); !strings.Contains(got, "PROXY header: ") {
		t.Error(got)
	}
}
