package ftp

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"yodel/trace"
)

// secureLogin logs in over TLS, with data over TLS too.
func (r *rig) secureLogin(cfg *tls.Config) *client {
	r.t.Helper()
	c := r.dial()
	c.secure(cfg)
	c.talk(talk{{"USER ftp", "331"}, {"PASS x", "230"}, {"TYPE I", "200"}, {"PBSZ 0", "200 PBSZ=0"}, {"PROT P", "200"}})
	return c
}

// getTLS is get over TLS.
func (c *client) getTLS(line string, cfg *tls.Config) (string, tls.ConnectionState) {
	c.t.Helper()
	nc := tls.Client(c.data(), cfg)
	c.do(line, "150")
	got, err := io.ReadAll(nc)
	if err != nil {
		c.t.Fatalf("%s: %v", line, err)
	}
	nc.Close()
	c.want("behind "+line, "226")
	return string(got), nc.ConnectionState()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	events := &recorder{}
	r := serve(t, Config{TLS: serverTLS(), AllowWrite: true, Sink: events})
	cfg := clientTLS()
	c := r.secureLogin(cfg)
	c.talk(talk{
		{"AUTH TLS", "503"},
		{"STAT", "211-yodel FTP\n Connected from 127.0.0.1:"},
		{"PROT E", "536"},
		{"PROT X", "504"},
	})
	content := pattern(1 << 20)
	nc := tls.Client(c.data(), cfg)
	c.do("STOR file", "150")
	io.WriteString(nc, content)
	nc.Close()
	c.want("behind STOR", "226")
	r.wantFile("stored over TLS", "file", content)
	got, state := c.getTLS("RETR file", cfg)
	if got != content {
		t.Errorf("retrieved over TLS: %d bytes", len(got))
	}
	if !state.DidResume {
		t.Error("the data connection can't resume the control connection's TLS session")
	}
	if got, _ := c.getTLS("NLST", cfg); got != "file\r\n" {
		t.Errorf("listed over TLS: %q", got)
	}
	c.do("PROT C", "200")
	if got := c.get("NLST"); got != "file\r\n" {
		t.Errorf("listed in plain text: %q", got)
	}
	c.do("QUIT", "221")
	c.wantEnd("behind QUIT")
	handshakes := 0
	for _, e := range events.all() {
		if e.Op == trace.Handshake && e.Err == nil && strings.HasPrefix(e.Text, "TLS 1.3 ") && !e.Conn.IsZero() {
			handshakes++
		}
	}
	if handshakes != 3 {
		t.Errorf("%d handshakes of data connections are traced, want 3", handshakes)
	}
}

// Who was logged in is a stranger after AUTH TLS, and says FEAT in plain text what there
// is.
func TestAuthStartsOver(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{TLS: serverTLS()})
	c := r.login()
	if text := c.do("FEAT", "211-"); !strings.Contains(text, "\n AUTH TLS\n") || !strings.Contains(text, "\n PBSZ\n PROT\n") {
		t.Errorf("FEAT: %s", text)
	}
	c.talk(talk{{"CWD /", "250"}, {"PROT P", "503 Say PBSZ"}, {"PBSZ 0", "503 Say AUTH"}})
	c.secure(clientTLS())
	c.talk(talk{{"PWD", "530"}, {"PROT P", "503 Say PBSZ"}, {"PBSZ 0", "200"}, {"PROT P", "200"}, {"PWD", "530"}})
}

// C4: what was sent in plain text behind AUTH TLS, in the same segment, is thrown away.
func TestCommandsBehindAuthAreThrownAway(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{TLS: serverTLS()})
	c := r.dial()
	c.raw("AUTH TLS\r\nUSER ftp\r\nPASS x\r\nNO")
	c.want("AUTH", "234")
	tc := tls.Client(c.nc, clientTLS())
	c = newClient(t, tc)
	c.send("OP")
	c.want("what came behind is not glued to it", "500")
	c.do("PWD", "530")
	c.do("PASS x", "503")
}

// A10: half a handshake costs its time and no more.
func TestHandshakesAreTimed(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{TLS: serverTLS(), HandshakeTimeout: 100 * time.Millisecond})
	c := r.dial()
	c.do("AUTH TLS", "234")
	c.wantEnd("half a handshake")

	c = r.dial()
	c.do("AUTH TLS", "234")
	c.send("USER ftp", "PASS x")
	if got, _ := io.ReadAll(c.in); strings.Contains(string(got), "230") {
		t.Errorf("what is not TLS is answered: %q", got)
	}
}

// A10: there are only so many handshakes at once.
func TestTooManyHandshakes(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{TLS: serverTLS(), MaxHandshakes: 1})
	c := r.secureLogin(clientTLS())
	other := r.dial()
	other.do("AUTH TLS", "234") // and then nothing
	r.dial().do("AUTH TLS", "431 Too many begin TLS at once")
	c.data()
	c.do("NLST", "150")
	c.want("a data connection too", "522")
}

// Passwords are not told to the whole network, by nobody's mistake and by nobody's trick:
// a client that was made to believe that there is no TLS is refused.
func TestPlainPasswords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cfg  Config
		peer net.Addr
		want string
	}{
		{"from elsewhere", Config{TLS: serverTLS()}, tcpAddr("192.0.2.1"), "530 Passwords are not taken in plain text: say AUTH TLS first."},
		{"without a certificate", Config{}, tcpAddr("192.0.2.1"), "530 Passwords are not taken in plain text, and there is no TLS here."},
		{"if that is fine", Config{PlainTextIsFine: true}, tcpAddr("192.0.2.1"), "331"},
		{"on this host", Config{}, tcpAddr("127.0.0.1"), "331"},
		{"on a Unix socket", Config{}, &net.UnixAddr{Net: "unix"}, "331"},
	} {
		c.cfg.Users, c.cfg.Root, c.cfg.Log = usersFile(t), t.TempDir(), quiet
		srv, err := New(&c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		conn := &from{half{in: strings.NewReader("USER ada\r\n")}, c.peer}
		srv.ServeConn(conn)
		if got := conn.out.String(); !strings.HasPrefix(got, "220 yodel FTP\r\n"+c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
		srv.Shutdown(t.Context())
	}
}

func tcpAddr(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 4000} }

// from is a half that comes from somewhere.
type from struct {
	half
	peer net.Addr
}

func (f *from) RemoteAddr() net.Addr { return f.peer }

// Without an address there is nothing to connect data connections to.
func TestNoDataOverUnixSockets(t *testing.T) {
	t.Parallel()
	srv, err := New(&Config{Root: t.TempDir(), Anonymous: true, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	conn := &half{in: strings.NewReader("USER ftp\r\nPASS\r\nPASV\r\nEPSV\r\nPORT 127,0,0,1,20,0\r\nSTAT\r\nSTAT /\r\nQUIT\r\n")}
	srv.ServeConn(conn)
	if got := conn.out.String(); !strings.Contains(got, "230 Welcome.\r\n425 PASV has no room") || !strings.Contains(got, "\r\n425 There are no ports") ||
		!strings.Contains(got, "\r\n501 ") || !strings.Contains(got, " Connected from this host\r\n") || !strings.HasSuffix(got, "213 End.\r\n221 Goodbye.\r\n") {
		t.Errorf("%q", got)
	}
	srv.Shutdown(t.Context())
}

// With RequireReuse a data connection must resume the TLS session of its own control
// connection, in TLS 1.2 and 1.3.
func TestRequireReuse(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{TLS: serverTLS(), RequireReuse: true})
	r.write("file", "hello")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		mine, theirs := clientTLS(), clientTLS()
		mine.MaxVersion, theirs.MaxVersion = version, version
		c, other := r.secureLogin(mine), r.secureLogin(theirs)
		if got, state := c.getTLS("RETR file", mine); got != "hello" || !state.DidResume {
			t.Errorf("%s: %q, resumed %v", tls.VersionName(version), got, state.DidResume)
		}
		if got, _ := c.getTLS("RETR file", mine); got != "hello" {
			t.Errorf("%s, once more: %q", tls.VersionName(version), got)
		}
		for name, cfg := range map[string]*tls.Config{"another's": theirs, "a new": {InsecureSkipVerify: true, MaxVersion: version}} {
			nc := tls.Client(c.data(), cfg)
			c.do("RETR file", "150")
			if got, _ := io.ReadAll(nc); len(got) > 0 {
				t.Errorf("%s, %s TLS session: %q", tls.VersionName(version), name, got)
			}
			nc.Close()
			c.want(name, "522 The data connection must resume")
		}
		other.do("NOOP", "200")
	}
}

// A control connection's TLS session is always new: what was resumed would be known
// elsewhere.
func TestControlIsNotResumed(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{TLS: serverTLS()})
	cfg := clientTLS()
	for range 2 {
		c := r.secureLogin(cfg)
		if c.nc.(*tls.Conn).ConnectionState().DidResume {
			t.Error("a TLS session of another control connection was resumed")
		}
		c.getTLS("NLST", cfg)
	}
}

// Data over TLS that is not TLS.
func TestNoTLSOnData(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{TLS: serverTLS()})
	c := r.secureLogin(clientTLS())
	nc := c.data()
	c.do("NLST", "150")
	io.WriteString(nc, "GET / HTTP/1.1\r\n\r\n")
	c.want("no TLS", "522 There is no TLS")
	nc = c.data()
	c.do("NLST", "150")
	nc.Close()
	c.want("nothing at all", "522")
}

// A file whose connection was cut below TLS is not taken for whole.
func TestTruncatedUpload(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{TLS: serverTLS(), AllowWrite: true})
	r.write("file", "old")
	c := r.secureLogin(clientTLS())
	nc := c.data()
	tc := tls.Client(nc, clientTLS())
	c.do("STOR file", "150")
	io.WriteString(tc, "the first half")
	nc.Close() // without TLS's goodbye
	c.want("cut", "426 The data connection ended without the goodbye of TLS")
	r.wantFile("the old file is there", "file", "old")
	r.wantNames("and nothing else", ".", "file")
}

// A client that does not read over TLS does not stay.
func TestStalledTLS(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{TLS: serverTLS(), MinRateAfter: 50 * time.Millisecond, MinRate: 1 << 20})
	r.big("file", 32<<20)
	c := r.secureLogin(clientTLS())
	nc := c.data()
	nc.SetReadBuffer(4 << 10)
	tc := tls.Client(nc, clientTLS())
	c.do("RETR file", "150")
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.want("nobody reads", "426 The data connection moves nothing.")
}

// Where the engine does TLS from the first byte on, data is protected without a word; if
// there are settings for that.
func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		tls  *tls.Config
		prot string
		stat string
	}{
		{"with TLS for data", serverTLS(), "200", "TLS for commands and data"},
		{"without", nil, "536", "TLS for commands, data in plain text"},
	} {
		r := serveOn(t, "127.0.0.1:0", Config{TLS: c.tls}, serverTLS())
		r.write("file", "hello")
		nc, err := tls.Dial("tcp", r.addr, clientTLS())
		if err != nil {
			t.Fatal(err)
		}
		cl := newClient(t, nc)
		cl.want("the greeting", "220")
		cl.talk(talk{{"USER ftp", "331"}, {"PASS x", "230"}})
		if text := cl.do("STAT", "211"); !strings.Contains(text, c.stat) {
			t.Errorf("%s: %s", c.name, text)
		}
		cl.do("PROT P", c.prot)
		var got string
		if c.tls != nil {
			got, _ = cl.getTLS("RETR file", clientTLS())
		} else {
			got = cl.get("RETR file")
		}
		if got != "hello" {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

// A reply that nobody takes does not keep the session.
func TestControlThatIsNotRead(t *testing.T) {
	t.Parallel()
	nc, peer := net.Pipe()
	defer peer.Close()
	c := newControl(nc, &Config{MinRateAfter: time.Millisecond, MinRate: 1 << 20})
	c.send(say(200, "x"))
	if _, err := c.readLine(0); err == nil {
		t.Error("it goes on as if the reply had been taken")
	}
	c.send(say(200, "x"))
	c.end()
	var b bytes.Buffer
	peer.SetReadDeadline(time.Now())
	if n, _ := b.ReadFrom(peer); n > 0 {
		t.Errorf("%q was written later", b.Bytes())
	}
}
