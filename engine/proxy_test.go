package engine

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"yodel"
	"yodel/sock"
	"yodel/trace"
)

// whoService tells its peer who it is.
type whoService struct{}

func (whoService) Open(p yodel.Peer) yodel.Session {
	return stepFunc(func(_ yodel.Input, out *yodel.Out) (int, error) {
		out.WriteString(p.Remote.String() + " called " + p.Local.String())
		return 0, io.EOF
	})
}

// whoDoor does the same on the connection door.
type whoDoor struct{}

func (whoDoor) ServeConn(nc net.Conn) {
	io.WriteString(nc, nc.RemoteAddr().String()+" called "+nc.LocalAddr().String())
}

// behindProxy serves svc with cfg, sends what a proxy sends, and returns what came
// back and all events.
func behindProxy(t *testing.T, svc any, cfg Config, send string) (string, []trace.Event, Stats) {
	t.Helper()
	events := make(chan trace.Event, 100)
	cfg.Sink = trace.Func(func(e *trace.Event) { events <- *e })
	cfg.Linger = -1
	b, err := NewBlocking(svc, &cfg, func(serve func()) { go serve() })
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go b.Serve(l)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, send)
	got, _ := io.ReadAll(bufio.NewReader(c))
	b.Close()
	close(events)
	var all []trace.Event
	for e := range events {
		all = append(all, e)
	}
	return string(got), all, b.Stats()
}

func header(t *testing.T, version int, client string) string {
	t.Helper()
	head, err := sock.ProxyHeader(version, sock.Pair{
		Client: netip.MustParseAddrPort(client), Server: netip.MustParseAddrPort("198.51.100.7:80"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(head)
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// A11: behind a proxy that is believed, service, events and limits are about the
// client.
func TestProxyTellsTheClient(t *testing.T) {
	for version := 1; version <= 2; version++ {
		for name, svc := range map[string]any{"session": whoService{}, "door": whoDoor{}} {
			got, events, _ := behindProxy(t, svc, Config{ProxyFrom: loopback}, header(t, version, "192.0.2.1:51213"))
			if want := "192.0.2.1:51213 called 198.51.100.7:80"; got != want {
				t.Errorf("version %d, %s: %q, want %q", version, name, got, want)
			}
			if e := events[0]; e.Op != trace.Accept || e.Remote.String() != "192.0.2.1:51213" || e.Text == "" {
				t.Errorf("version %d, %s: the first event is %+v", version, name, e)
			}
		}
	}
}

// A11: a header is never guessed, and believed only from proxies that are known.
func TestProxyThatIsNotBelieved(t *testing.T) {
	elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, tt := range []struct {
		what string
		cfg  Config
		send string
		why  Reason
	}{
		{"from an unknown network", Config{ProxyFrom: elsewhere}, header(t, 1, "192.0.2.1:1000"), Denied},
		{"an empty list believes nobody", Config{ProxyFrom: []netip.Prefix{}}, header(t, 1, "192.0.2.1:1000"), Denied},
		{"no header", Config{ProxyFrom: loopback}, "GET / HTTP/1.1\r\n\r\n", NoProxyHeader},
		{"half a header", Config{ProxyFrom: loopback, ProxyTimeout: 10 * time.Millisecond}, "PROXY TCP4 192.0.2.1", NoProxyHeader},
		{"nothing", Config{ProxyFrom: loopback, ProxyTimeout: 10 * time.Millisecond}, "", NoProxyHeader},
		{"a client that is denied", Config{
			ProxyFrom: loopback, Gate: NewGate(&GateConfig{Deny: elsewhere}),
		}, header(t, 2, "192.0.2.1:1000"), Denied},
		{"a client from a port that is refused", Config{ProxyFrom: loopback, RefuseFrom: []uint16{20}}, header(t, 2, "192.0.2.1:20"), BouncePort},
	} {
		got, events, stats := behindProxy(t, whoService{}, tt.cfg, tt.send)
		if got != "" || stats.Ended[tt.why] != 1 || stats.Active != 0 || len(events) != 1 || events[0].Op != trace.Refuse || events[0].Text != tt.why.String() {
			t.Errorf("%s: answered %q, ended %v, events %+v", tt.what, got, stats.Ended, events)
		}
	}
	got, _, _ := behindProxy(t, stepFunc(line), Config{Idle: 50 * time.Millisecond}, header(t, 1, "192.0.2.1:1000"))
	if want := "<" + header(t, 1, "192.0.2.1:1000"); got != want[:len(want)-1]+">" {
		t.Errorf("where no proxy is expected its header is input: %q", got)
	}
}

// A proxy that speaks for itself, to see whether we are well, is served as itself.
func TestProxyForItself(t *testing.T) {
	head, _ := sock.ProxyHeader(2, sock.Pair{})
	got, events, _ := behindProxy(t, stepFunc(echo), Config{ProxyFrom: loopback, Idle: 50 * time.Millisecond}, string(head)+"hello")
	if got != "hello" || !events[0].Remote.Addr().IsLoopback() {
		t.Errorf("%q, %+v", got, events[0])
	}
}

// Clients behind one proxy are counted by their own addresses.
func TestProxyPerAddress(t *testing.T) {
	gate := NewGate(&GateConfig{MaxPerIP: 1})
	other, _ := gate.Enter(netip.MustParseAddrPort("192.0.2.1:999"))
	got, _, stats := behindProxy(t, whoService{}, Config{ProxyFrom: loopback, Gate: gate}, header(t, 1, "192.0.2.1:1000"))
	if got != "" || stats.Ended[PerAddress] != 1 {
		t.Errorf("%q, %v", got, stats.Ended)
	}
	other.Leave()
	if got, _, _ := behindProxy(t, whoService{}, Config{ProxyFrom: loopback, Gate: gate}, header(t, 1, "192.0.2.1:1000")); got == "" {
		t.Error("not served when the other has left")
	}
	if gate.Conns() != 0 {
		t.Errorf("%d are still counted", gate.Conns())
	}
}
