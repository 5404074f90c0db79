package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel/sock"
	"yodel/trace"
	"yodel/yodeltest"
)

// proxies are the networks from which these tests' proxies come.
const proxies = "--proxy-from=127.0.0.0/8"

// haproxy starts haproxy in front of the server at to and returns where it listens. bind
// and server are options of those lines of its configuration.
func haproxy(t *testing.T, bind, to, server string) string {
	t.Helper()
	program := yodeltest.NeedProgram(t, "haproxy")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	conf := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := fmt.Sprintf(`defaults
  mode tcp
  timeout connect 30s
  timeout client 30s
  timeout server 30s
listen front
  bind fd@3 %s
  server behind %s %s
`, bind, to, server)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &started{cmd: command(program, "-db", "-q", "-f", conf)}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = &p.out, &p.err, []*os.File{socket}
	p.begin(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("haproxy has said %q", &p.err)
		}
	})
	return l.Addr().String()
}

var clientOfPair = regexp.MustCompile(`Socket pair \((\S+), `)

// verifyBy lets yodel call check what upper answers, and returns the address from which
// it has called.
func verifyBy(t *testing.T, args ...string) (client string) {
	t.Helper()
	r := runYodel(t, "hello\n", append([]string{"call", "--verify", "--upper"}, args...)...)
	wantStatus(t, r, 0, "6 bytes sent, 6 came back right")
	m := clientOfPair.FindStringSubmatch(r.err)
	if m == nil {
		t.Fatalf("no socket pair in %q", r.err)
	}
	return m[1]
}

// The story of a call through a proxy that tells whose it is has both programs: the
// server's trace is about the client's sockets.
func TestStoryBehindHAProxy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "client.jsonl"), filepath.Join(dir, "server.jsonl")
	s := serve(t, proxies, "--trace="+theirs, "upper@127.0.0.1:0")
	verifyBy(t, "--trace="+ours, haproxy(t, "", s.at[0].Address, "send-proxy-v2"))
	s.stop(t)
	r := runYodel(t, "", "story", ours, theirs)
	wantStatus(t, r, 0)
	for _, want := range []string{"both ends", "connect()", "accept() = ", "by way of 127.0.0.1:"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
}

// A11: behind the real haproxy, log, trace and metrics are about the client, over TCP
// and TLS, with both versions of the header.
func TestServeBehindHAProxy(t *testing.T) {
	t.Parallel()
	yodeltest.NeedProgram(t, "haproxy")
	for _, option := range []string{"send-proxy", "send-proxy-v2"} {
		t.Run(option, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "trace.jsonl")
			s := serve(t, proxies, "--deny=127.0.0.6", "--admin=127.0.0.1:0", "--trace="+file, "upper@127.0.0.1:0", "upper@tls://127.0.0.1:0")
			clients := s.callThrough(t, haproxy(t, "", s.at[0].Address, option), haproxy(t, "", s.at[1].Address, option))
			for _, e := range s.events(t, trace.Accept) {
				if clients[e.Remote.String()] != e.Network || !strings.HasPrefix(e.Text, "by way of 127.0.0.1:") {
					t.Errorf("in the log: %+v", e)
				}
			}
			wantMetrics(t, s.listens(t, 2),
				`yodel_connections_accepted_total{service="upper",transport="tcp"} 2`,
				`yodel_connections_accepted_total{service="upper",transport="tls"} 1`,
				`yodel_connections_ended_total{result="address denied",service="upper",transport="tcp"} 1`,
				`yodel_bytes_total{direction="in",service="upper",transport="tcp"} 6`, // the header is none of them
				`yodel_bytes_total{direction="in",service="upper",transport="tls"} 6`,
			)
			s.stop(t)
			var ops []trace.Op // of events that have addresses
			for e := range traceFileEvents(t, file) {
				if e.Service == "" || e.Op == trace.Refuse || !e.Remote.IsValid() {
					continue
				}
				if ops = append(ops, e.Op); clients[e.Remote.String()] != e.Network {
					t.Errorf("in the trace: %+v", e)
				}
			}
			if want := []trace.Op{trace.Accept, trace.Close, trace.Accept, trace.Handshake, trace.Close}; !slices.Equal(ops, want) {
				t.Errorf("the trace has %q, want %q", ops, want)
			}
		})
	}
}

// callThrough calls by way of proxies for TCP and TLS, and returns whence, and by which
// transport. A client that is denied is not served, though its proxy is not denied.
func (s *running) callThrough(t *testing.T, plain, secure string) (clients map[string]string) {
	t.Helper()
	clients = map[string]string{
		verifyBy(t, "--source=127.0.0.5", plain):                                         "tcp",
		verifyBy(t, "--source=127.0.0.7", "--pin="+s.at[1].Fingerprint, "tls://"+secure): "tls",
	}
	if r := runYodel(t, "hello\n", "call", "--verify", "--upper", "--source=127.0.0.6", plain); r.status == 0 {
		t.Error("a client that is denied was served")
	}
	s.await(t, &s.out, `"type":"refuse".*"remote":"127\.0\.0\.6:\d+".*"address denied"`)
	for client := range clients {
		s.await(t, &s.out, `"type":"close".*"remote":"`+client+`"`)
	}
	return clients
}

// wantMetrics wants these lines on the admin listener's page.
func wantMetrics(t *testing.T, admin listening, lines ...string) {
	t.Helper()
	_, metrics := get(t, admin, "/metrics")
	for _, want := range lines {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
}

// What people read names the client too.
func TestServeBehindHAProxyToPeople(t *testing.T) {
	t.Parallel()
	yodeltest.NeedProgram(t, "haproxy")
	s := start(t, program(t), "serve", proxies, "upper@127.0.0.1:0")
	at := s.await(t, &s.out, `upper listening on (\S+), engine`)[1]
	client := verifyBy(t, "--source=127.0.0.5", haproxy(t, "", at, "send-proxy-v2"))
	host, port, _ := net.SplitHostPort(client)
	s.await(t, &s.out, ` upper connected from `+host+`, port `+port+`\n`)
}

// A11: yodel call as the proxy, on every transport and engine.
func TestCallAsAProxy(t *testing.T) {
	t.Parallel()
	for _, row := range engines {
		if row.loops {
			continue // they read no PROXY headers
		}
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if row.probe != nil && row.probe() != nil {
				yodeltest.Skip(t, row.probe().Error(), "run it where yodel engines shows the engine")
			}
			s := serve(t, proxies, "--engine="+row.name, "upper@127.0.0.1:0", "upper@tls://127.0.0.1:0", "upper@unix:"+filepath.Join(t.TempDir(), "s"))
			pin := "--pin=" + s.at[1].Fingerprint
			for _, version := range []string{"--proxy", "--proxy=v1", "--proxy=v2"} {
				client := verifyBy(t, version, "--source=127.0.0.5", s.address(0))
				s.await(t, &s.out, `"type":"accept".*"network":"tcp".*"remote":"`+client+`"`)
				client = verifyBy(t, version, "--source=127.0.0.5", pin, s.address(1))
				s.await(t, &s.out, `"type":"accept".*"network":"tls".*"remote":"`+client+`"`)
				wantStatus(t, runYodel(t, "hello\n", "call", "--verify", "--upper", version, s.address(2)), 0)
			}
			verifyBy(t, "--proxy", "--proxy-source=192.0.2.1:51213", s.address(0))
			s.await(t, &s.out, `"type":"accept".*"local":"127\.0\.0\.1:`+s.port(0)+`","remote":"192\.0\.2\.1:51213"`)
			verifyBy(t, "--proxy=v1", "--proxy-source=192.0.2.2:51213", pin, s.address(1))
			s.await(t, &s.out, `"type":"close".*"remote":"192\.0\.2\.2:51213"`)
		})
	}
}

// The header that yodel call sends is one for the real haproxy, which tells it to the
// server in turn.
func TestCallThroughHAProxy(t *testing.T) {
	t.Parallel()
	yodeltest.NeedProgram(t, "haproxy")
	s := serve(t, proxies, "upper@127.0.0.1:0", "upper@tls://127.0.0.1:0")
	plain := haproxy(t, "accept-proxy", s.at[0].Address, "send-proxy-v2")
	secure := haproxy(t, "accept-proxy", s.at[1].Address, "send-proxy")
	for i, version := range []string{"--proxy=v1", "--proxy=v2"} {
		client := fmt.Sprintf("192.0.2.%d:51213", i+1)
		verifyBy(t, version, "--proxy-source="+client, plain)
		s.await(t, &s.out, `"type":"close".*"network":"tcp".*"remote":"`+client+`"`)
		verifyBy(t, version, "--proxy-source="+client, "--pin="+s.at[1].Fingerprint, "tls://"+secure)
		s.await(t, &s.out, `"type":"close".*"network":"tls".*"remote":"`+client+`"`)
	}
	r := runYodel(t, "hello\n", "call", "--verify", "--upper", plain) // without a header haproxy waits for one, or hangs up
	if r.status == 0 {
		t.Errorf("haproxy takes a call without a header: %+v", r)
	}
}

func TestInsideProxy(t *testing.T) {
	s := serveInside(t, proxies, "upper@127.0.0.1:0")
	wantInside(t, "hello\n", 0, "HELLO\n", "", "call", "--proxy", s.address(0))
	wantInside(t, "hello\n", 0, "HELLO\n", "", "call", "--proxy=v1", "--proxy-source=192.0.2.1:51213", s.address(0))
	wantInside(t, "hello\n", 1, "", "give a source of the same version of IP", "call", "--proxy", "--proxy-source=[2001:db8::1]:7", s.address(0))
	s.await(t, &s.out, `"type":"close".*"remote":"192\.0\.2\.1:51213"`)
	for want, args := range map[string][]string{
		"has the versions v1 and v2": {"--proxy=v3", "localhost:7"},
		"UDP makes none":             {"--proxy", "udp://localhost:7"},
		"give both":                  {"--proxy-source=192.0.2.1:7", "localhost:7"},
		"write an IP address":        {"--proxy", "--proxy-source=x", "localhost:7"},
	} {
		wantInside(t, "", 2, "", want, append([]string{"call"}, args...)...)
	}
}

// header returns a PROXY header of a client at 192.0.2.1.
func header(t *testing.T, version int) string {
	t.Helper()
	head, err := sock.ProxyHeader(version, sock.Pair{
		Client: netip.MustParseAddrPort("192.0.2.1:51213"), Server: netip.MustParseAddrPort("198.51.100.7:80"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(head)
}

// A11: what is no header, or not from a proxy that is known, is refused and not
// guessed; where none is expected a header is input like another.
func TestServeBelievesNoOther(t *testing.T) {
	t.Parallel()
	s := serve(t, "--proxy-from=127.0.0.1", "upper@127.0.0.1:0", "upper@tls://127.0.0.1:0")
	v1, v2 := header(t, 1), header(t, 2)
	for _, tt := range []struct{ what, from, send, why string }{
		{"from another network", "127.0.0.9", v2, "address denied"},
		{"none", "127.0.0.1", "hello, whoever you are\n", "no PROXY header"},
		{"a v1 line without an end", "127.0.0.1", "PROXY TCP4 192.0.2.1 " + strings.Repeat("1", 200), "no PROXY header"},
		{"a v1 line of 108 bytes", "127.0.0.1", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", "no PROXY header"},
		{"a v1 line that ends in LF alone", "127.0.0.1", strings.Replace(v1, "\r\n", "\n", 1), "no PROXY header"},
		{"a v2 length beyond the bound", "127.0.0.1", v2[:14] + "\xff\xff" + strings.Repeat("x", 5000), "no PROXY header"},
		{"a v2 length too short for its addresses", "127.0.0.1", v2[:14] + "\x00\x04" + v2[16:], "no PROXY header"},
		{"half of one", "127.0.0.1", v2[:20], "no PROXY header"}, // for 3 s
		{"nothing", "127.0.0.1", "", "no PROXY header"},          // for 3 s
	} {
		for service, network := range []string{"tcp", "tls"} {
			t.Run(tt.what+"/"+network, func(t *testing.T) {
				t.Parallel()
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(tt.from)}, Timeout: patience}
				c, err := d.Dial("tcp", s.at[service].Address)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				io.WriteString(c, tt.send)
				if got, err := io.ReadAll(c); len(got) > 0 || err != nil && !isReset(err) {
					t.Errorf("it says %q, %v", got, err)
				}
				s.await(t, &s.out, `"type":"refuse".*"network":"`+network+`".*"remote":"`+c.LocalAddr().String()+`".*"text":"`+tt.why+`"`)
			})
		}
	}
	t.Run("where none is expected", func(t *testing.T) {
		t.Parallel()
		s := serve(t, "upper@127.0.0.1:0")
		c := s.dial(t, 0)
		ask(t, c, v1, strings.ToUpper(v1))
		s.await(t, &s.out, `"type":"accept".*"remote":"`+c.LocalAddr().String()+`"`)
	})
}
