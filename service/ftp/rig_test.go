package ftp

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/internal/users"
	"yodel/sock"
	"yodel/yodeltest"
)

// patience bounds what a test waits for. It is long, for slow machines: nothing waits for
// it to pass.
const patience = 60 * time.Second

var quiet = slog.New(slog.DiscardHandler)

// A rig is a server on an engine, on loopback.
type rig struct {
	t    testing.TB
	srv  *Server
	eng  goroutine.Engine
	addr string // of the control connections
	root string
}

// serve serves cfg, or else a new folder to anonymous users, at address.
func serve(t testing.TB, cfg Config) *rig { return serveOn(t, "127.0.0.1:0", cfg, nil) }

func serveOn(t testing.TB, address string, cfg Config, tlsCfg *tls.Config) *rig {
	t.Helper()
	if cfg.Root == "" {
		cfg.Root = fastDir(t)
	}
	if cfg.Users == nil {
		cfg.Anonymous = true
	}
	if cfg.Log == nil {
		cfg.Log = quiet
	}
	srv, err := New(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	eng, err := goroutine.New(srv, &engine.Config{Service: "ftp", Idle: -1, TLS: tlsCfg, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		yodeltest.Skip(t, err.Error(), "give the loopback interface IPv6 (sysctl net.ipv6.conf.lo.disable_ipv6=0)")
	}
	yodeltest.Serve(t, eng, l, engine.ErrClosed)
	return &rig{t: t, srv: srv, eng: eng, addr: l.Addr().String(), root: cfg.Root}
}

// fastDir returns a new folder in memory, where there is such a thing: thousands of files
// are made there soon.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "yodel-ftp-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// path returns where the server has a file.
func (r *rig) path(name string) string { return filepath.Join(r.root, filepath.FromSlash(name)) }

func (r *rig) write(name, content string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.path(name), []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// big makes a file of n bytes that takes no room.
func (r *rig) big(name string, n int64) {
	r.t.Helper()
	r.write(name, "")
	if err := os.Truncate(r.path(name), n); err != nil {
		r.t.Fatal(err)
	}
}

// wantFile fails the test if the server's file does not have that content.
func (r *rig) wantFile(why, name, content string) {
	r.t.Helper()
	got, err := os.ReadFile(r.path(name))
	if err != nil || string(got) != content {
		r.t.Errorf("%s: %s has %q, %v; want %q", why, name, brief(got), err, brief([]byte(content)))
	}
}

// wantNames fails the test if a folder of the server's has other files than these.
func (r *rig) wantNames(why, folder string, names ...string) {
	r.t.Helper()
	list, err := os.ReadDir(r.path(folder))
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		r.t.Errorf("%s: there are %q, want %q", why, got, names)
	}
}

func brief(b []byte) []byte { return b[:min(len(b), 100)] }

// A client is the other end of a control connection, told what to do by a test.
type client struct {
	t  testing.TB
	nc net.Conn
	in *bufio.Reader
}

// dial connects, and reads the greeting.
func (r *rig) dial() *client {
	r.t.Helper()
	c := r.connect()
	c.want("the greeting", "220 yodel FTP")
	return c
}

func (r *rig) connect() *client {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	return newClient(r.t, nc)
}

func newClient(t testing.TB, nc net.Conn) *client {
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &client{t: t, nc: nc, in: bufio.NewReader(nc)}
}

// login connects, and logs in as anonymous.
func (r *rig) login() *client {
	r.t.Helper()
	c := r.dial()
	c.do("USER ftp", "331")
	c.do("PASS x", "230")
	return c
}

// send sends lines, each with CR LF behind it, in one piece.
func (c *client) send(lines ...string) {
	c.t.Helper()
	c.raw(strings.Join(lines, "\r\n") + "\r\n")
}

func (c *client) raw(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatalf("sending %q: %v", s, err)
	}
}

var lastLine = regexp.MustCompile(`^[1-5]\d\d `)

// reply reads a reply. Lines are separated by newlines.
func (c *client) reply() string {
	c.t.Helper()
	var lines []string
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			c.t.Fatalf("reading a reply: %v; so far %q%q", err, lines, line)
		}
		if !strings.HasSuffix(line, "\r\n") {
			c.t.Fatalf("a line of a reply ends without CR LF: %q", line)
		}
		line = strings.TrimSuffix(line, "\r\n")
		lines = append(lines, line)
		if lastLine.MatchString(line) {
			return strings.Join(lines, "\n")
		}
	}
}

// want reads a reply, and fails the test if it does not begin with start.
func (c *client) want(why, start string) string {
	c.t.Helper()
	r := c.reply()
	if !strings.HasPrefix(r, start) {
		c.t.Fatalf("%s: the reply is %q, want %q", why, r, start)
	}
	return r
}

// do sends a command, and returns its reply, which must begin with start.
func (c *client) do(line, start string) string {
	c.t.Helper()
	c.send(line)
	return c.want(line, start)
}

// wantEnd fails the test if there is something left to read, or the connection goes on.
func (c *client) wantEnd(why string) {
	c.t.Helper()
	if rest, err := io.ReadAll(c.in); err != nil || len(rest) > 0 {
		c.t.Fatalf("%s: %q and %v", why, rest, err)
	}
	c.nc.Close()
}

var extendedPort = regexp.MustCompile(`\(\|\|\|(\d+)\|\)`)

// passive says EPSV, and returns where the data connection goes.
func (c *client) passive() string {
	c.t.Helper()
	port := extendedPort.FindStringSubmatch(c.do("EPSV", "229"))
	if port == nil {
		c.t.Fatal("EPSV tells no port")
	}
	host, _, _ := net.SplitHostPort(c.nc.RemoteAddr().String())
	return net.JoinHostPort(host, port[1])
}

// data opens a passive data connection.
func (c *client) data() *net.TCPConn {
	c.t.Helper()
	nc, err := net.Dial("tcp", c.passive())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return nc.(*net.TCPConn)
}

// get returns what the server sends for a command.
func (c *client) get(line string) string {
	c.t.Helper()
	nc := c.data()
	c.do(line, "150")
	got, err := io.ReadAll(nc)
	if err != nil {
		c.t.Fatalf("%s: %v", line, err)
	}
	nc.Close()
	c.want("behind "+line, "226")
	return string(got)
}

// put sends content for a command.
func (c *client) put(line, content string) {
	c.t.Helper()
	nc := c.data()
	c.do(line, "150")
	if _, err := io.Copy(nc, strings.NewReader(content)); err != nil {
		c.t.Fatalf("%s: %v", line, err)
	}
	nc.Close()
	c.want("behind "+line, "226")
}

// secure begins TLS on the control connection, with cfg or without checking anything.
func (c *client) secure(cfg *tls.Config) {
	c.t.Helper()
	c.do("AUTH TLS", "234")
	t := tls.Client(c.nc, cfg)
	if err := t.HandshakeContext(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	c.nc, c.in = t, bufio.NewReader(t)
}

// aCertificate is made once: that is slow.
var aCertificate = func() tls.Certificate {
	cert, _, err := sock.SelfSigned([]string{"localhost"})
	if err != nil {
		panic(err)
	}
	return cert
}()

func serverTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{aCertificate}} }

// clientTLS trusts anybody, and resumes sessions.
func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(8), ServerName: "localhost"}
}

// usersFile has ada with the password secret and the home /ada.
func usersFile(t testing.TB) *users.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost) // quick
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("ada:"+string(hash)+":/ada\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := users.Open(path, &users.Config{Delay: -1, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// allBytes is some mebibytes with CR, LF and all others in them.
var allBytes = func() string {
	b := make([]byte, 4<<20)
	for i := range b {
		b[i] = byte(i*i>>3 + i)
	}
	return string(b)
}()

// pattern returns n bytes of that, again and again.
func pattern(n int) string { return strings.Repeat(allBytes, n/len(allBytes)+1)[:n] }

func loopback(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
}
