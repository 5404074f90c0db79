package ftp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"yodel/yodeltest"
)

// A world is a network in memory, with a server at 192.0.2.1 and a clock that is ahead of
// its time.
type world struct {
	t    *testing.T
	net  yodeltest.Net
	srv  *Server
	root string
	next int // data port
}

// inMemory runs a test in a world.
func inMemory(t *testing.T, cfg Config, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, next: 50000}
		cfg.Root, cfg.Anonymous, cfg.AllowWrite, cfg.Log = t.TempDir(), true, true, quiet
		if cfg.Listen == nil {
			cfg.Listen = w.listen
		}
		srv, err := New(&cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.srv, w.root = srv, cfg.Root
		l, err := w.net.Listen("192.0.2.1:21")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					srv.ServeConn(nc)
					nc.Close()
				}()
			}
		}()
		test(w)
		l.Close()
		srv.Close()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) listen(_ context.Context, at netip.AddrPort) (net.Listener, error) {
	w.next++
	return w.net.Listen(netip.AddrPortFrom(at.Addr(), uint16(w.next)).String())
}

func (w *world) dial(from, to string) *yodeltest.Conn {
	w.t.Helper()
	nc, err := w.net.DialFrom(w.t.Context(), from, to)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { nc.Close() })
	return nc
}

const me = "198.51.100.7:4000"

// login logs in from me.
func (w *world) login() *client {
	w.t.Helper()
	c := &client{t: w.t, nc: w.dial(me, "192.0.2.1:21")}
	c.in = bufio.NewReader(c.nc)
	c.want("the greeting", "220")
	c.talk(talk{{"USER ftp", "331"}, {"PASS x", "230"}, {"TYPE I", "200"}})
	return c
}

// data opens a passive data connection from an address.
func (w *world) data(c *client, from string) *yodeltest.Conn {
	w.t.Helper()
	return w.dial(from, c.passive())
}

func (w *world) wantNames(why string, names ...string) {
	w.t.Helper()
	(&rig{t: w.t, root: w.root}).wantNames(why, ".", names...)
}

// A transfer may take longer than a client may be silent, and is not bounded if it moves.
func TestLongTransfer(t *testing.T) {
	t.Parallel()
	inMemory(t, Config{}, func(w *world) {
		c := w.login()
		nc := w.data(c, me)
		c.do("STOR file", "150")
		for range 1000 {
			time.Sleep(4 * time.Second)
			nc.Write(make([]byte, 2500)) // just fast enough
		}
		nc.Close()
		c.want("after an hour", "226 Done: 2500000 bytes.")
		time.Sleep(299 * time.Second)
		c.do("NOOP", "200")
	})
}

// C5 and A1: one byte every second is too slow, in either direction.
func TestSlowTransfer(t *testing.T) {
	t.Parallel()
	inMemory(t, Config{}, func(w *world) {
		c := w.login()
		nc := w.data(c, me)
		began := time.Now()
		c.do("STOR file", "150")
		go func() {
			for {
				if _, err := nc.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		c.want("too slow", "426 The data connection moves nothing.")
		if took := time.Since(began); took > 7*time.Second {
			t.Errorf("it took %v to find that out", took)
		}
		w.wantNames("nothing half is left")

		os.WriteFile(filepath.Join(w.root, "file"), make([]byte, 1<<20), 0o644)
		deaf := w.data(c, me)
		c.do("RETR file", "150")
		began = time.Now()
		c.want("nobody reads", "426")
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("it took %v to find that out", took)
		}
		deaf.Close()
	})
}

// C2: a data port has 60 s, and is for one connection from the client's own address.
func TestDataPort(t *testing.T) {
	t.Parallel()
	inMemory(t, Config{}, func(w *world) {
		os.WriteFile(filepath.Join(w.root, "file"), []byte("hello"), 0o644)
		c := w.login()
		port := c.passive()
		time.Sleep(61 * time.Second)
		if _, err := w.net.DialFrom(t.Context(), me, port); err == nil {
			t.Error("it still listens after 61 s")
		}
		c.do("RETR file", "150")
		c.want("too late", "425 Nobody has come")

		thief := w.data(c, "203.0.113.9:4000")
		c.do("RETR file", "150")
		c.want("stolen", "425 Somebody else")
		if got, _ := io.ReadAll(thief); len(got) > 0 {
			t.Errorf("the thief got %q", got)
		}

		old := c.passive()
		c.passive()
		if _, err := w.net.DialFrom(t.Context(), me, old); err == nil {
			t.Error("a second EPSV leaves the first port open")
		}
		port = c.passive()
		c.do("ABOR", "226")
		if _, err := w.net.DialFrom(t.Context(), me, port); err == nil {
			t.Error("ABOR leaves the port open")
		}
		port = c.passive()
		c.do("QUIT", "221")
		c.wantEnd("behind QUIT")
		synctest.Wait()
		if _, err := w.net.DialFrom(t.Context(), me, port); err == nil {
			t.Error("QUIT leaves the port open")
		}
	})
}

// A client that has said QUIT, and hung up, gets its transfer and the answers to all that
// it has said before; in order.
func TestHangUpWithQUIT(t *testing.T) {
	t.Parallel()
	inMemory(t, Config{}, func(w *world) {
		c := w.login()
		nc := w.data(c, me)
		c.send("STOR file", "PWD", "QUIT")
		c.want("STOR", "150")
		c.nc.(*yodeltest.Conn).CloseWrite()
		synctest.Wait()
		io.WriteString(nc, "all")
		nc.Close()
		c.want("the transfer", "226")
		c.want("PWD", "257")
		c.want("QUIT", "221")
		c.wantEnd("behind QUIT")

		c = w.login()
		nc = w.data(c, me)
		c.send("STOR other", "PWD")
		c.want("STOR", "150")
		synctest.Wait()
		c.nc.(*yodeltest.Conn).CloseWrite()
		c.want("without QUIT that is an ABOR", "426 Aborted.")
		c.wantEnd("and the end")
		nc.Close()
		w.wantNames("only one was stored", "file")
	})
}

// What comes when a transfer has just ended is answered behind what came before.
func TestOrderBehindATransfer(t *testing.T) {
	t.Parallel()
	inMemory(t, Config{}, func(w *world) {
		for range 50 {
			c := w.login()
			nc := w.data(c, me)
			c.send("STOR file", "PWD")
			c.want("STOR", "150")
			synctest.Wait()
			go nc.Close()
			go c.send("NOOP")
			c.want("the transfer", "226")
			c.want("the first", "257")
			c.want("the second", "200")
			c.nc.Close()
		}
	})
}

// Too many commands ahead are not read before the transfer has ended.
func TestHeldCommandsAreBounded(t *testing.T) {
	t.Parallel()
	inMemory(t, Config{}, func(w *world) {
		c := w.login()
		nc := w.data(c, me)
		c.do("STOR file", "150")
		for range 10 * maxHeld {
			c.send("NOOP")
		}
		synctest.Wait()
		for s := range w.srv.sessions {
			if len(s.held) > maxHeld {
				t.Errorf("%d commands are kept", len(s.held))
			}
		}
		nc.Close()
		c.want("the transfer", "226")
		for range 10 * maxHeld {
			c.want("each", "200")
		}
	})
}

// The address that a server behind a router tells is for those who come through it.
func TestPassiveAddress(t *testing.T) {
	t.Parallel()
	inMemory(t, Config{PassiveAddress: netip.MustParseAddr("203.0.113.1")}, func(w *world) {
		w.login().do("PASV", "227 Entering passive mode (203,0,113,1,195,")
	})
}

// Behind a proxy, the address that the client has called is not one of ours.
func TestPassiveBehindAProxy(t *testing.T) {
	t.Parallel()
	var asked []netip.Addr
	for _, last := range []error{nil, syscall.EMFILE} {
		var w2 *world
		inMemory(t, Config{Listen: func(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
			asked = append(asked, at.Addr())
			if !at.Addr().IsUnspecified() {
				return nil, &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)}
			}
			if last != nil {
				return nil, last
			}
			return w2.listen(ctx, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 0))
		}}, func(w *world) {
			w2 = w
			c := w.login()
			if last != nil {
				c.do("PASV", "425 There is no port")
				c.do("EPSV", "425 There is no port")
				return
			}
			c.do("PASV", "227 Entering passive mode (192,0,2,1,195,")
		})
	}
	if fmt.Sprint(asked[:2]) != "[192.0.2.1 0.0.0.0]" {
		t.Errorf("asked for %v", asked)
	}
}

// A folder that was listed may be gone, and a file too, before its turn comes.
func TestListOfWhatIsGone(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if got := longLines(time.Now())(nil, root, "gone"); len(got) > 0 {
		t.Errorf("%q", got)
	}
	root.Close()
	l := &listing{dir: root}
	if err := l.each(t.Context(), func(string) error { return nil }); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a folder that is gone: %v", err)
	}
	l = &listing{dir: root, one: ""}
	if err := l.offer(canceled(), "x", nil); err == nil {
		t.Error("a list goes on when nobody waits for it")
	}
}

// An append ends in the middle when nobody waits for it any more.
func TestAppendIsAborted(t *testing.T) {
	t.Parallel()
	u := &upload{keep: 1}
	if err := u.copyKept(canceled()); err == nil {
		t.Error("it goes on")
	}
}
