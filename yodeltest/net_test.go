package yodeltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

// dialed returns both ends of a connection that came through a listener.
func dialed(t testing.TB, n *Net) (client, server *Conn) {
	t.Helper()
	l, err := n.Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = n.Dial(t.Context(), "server")
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, accepted.(*Conn)
}

func TestConnIsANetConn(t *testing.T) {
	t.Parallel()
	for _, buffer := range []int{64, 0} { // the kit needs room for its messages of 8 bytes
		t.Run(fmt.Sprintf("buffer %d", buffer), func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				client, server := dialed(t, &Net{Buffer: buffer})
				return client, server, func() { client.Close(); server.Close() }, nil
			})
		})
	}
}

func TestSlowReaderBlocksWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := (&Net{Buffer: 10}).Pipe()
		written := 0
		go func() {
			written, _ = client.Write(make([]byte, 25))
		}()
		buf := make([]byte, 100)
		for _, want := range []int{10, 10, 5} {
			synctest.Wait() // the writer is blocked, or done
			if n, err := server.Read(buf); n != want || err != nil {
				t.Errorf("Read = %d, %v, want %d", n, err, want)
			}
		}
		synctest.Wait()
		if written != 25 {
			t.Errorf("Write = %d, want 25", written)
		}
	})
}

func TestNegativeBufferIsNoBound(t *testing.T) {
	t.Parallel()
	client, _ := (&Net{Buffer: -1}).Pipe()
	if n, err := client.Write(make([]byte, 1<<20)); n != 1<<20 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
}

func TestWritesAreNotMixed(t *testing.T) {
	t.Parallel()
	client, server := (&Net{Buffer: 7}).Pipe()
	lines := []string{"aaaaaaaaaaaaaaaaaaaa\n", "bbbbbbbbbbbbbbbbbbbbbbbbbbb\n", "cccccccccccccc\n"}
	var writers sync.WaitGroup
	for _, line := range lines {
		writers.Go(func() { io.WriteString(client, line) })
	}
	go func() {
		writers.Wait()
		client.CloseWrite()
	}()
	all, err := io.ReadAll(server)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(strings.Lines(string(all)))
	if !slices.Equal(got, lines) {
		t.Errorf("got %q", got)
	}
}

func TestHalfClose(t *testing.T) {
	t.Parallel()
	client, server := dialed(t, new(Net))
	io.WriteString(client, "question")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(server); string(got) != "question" || err != nil {
		t.Errorf("the server read %q, %v", got, err)
	}
	io.WriteString(server, "answer")
	server.Close()
	if got, err := io.ReadAll(client); string(got) != "answer" || err != nil {
		t.Errorf("the client read %q, %v", got, err)
	}
	if _, err := client.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a write after CloseWrite = %v, want EPIPE", err)
	}
}

func TestCloseWriteEndsAWriteThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := (&Net{Buffer: 4}).Pipe()
		var n int
		var err error
		go func() { n, err = client.Write([]byte("123456")) }()
		synctest.Wait()
		client.CloseWrite()
		synctest.Wait()
		if n != 4 || !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write = %d, %v, want 4 and EPIPE", n, err)
		}
	})
}

func TestHowAConnectionIsReset(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		destroy func(client, server *Conn)
	}{
		{"by Reset", func(_, server *Conn) {
			server.Write([]byte("lost"))
			server.Reset()
		}},
		{"by Close with input that nobody read", func(client, server *Conn) {
			client.Write([]byte("unread"))
			server.Write([]byte("lost"))
			server.Close()
		}},
		{"by a write to an end that is closed", func(client, server *Conn) {
			server.Write([]byte("lost"))
			server.Close()
			client.Write([]byte("too late"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, server := dialed(t, new(Net))
			tt.destroy(client, server)
			if n, err := client.Read(make([]byte, 10)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("Read = %d, %v, want ECONNRESET and what was pending lost", n, err)
			}
			if _, err := client.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("Write = %v, want ECONNRESET", err)
			}
			if err := client.CloseWrite(); !errors.Is(err, syscall.ENOTCONN) {
				t.Errorf("CloseWrite = %v, want ENOTCONN", err)
			}
			if err := client.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
	}
}

func TestResetWakesWhoeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := (&Net{Buffer: 1}).Pipe()
		var errs [3]error
		go func() { _, errs[0] = client.Read(make([]byte, 1)) }()
		go func() { _, errs[1] = client.Write([]byte("waits for room")) }()
		synctest.Wait()
		go func() { _, errs[2] = client.Write([]byte("waits for the other Write")) }()
		synctest.Wait()
		server.Reset()
		synctest.Wait()
		for i, err := range errs {
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("call %d = %v, want ECONNRESET", i, err)
			}
		}
	})
}

func TestOwnCloseEndsAllCalls(t *testing.T) {
	t.Parallel()
	client, _ := dialed(t, new(Net))
	client.SetDeadline(time.Now().Add(time.Hour))
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	_, readErr := client.Read(nil)
	_, writeErr := client.Write(nil)
	for name, err := range map[string]error{
		"Read":        readErr,
		"Write":       writeErr,
		"Close":       client.Close(),
		"Reset":       client.Reset(),
		"CloseWrite":  client.CloseWrite(),
		"SetDeadline": client.SetDeadline(time.Time{}),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close = %v, want net.ErrClosed", name, err)
		}
	}
}

func TestDeadlinesFollowTheBubblesClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := (&Net{Buffer: 1}).Pipe()
		start := time.Now()
		client.SetReadDeadline(start.Add(time.Hour))
		_, err := client.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read = %v, want a net.Error that is a time-out", err)
		}
		if took := time.Since(start); took != time.Hour {
			t.Errorf("Read took %v, want 1h", took)
		}

		client.SetReadDeadline(time.Now().Add(time.Hour)) // a later one revives Read
		server.Write([]byte("x"))
		if n, err := client.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("Read under a new deadline = %d, %v", n, err)
		}

		client.SetWriteDeadline(time.Now().Add(time.Minute))
		if n, err := client.Write([]byte("xyz")); n != 1 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write = %d, %v, want 1 and a time-out", n, err)
		}
	})
}

func TestADeadlineTakenBackDoesNotFire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := new(Net).Pipe()
		client.SetDeadline(time.Now().Add(time.Second))
		client.SetDeadline(time.Time{})
		go func() {
			time.Sleep(time.Minute) // virtual
			server.Write([]byte("late"))
		}()
		if n, err := client.Read(make([]byte, 10)); n != 4 || err != nil {
			t.Errorf("Read = %d, %v", n, err)
		}
	})
}

// A timer that fires while its deadline is being taken back must not count.
func TestADeadlineTakenBackAsItFires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := new(Net).Pipe()
		client.mu.Lock() // what the timer starts waits for this
		client.read.set(client.link, time.Now().Add(time.Second))
		time.Sleep(time.Second) // virtual
		client.read.set(client.link, time.Time{})
		client.mu.Unlock()
		synctest.Wait()
		if client.read.passed {
			t.Error("a deadline that was taken back has passed")
		}
	})
}

func TestReadOfNothing(t *testing.T) {
	t.Parallel()
	client, _ := new(Net).Pipe()
	if n, err := client.Read(nil); n != 0 || err != nil {
		t.Errorf("Read = %d, %v, want 0 without waiting", n, err)
	}
}

func TestNamesAndAddresses(t *testing.T) {
	t.Parallel()
	n := new(Net)
	l, err := n.Listen("192.0.2.7:80")
	if err != nil {
		t.Fatal(err)
	}
	first, _ := n.Dial(t.Context(), "192.0.2.7:80")
	second, _ := n.DialFrom(t.Context(), "[2001:db8::1]:50000", "192.0.2.7:80")
	third, _ := n.DialFrom(t.Context(), "a name", "192.0.2.7:80")
	for _, tt := range []struct {
		addr net.Addr
		want string
	}{
		{l.Addr(), "tcp 192.0.2.7:80"},
		{first.LocalAddr(), "tcp 192.0.2.1:49152"},
		{first.RemoteAddr(), "tcp 192.0.2.7:80"},
		{second.LocalAddr(), "tcp [2001:db8::1]:50000"},
		{third.LocalAddr(), "memory a name"},
	} {
		if got := tt.addr.Network() + " " + tt.addr.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	server, err := l.Accept()
	if err != nil || server.RemoteAddr().String() != "192.0.2.1:49152" || server.LocalAddr().String() != "192.0.2.7:80" {
		t.Errorf("the server sees %v to %v, %v", server.RemoteAddr(), server.LocalAddr(), err)
	}
}

func TestClientsHavePortsOfTheirOwn(t *testing.T) {
	t.Parallel()
	n := &Net{Backlog: 3}
	l, _ := n.Listen("server")
	defer l.Close()
	seen := map[string]bool{}
	for range 3 {
		c, err := n.Dial(t.Context(), "server")
		if err != nil {
			t.Fatal(err)
		}
		seen[c.LocalAddr().String()] = true
	}
	if len(seen) != 3 {
		t.Errorf("addresses %v", seen)
	}
}

func TestListenAndDialRefuse(t *testing.T) {
	t.Parallel()
	n := new(Net)
	if _, err := n.Dial(t.Context(), "server"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial where nobody listens = %v, want ECONNREFUSED", err)
	}
	l, _ := n.Listen("server")
	if _, err := n.Listen("server"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second Listen = %v, want EADDRINUSE", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Dial(gone, "server"); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial without time = %v, want context.Canceled", err)
	}
	l.Close()
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a second Close = %v, want net.ErrClosed", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v, want net.ErrClosed", err)
	}
	if _, err := n.Listen("server"); err != nil {
		t.Errorf("Listen after Close = %v", err)
	}
}

func TestCloseOfAListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Net{Backlog: 1}
		l, _ := n.Listen("server")
		queued, err := n.Dial(t.Context(), "server")
		if err != nil {
			t.Fatal(err)
		}
		var late error
		go func() { _, late = n.Dial(t.Context(), "server") }()
		synctest.Wait() // the backlog is full: it waits
		l.Close()
		synctest.Wait()
		if _, err := queued.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a connection in the backlog reads %v, want ECONNRESET", err)
		}
		if late != nil && !errors.Is(late, syscall.ECONNREFUSED) {
			t.Errorf("Dial that waited = %v, want ECONNREFUSED", late)
		}
	})
}

// Code that knows nothing of a Net runs on it, with a clock that needs no waiting.
func TestHTTPRunsOnANet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(Net)
		l, _ := n.Listen("web")
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Hour) // virtual
			fmt.Fprintf(w, "hello, %s", r.RemoteAddr)
		})}
		go server.Serve(l)
		defer server.Close()
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return n.DialFrom(ctx, "198.51.100.1:1024", "web")
			},
		}}
		answer, err := client.Get("http://a.example/")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if body, err := io.ReadAll(answer.Body); string(body) != "hello, 198.51.100.1:1024" || err != nil {
			t.Errorf("the body is %q, %v", body, err)
		}
	})
}

func TestCloseWakesAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := new(Net).Listen("server")
		var err error
		go func() { _, err = l.Accept() }()
		synctest.Wait()
		l.Close()
		synctest.Wait()
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept = %v, want net.ErrClosed", err)
		}
	})
}

func TestDialWaitsForTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Net{Backlog: 1}
		l, _ := n.Listen("server")
		n.Dial(t.Context(), "server")

		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := n.Dial(soon, "server")
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("Dial to a full backlog = %v, want a time-out", err)
		}

		connected := false
		go func() {
			_, err := n.Dial(t.Context(), "server")
			connected = err == nil
		}()
		synctest.Wait()
		if connected {
			t.Error("Dial did not wait for the backlog")
		}
		l.Accept()
		synctest.Wait()
		if !connected {
			t.Error("Dial did not connect when there was room")
		}
	})
}

// A Dial that loses the race against Close must not leave its client waiting for
// ever: refused or reset, but never silent.
func TestDialAgainstClose(t *testing.T) {
	t.Parallel()
	for range 50 { // which way it goes is chance
		n := new(Net)
		l, _ := n.Listen("server")
		found := n.find("server")
		l.Close() // after Dial has found it
		client, server := n.Pipe()
		err := found.enqueue(t.Context(), server)
		if err == nil {
			client.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err = client.Read(make([]byte, 1))
		}
		if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("got %v, want refused or reset", err)
		}
	}
}

func TestDialAndCloseAtOnce(t *testing.T) {
	t.Parallel()
	for range 100 { // for the race detector
		n := new(Net)
		l, _ := n.Listen("server")
		var both sync.WaitGroup
		both.Go(func() { l.Close() })
		both.Go(func() { n.Dial(t.Context(), "server") })
		both.Wait()
	}
}
