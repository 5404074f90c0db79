package ftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"yodel/yodeltest"
)

// C1: nobody else is called, and no server.
func TestBounce(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{})
	r.write("file", "hello")
	c := r.login()
	c.talk(talk{
		{"PORT 127,0,0,2,20,0", "501 A data connection goes to your own address only."},
		{"EPRT |1|127.0.0.2|5120|", "501"},
		{"EPRT |2|::1|5120|", "501"},
		{"EPRT |2|::ffff:127.0.0.2|5120|", "501"},
		{"PORT 127,0,0,1,0,25", "504 A data connection goes to ports from 1024 on only."},
		{"EPRT |1|127.0.0.1|1023|", "504"},
		{"PORT 127,0,0,1,0,0", "504"},
		{"RETR file", "425"},
	})
}

// C2: whoever comes to the data port from elsewhere gets nothing, and the client learns
// of it.
func TestStolenDataConnection(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{
		Listen: func(_ context.Context, at netip.AddrPort) (net.Listener, error) {
			return net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", at.Port()))
		},
	})
	r.write("file", "hello")
	c := r.login()
	_, port, _ := net.SplitHostPort(c.passive())
	thief := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}}
	nc, err := thief.Dial("tcp4", "127.0.0.1:"+port)
	if err != nil {
		yodeltest.Skip(t, err.Error(), "run it where all of 127.0.0.0/8 is this host: on Linux, or with 127.0.0.3 added to the loopback interface")
	}
	defer nc.Close()
	c.do("RETR file", "150")
	c.want("stolen", "425 Somebody else has come to the data port.")
	if got, _ := io.ReadAll(nc); len(got) > 0 {
		t.Errorf("the thief got %q", got)
	}
	c.do("RETR file", "425 Say PASV")
	if got := c.get("RETR file"); got != "hello" {
		t.Errorf("at the second try: %q", got)
	}
}

// C3: names that lead out lead nowhere.
func TestNamesThatLeadOut(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	r.write("in/file", "hello")
	outside := t.TempDir()
	if err := os.WriteFile(outside+"/secret", []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	link(t, outside, r.path("out"))
	link(t, outside+"/secret", r.path("secret"))
	link(t, "../../../../../../../.."+outside, r.path("in/up"))
	link(t, "file", r.path("in/inside"))
	link(t, ".", r.path("loop"))
	link(t, "none", r.path("dangling"))
	c := r.login()
	c.do("TYPE I", "200")
	for _, name := range []string{
		"../secret", "/../../secret", "out/secret", "out/../out/secret", "secret", "secret/", "in/up/secret", "./out//secret", "dangling",
		`..\secret`, `in\..\..\secret`, "secret\x00", "in/file\x00.txt", "\x00", "in/file/", "in/file/.",
		"/proc/self/environ", "/etc/passwd", strings.Repeat("a", 300), strings.Repeat("a/", 2000) + "b",
	} {
		for _, verb := range []string{"RETR", "SIZE", "MDTM", "CWD", "RMD", "LIST"} {
			if name == "in/file/" || name == "in/file/." { // that is the file
				continue
			}
			if r := c.do(verb+" "+name, "55"); strings.Contains(r, outside) {
				t.Errorf("%s %s tells where that is: %s", verb, name, r)
			}
		}
	}
	for _, name := range []string{"out/new", "in/up/new", "out", "secret", "in/inside", "in", "/", "in/file/new", "none/new", "new\x00", `..\new`, strings.Repeat("a", 300)} {
		c.passive()
		for _, verb := range []string{"STOR", "APPE"} {
			c.do(verb+" "+name, "55")
		}
	}
	c.talk(talk{
		{"RNFR in/file", "350"},
		{"RNTO out/file", "550"},
		{"RNFR out/secret", "550"},
		{"MKD out/new", "550"},
		{"MFMT 20200102030405 secret", "553"},
		{"MFMT 20200102030405 out/secret", "550"},
		{"DELE secret", "250"}, // the link, and not what it leads to
	})
	if got := c.get("RETR in/inside"); got != "hello" {
		t.Errorf("a link inside leads to %q", got)
	}
	if got, err := os.ReadFile(outside + "/secret"); string(got) != "secret" {
		t.Errorf("the secret is %q, %v", got, err)
	}
	if list, _ := os.ReadDir(outside); len(list) != 1 {
		t.Errorf("outside there are %v", list)
	}
	r.wantFile("inside all is as it was", "in/file", "hello")

	got := c.get("LIST")
	if !strings.Contains(got, " out -> ?\r\n") || !strings.Contains(got, " loop -> .\r\n") || strings.Contains(got, outside) {
		t.Errorf("LIST: %q", got)
	}
	if got := c.get("MLSD"); !strings.Contains(got, "type=OS.unix=symlink;") || strings.Contains(got, outside) {
		t.Errorf("MLSD: %q", got)
	}
}

// link makes a symbolic link, or skips the test where that needs a privilege.
func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		yodeltest.Skip(t, err.Error(), "run it as a user who may make symbolic links")
	}
}

// C3: while somebody replaces a folder by a link that leads out, nothing outside is ever
// read or written.
func TestRenameRace(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	r.write("real/file", "inside")
	outside := t.TempDir()
	os.WriteFile(outside+"/file", []byte("outside"), 0o644)
	link(t, outside, r.path("evil"))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			os.Rename(r.path("real"), r.path("folder"))
			os.Rename(r.path("folder"), r.path("real"))
			os.Rename(r.path("evil"), r.path("folder"))
			os.Rename(r.path("folder"), r.path("evil"))
		}
	}()
	c := r.login()
	read, stored := 0, 0
	for range 200 {
		c.do("TYPE I", "200")
		nc := c.data()
		c.send("RETR folder/file")
		if strings.HasPrefix(c.reply(), "150") {
			read++
			if got, _ := io.ReadAll(nc); string(got) != "inside" && string(got) != "new" {
				t.Fatalf("what is read is %q", got)
			}
			nc.Close()
			c.want("behind RETR", "226")
		}
		nc = c.data()
		c.send("STOR folder/file")
		if strings.HasPrefix(c.reply(), "150") {
			stored++
			io.WriteString(nc, "new")
			nc.Close()
			c.want("behind STOR", "226")
		}
		nc.Close()
	}
	close(stop)
	<-done
	if list, _ := os.ReadDir(outside); len(list) != 1 {
		t.Errorf("outside there are %v", list)
	}
	if got, _ := os.ReadFile(outside + "/file"); string(got) != "outside" {
		t.Errorf("outside there is %q", got)
	}
	t.Logf("%d of 200 were read, %d stored", read, stored)
}

// Names that can't be said on a line are not listed, and can't be used; that there are
// some is told.
func TestNamesThatCanNotBeSaid(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{})
	for _, name := range []string{"a\r\nb", "\x1b[2J", "good"} {
		if err := os.WriteFile(r.path(name), nil, 0o644); err != nil {
			yodeltest.Skip(t, err.Error(), "run it where names of files may have control characters: on Linux or macOS")
		}
	}
	r.write(TempPrefix+"x", "half")
	c := r.login()
	for _, verb := range []string{"NLST", "MLSD", "LIST"} {
		nc := c.data()
		c.do(verb, "150")
		got, _ := io.ReadAll(nc)
		nc.Close()
		if strings.Count(string(got), "\r\n") != 1 || !strings.HasSuffix(string(got), "good\r\n") {
			t.Errorf("%s: %q", verb, got)
		}
		c.want(verb, fmt.Sprintf("226 Done: %d bytes, without 2 names that can't be said.", len(got)))
	}
	nc := c.data()
	c.do("NLST a*", "150")
	nc.Close()
	c.want("one name", "226 Done: 0 bytes, without 1 name that can't be said.")
	c.do("RETR "+TempPrefix+"x", "550")
	c.do("RETR \x1b[2J", "550")
}

// C5: a pattern costs no more than looking at each name once.
func TestGlobBomb(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{})
	for i := range 100 {
		r.write(strings.Repeat("a", 200)+fmt.Sprint(i), "")
	}
	c := r.login()
	for _, p := range []string{strings.Repeat("a*", 2000) + "b", strings.Repeat("*", 4000), strings.Repeat("?*", 1000), "{" + strings.Repeat("a,", 2000) + "}*", "*/*/*/*/../../../*"} {
		c.send("NLST " + p)
		if r := c.reply(); !strings.HasPrefix(r, "425") && !strings.HasPrefix(r, "550") {
			t.Errorf("%s: %q", brief([]byte(p)), r)
		}
		c.do("STAT "+p, "")
	}
}

// A7: a line without an end is refused once, and what came before it is answered.
func TestLongLine(t *testing.T) {
	t.Parallel()
	c := serve(t, Config{LineMax: 512}).dial()
	c.raw("NOOP\r\nUSER " + strings.Repeat("A", 600))
	c.want("the command in front", "200")
	c.want("the long line", "500 The line is too long.")
	c.raw(strings.Repeat("B", 100_000) + "\r\nNOOP\r\n")
	c.want("the command behind", "200")
}

// A browser that was made to talk to us is not listened to.
func TestHTTP(t *testing.T) {
	t.Parallel()
	c := serve(t, Config{}).dial()
	c.send("POST / HTTP/1.1", "Host: x", "", "USER ftp", "PASS x")
	c.want("HTTP", "421 This is FTP.")
	c.wantEnd("and no more")
}

func TestTooManyMistakes(t *testing.T) {
	t.Parallel()
	c := serve(t, Config{}).dial()
	for range maxMistakes - 1 {
		c.do("NONE", "500")
	}
	c.do("NONE", "421 Too many mistakes.")
	c.wantEnd("behind 421")
}

func TestTooManyOptions(t *testing.T) {
	t.Parallel()
	c := serve(t, Config{}).dial()
	c.raw(strings.Repeat("\xff\xfd\x01", maxOptions+1))
	io.ReadFull(c.in, make([]byte, 3*maxOptions))
	c.want("too many", "421")
}

// C5 and A5: a client that does not read, or sends nothing, does not stay.
func TestStalledTransfers(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true, MinRateAfter: 50 * time.Millisecond, MinRate: 100_000})
	r.big("file", 32<<20)
	c := r.login()
	for _, kind := range []string{"TYPE I", "TYPE A"} {
		c.do(kind, "200")
		nc := c.data()
		nc.SetReadBuffer(4 << 10)
		c.do("RETR file", "150")
		c.want("nobody reads", "426 The data connection moves nothing.")
		nc.Close()
	}
	c.do("TYPE I", "200")
	for _, half := range []string{"half", pattern(3 << 20)} {
		nc := c.data()
		c.do("STOR new", "150")
		io.WriteString(nc, half)
		c.want("nothing comes", "426 The data connection moves nothing.")
		nc.Close()
		r.wantNames("nothing half is left", ".", "file")
	}
}

// An upload that was fast, and stalls with few bytes left over, is not taken for slow
// before these have been read.
func TestStallInABatch(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	d := &data{srv: r.srv, raw: nc, conn: nc, pace: pace{rate: 1, span: 50 * time.Millisecond}, moved: new(atomic.Int64)}
	d.batch()
	io.WriteString(peer, "1234567890")
	buf := make([]byte, 100)
	if n, err := d.Read(buf); string(buf[:n]) != "1234567890" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
	io.WriteString(peer, "x")
	if n, err := d.Read(buf); string(buf[:n]) != "x" || err != nil {
		t.Errorf("then %q, %v", buf[:n], err)
	}
	if _, err := d.Read(buf); err != errStalled {
		t.Errorf("at last %v", err)
	}
}

// A reset is no end of a file, and neither is an ABOR.
func TestResetUpload(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	r.write("file", "old")
	c := r.login()
	for _, kind := range []string{"TYPE I", "TYPE A"} {
		c.do(kind, "200")
		for _, half := range []string{"half", pattern(3 << 20)} {
			nc := c.data()
			c.do("STOR file", "150")
			io.WriteString(nc, half)
			nc.SetLinger(0)
			nc.Close()
			c.want("reset", "426 The data connection was lost.")

			nc = c.data()
			c.do("STOR file", "150")
			io.WriteString(nc, half)
			c.send("ABOR")
			c.want("aborted", "426 Aborted.")
			c.want("the ABOR", "226")
			nc.Close()
			r.wantFile("nothing half", "file", "old")
			r.wantNames("nothing half", ".", "file")
		}
	}
}

// A9: a panic in a transfer ends its own session only.
func TestPanicInATransfer(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{Moved: func(int64, int64) { panic("in a hook") }})
	r.write("file", "hello")
	c, other := r.login(), r.login()
	nc := c.data()
	c.do("RETR file", "150")
	io.ReadAll(nc)
	c.wantEnd("the panic ends it")
	other.do("NOOP", "200")
}

// Where the file is lost under a transfer, or the disk fails, the reply says so.
func TestOutcome(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, c := range []struct {
		err  error
		code int
	}{
		{&fileError{os.ErrPermission}, 550},
		{errStalled, 426},
		{errTruncated, 426},
		{io.ErrUnexpectedEOF, 426},
	} {
		if r := outcome(ctx, c.err); r.code != c.code {
			t.Errorf("%v: %+v", c.err, r)
		}
	}
	if r := outcome(canceled(), errStalled); r.code != 426 || r.text != "Aborted." {
		t.Errorf("aborted: %+v", r)
	}
	for _, c := range []struct {
		err  error
		code int
	}{
		{errStolen, 425}, {errAbsent, 425}, {errNoReuse, 522}, {&tlsError{errTooMany}, 522}, {errors.New("x"), 425},
	} {
		if r := noConnection(ctx, c.err); r.code != c.code {
			t.Errorf("%v: %+v", c.err, r)
		}
	}
}

// Whatever is said to it, a server answers in replies, and goes on.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"USER ftp\r\nPASS x\r\nPWD\r\nQUIT\r\n", "USER ftp\r\nPASS x\r\nCWD ../..\r\nLIST\r\nSTAT *\r\nMLST a\r\n",
		"USER ftp\nPASS\nPASV\nRETR a\n", "\xff\xfd\x01\xff\xf4\xff\xf2ABOR\r\n", "USER ftp\r\nPASS x\r\nREST 5\r\nRNFR a\r\nRNTO b\r\nMKD c\r\nSTOU\r\n",
		strings.Repeat("x", 600), "OPTS MLST type;\r\nFEAT\r\nHELP\r\nHELP STOR\r\n", "USER ftp\r\nPASS x\r\nSTAT -la a*[\r\nMFMT 20200101000000 a\r\nDELE a\r\n",
	} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, write bool) {
		root := t.TempDir()
		os.WriteFile(root+"/a", []byte("hello\n"), 0o644)
		srv, err := New(&Config{Root: root, Anonymous: true, AllowWrite: write, LineMax: 512, Log: quiet, Linger: -1})
		if err != nil {
			t.Fatal(err)
		}
		out := &half{in: strings.NewReader(string(in))}
		srv.ServeConn(out)
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(withoutTelnet(out.out.String())) {
			if !strings.HasSuffix(line, "\r\n") || strings.ContainsAny(line[:len(line)-2], "\r\n\x00\x1b") {
				t.Fatalf("%q answers %q", in, line)
			}
		}
	})
}

// withoutTelnet returns what a control connection said without the refusals of options,
// which have three bytes, and without bytes that were doubled.
func withoutTelnet(said string) string {
	var text strings.Builder
	for said != "" {
		at := strings.IndexByte(said, iac)
		if at < 0 || at+1 == len(said) {
			break
		}
		text.WriteString(said[:at])
		skip := 2
		if said[at+1] == dont || said[at+1] == wont {
			skip = 3
		}
		said = said[min(at+skip, len(said)):]
	}
	return text.String() + said
}

// half is a connection on which all input is there at once, and then its end.
type half struct {
	net.Conn
	in  *strings.Reader
	out strings.Builder
}

func (h *half) Read(p []byte) (int, error)       { return h.in.Read(p) }
func (h *half) Write(p []byte) (int, error)      { return h.out.Write(p) }
func (h *half) Close() error                     { return nil }
func (h *half) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "x", Net: "unix"} }
func (h *half) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix"} }
func (h *half) SetReadDeadline(time.Time) error  { return nil }
func (h *half) SetWriteDeadline(time.Time) error { return nil }
