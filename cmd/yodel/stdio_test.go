package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes returns a stdio and its peer's ends: what is written to in is read from it, and
// what is written to it is read from out.
func pipes(t *testing.T) (c *stdio, in *io.PipeWriter, out *io.PipeReader) {
	t.Helper()
	ourIn, in := io.Pipe()
	out, ourOut := io.Pipe()
	c = newStdio(ourIn, ourOut, ourOut.Close)
	t.Cleanup(func() {
		c.Close()
		in.Close()
		out.Close()
	})
	return c, in, out
}

func wantTimeout(t *testing.T, what string, n int, err error) {
	t.Helper()
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: %d bytes, %v; want a time-out", what, n, err)
	}
}

func TestStdioCarriesBothWays(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789abcdef", 1000) // several pieces
	var out bytes.Buffer
	closed := 0
	c := newStdio(strings.NewReader(long), &out, func() error { closed++; return nil })
	got, err := io.ReadAll(io.MultiReader(io.LimitReader(c, 5), c)) // small reads lose nothing
	if err != nil || string(got) != long {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d, %v", n, err)
	}
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("a read of nothing: %d, %v", n, err)
	}
	if n, err := io.WriteString(c, long); n != len(long) || err != nil || out.String() != long {
		t.Errorf("wrote %d, %v", n, err)
	}
	c.CloseWrite()
	if c.Close(); closed != 1 {
		t.Errorf("the output was closed %d times", closed)
	}
	for what, call := range map[string]func([]byte) (int, error){"read": c.Read, "write": c.Write} {
		if n, err := call(make([]byte, 1)); n != 0 || err != net.ErrClosed {
			t.Errorf("%s after Close: %d, %v", what, n, err)
		}
	}
}

// A read that nobody waits for any more is not lost, nor is the one behind it.
func TestStdioReadDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, in, _ := pipes(t)
		buf := make([]byte, 100)
		began := time.Now()
		c.SetReadDeadline(began.Add(time.Second))
		n, err := c.Read(buf)
		if wantTimeout(t, "in a second", n, err); time.Since(began) != time.Second {
			t.Errorf("it came after %v", time.Since(began))
		}
		n, err = c.Read(buf)
		wantTimeout(t, "while it has passed", n, err)
		c.SetDeadline(time.Time{})
		go io.WriteString(in, "late")
		synctest.Wait()
		for _, want := range []string{"la", "te"} {
			if n, err := c.Read(buf[:2]); string(buf[:n]) != want || err != nil {
				t.Errorf("%q, %v; want %q", buf[:n], err, want)
			}
		}
	})
}

// A deadline that is set, or moved, while a call waits holds for that call.
func TestStdioDeadlineIsMoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := pipes(t)
		began := time.Now()
		ended := make(chan time.Duration, 1)
		go func() {
			c.Read(make([]byte, 1))
			ended <- time.Since(began)
		}()
		synctest.Wait()
		c.SetReadDeadline(began.Add(time.Second))
		c.SetReadDeadline(began.Add(time.Minute))
		time.Sleep(2 * time.Second)
		c.SetReadDeadline(began.Add(3 * time.Second))
		if after := <-ended; after != 3*time.Second {
			t.Errorf("it ended after %v", after)
		}
		c.SetReadDeadline(time.Unix(1, 0)) // as a server that stops does
		n, err := c.Read(make([]byte, 1))
		wantTimeout(t, "a time long past", n, err)
	})
}

// What a Write has not counted is offered again, and arrives once.
func TestStdioWriteDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _, out := pipes(t)
		long := strings.Repeat("x", pieceSize) + "and more"
		c.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := io.WriteString(c, long)
		wantTimeout(t, "nobody reads", n, err)
		c.SetWriteDeadline(time.Time{})
		read := make(chan string)
		go func() {
			all, _ := io.ReadAll(out)
			read <- string(all)
		}()
		synctest.Wait()
		if n, err := io.WriteString(c, long); n != len(long) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		c.CloseWrite()
		if got := <-read; got != long {
			t.Errorf("%d bytes arrived, %d were sent", len(got), len(long))
		}
	})
}

func TestStdioCloseEndsCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := pipes(t)
		ended := make(chan error, 2)
		go func() {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		}()
		go func() {
			_, err := c.Write(make([]byte, 1))
			ended <- err
		}()
		synctest.Wait()
		c.Close()
		for range 2 {
			if err := <-ended; err != net.ErrClosed && err != io.ErrClosedPipe { // closing the output ends its call, too
				t.Errorf("%v", err)
			}
		}
	})
}

// An error that came with bytes comes behind them, and stays.
func TestStdioError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	c := newStdio(oneRead{"end", broken}, failingWriter{2, broken}, func() error { return broken })
	defer c.Close()
	buf := make([]byte, 10)
	for _, want := range []string{"end", "", ""} {
		n, err := c.Read(buf)
		if string(buf[:n]) != want || (n == 0) != (err == broken) {
			t.Errorf("%q, %v; want %q", buf[:n], err, want)
		}
	}
	for _, want := range []int{2, 0} {
		if n, err := io.WriteString(c, "four"); n != want || err != broken {
			t.Errorf("wrote %d, %v; want %d", n, err, want)
		}
	}
	if c.CloseWrite() != broken || c.Close() != broken {
		t.Error("what closing says is lost")
	}
	if a := c.LocalAddr(); a != c.RemoteAddr() || a.Network() != "pipe" || a.String() == "" {
		t.Errorf("%v", a)
	}
}

// oneRead gives text and err in one Read.
type oneRead struct {
	text string
	err  error
}

func (r oneRead) Read(p []byte) (int, error) { return copy(p, r.text), r.err }

// failingWriter takes n bytes and fails.
type failingWriter struct {
	n   int
	err error
}

func (w failingWriter) Write([]byte) (int, error) { return w.n, w.err }
