package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"yodel/sock"
	"yodel/yodeltest"
)

// A client is the test as a peer. Its methods fail the test when the conversation is
// not as wanted.
type client struct {
	net.Conn
	t testing.TB
}

// dial connects to the server's first place. The connection is closed with the test.
func (s *server) dial() *client {
	s.t.Helper()
	return s.dialAt(s.at)
}

func (s *server) dialAt(at place) *client {
	s.t.Helper()
	nc, err := at.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.talkOver(nc)
}

func (s *server) talkOver(nc net.Conn) *client {
	s.t.Cleanup(func() { nc.Close() })
	if !s.timeless {
		nc.SetDeadline(time.Now().Add(patience))
	}
	return &client{nc, s.t}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send %.40q: %v", text, err)
	}
}

// want reads as many bytes as text has.
func (c *client) want(why, text string) {
	c.t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(c, got)
	if string(got[:n]) != text {
		c.t.Fatalf("%s:\ngot  %.200q, %v\nwant %.200q", why, got[:n], err, text)
	}
}

// ask sends a line and wants the answer.
func (c *client) ask(why, line, answer string) {
	c.t.Helper()
	c.send(line)
	c.want(why, answer)
}

// wantEnd wants the peer's end, and nothing before it.
func (c *client) wantEnd(why string) {
	c.t.Helper()
	if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
		c.t.Fatalf("%s: wanted the end, got %.200q, %v", why, got, err)
	}
}

// wantGone wants the connection to end, be it by a reset, and drops what comes before.
func (c *client) wantGone(why string) {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c); isTimeout(err) {
		c.t.Fatalf("%s: the connection is still there", why)
	}
}

// wantReset wants the connection to end by a reset.
func (c *client) wantReset(why string) {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c); !isReset(err) {
		c.t.Fatalf("%s: wanted a reset, got %v", why, err)
	}
}

// end ends the client's direction.
func (c *client) end() {
	c.t.Helper()
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// reset ends the connection by a reset.
func (c *client) reset() {
	switch nc := c.Conn.(type) {
	case *net.TCPConn:
		nc.SetLinger(0)
	case *sock.Conn:
		nc.NetConn().(*net.TCPConn).SetLinger(0)
	case *yodeltest.Conn:
		nc.Reset()
	}
	c.Close()
}

// pour sends n bytes of the pattern and ends the direction.
func (c *client) pour(n int) error {
	piece := make([]byte, 32<<10)
	for at := 0; at < n; at += len(piece) {
		piece = piece[:min(len(piece), n-at)]
		fillPattern(piece, at)
		if _, err := c.Write(piece); err != nil {
			return fmt.Errorf("after %d bytes: %w", at, err)
		}
	}
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// wantPattern reads n bytes of the pattern, each of them changed by change, and then
// the end.
func (c *client) wantPattern(why string, n int, change func([]byte)) {
	c.t.Helper()
	got, want := make([]byte, 32<<10), make([]byte, 32<<10)
	for at := 0; at < n; {
		m, err := c.Read(got)
		fillPattern(want[:m], at)
		if change != nil {
			change(want[:m])
		}
		if !bytes.Equal(got[:m], want[:m]) {
			c.t.Fatalf("%s: a wrong byte among the %d after byte %d", why, m, at)
		}
		if at += m; err != nil && at < n {
			c.t.Fatalf("%s: %v after %d of %d bytes", why, err, at, n)
		}
	}
	c.wantEnd(why)
}

func toUpper(p []byte) {
	for i, b := range p {
		if 'a' <= b && b <= 'z' {
			p[i] = b - 'a' + 'A'
		}
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED)
}
