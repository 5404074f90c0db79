package call

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"yodel/yodeltest"
)

// allBytes is n bytes that no text tool leaves alone.
func allBytes(n int) []byte {
	p := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(p)
	for i := range min(n, 256) {
		p[i] = byte(i)
	}
	return p
}

func TestPipeIsFaithful(t *testing.T) {
	t.Parallel()
	in := allBytes(3 << 20)
	var out bytes.Buffer
	if err := Pipe(within(t), serve(t, echo), bytes.NewReader(in), &out, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), in) {
		t.Errorf("%d bytes came back as %d other ones", len(in), out.Len())
	}
}

func TestPipeEndsItsDirectionAndWaitsForThePeer(t *testing.T) {
	t.Parallel()
	conn := serve(t, func(c *net.TCPConn) {
		sum := sha256.New()
		n, err := io.Copy(sum, c) // up to the half-close
		fmt.Fprintf(c, "%d %v %x", n, err, sum.Sum(nil)[:4])
	})
	in := allBytes(20_000)
	var out bytes.Buffer
	if err := Pipe(within(t), conn, iotest.OneByteReader(bytes.NewReader(in)), &out, nil); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("20000 <nil> %x", sha256.Sum256(in))
	if got := out.String(); got != want[:len(got)] || len(got) < 20 {
		t.Errorf("got %q, want the start of %q", got, want)
	}
}

func TestPipeTranslatesNewlines(t *testing.T) {
	t.Parallel()
	conn := pair(t, onMemory(script(t, "a\r\nb\r\nc")))
	in := iotest.OneByteReader(strings.NewReader("a\nb\r\nc"))
	if err := Pipe(within(t), conn, in, io.Discard, &Config{CRLF: true}); err != nil {
		t.Error(err)
	}
}

func TestPipeGoesOnSendingAfterThePeersEnd(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 1)
	in, feed := io.Pipe()
	conn := serve(t, func(c *net.TCPConn) {
		io.WriteString(c, "that is all from me")
		c.CloseWrite()
		all, _ := io.ReadAll(c)
		heard <- string(all)
	})
	var out buffer
	ended := make(chan struct{})
	views := Views(&eventHook{EOF, func() { close(ended) }})
	go func() {
		<-ended
		io.WriteString(feed, "and still I talk")
		feed.Close()
	}()
	if err := Pipe(within(t), Record(conn, target, views), in, &out, nil); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "and still I talk" {
		t.Errorf("the peer heard %q", got)
	}
	if out.String() != "that is all from me" {
		t.Errorf("out has %q", out.String())
	}
}

func TestPipeAccountsForBytesThatThePeerDidNotTake(t *testing.T) {
	t.Parallel()
	const taken = 1000
	conn := pairOf(t, &yodeltest.Net{Buffer: 100}, func(c *yodeltest.Conn) {
		io.WriteString(c, "enough")
		io.ReadFull(c, make([]byte, taken))
		c.Reset()
	})
	err := Pipe(within(t), conn, bytes.NewReader(allBytes(5000)), io.Discard, nil)
	broken := wantStatus[*BrokenError](t, err, StatusBroken)
	if broken.Sent < taken || broken.Sent > taken+100 || broken.Sent+broken.Unsent != 5000 || !broken.Rest {
		t.Errorf("%+v", broken)
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v does not say what ended it", err)
	}
	if !strings.Contains(err.Error(), "more read and not sent, the rest of the input not read") {
		t.Errorf("error %q", err)
	}
}

func TestPipeStillReadsWhatAPeerSaidBeforeItStopped(t *testing.T) {
	t.Parallel()
	refusal := "413 too much\n"
	written := make(chan struct{})
	client, server := (&yodeltest.Net{Buffer: 64}).Pipe()
	defer server.Close()
	go func() {
		io.ReadFull(server, make([]byte, 10))
		<-written
		io.WriteString(server, refusal)
		server.CloseWrite()
	}()
	// The client's writes fail from the second one on, its reads do not.
	conn := &halfBroken{Conn: client, written: written}
	var out bytes.Buffer
	err := Pipe(within(t), conn, iotest.OneByteReader(strings.NewReader("0123456789abc")), &out, nil)
	broken := wantStatus[*BrokenError](t, err, StatusBroken)
	if out.String() != refusal || broken.Sent != 10 || broken.Unsent != 1 {
		t.Errorf("out %q, %+v", out.String(), broken)
	}
}

// A halfBroken connection takes ten bytes.
type halfBroken struct {
	net.Conn
	n       int
	written chan struct{}
}

func (h *halfBroken) Write(p []byte) (int, error) {
	if h.n == 10 {
		close(h.written)
		return 0, os.NewSyscallError("write", syscall.EPIPE)
	}
	h.n += len(p)
	return h.Conn.Write(p)
}

func TestPipeResetWhileItWaits(t *testing.T) {
	t.Parallel()
	conn := serve(t, func(c *net.TCPConn) {
		io.ReadAll(c)
		reset(c)
	})
	err := Pipe(within(t), conn, strings.NewReader("all of it"), io.Discard, nil)
	broken := wantStatus[*BrokenError](t, err, StatusBroken)
	if broken.Sent != 9 || broken.Unsent != 0 || broken.Rest {
		t.Errorf("%+v", broken)
	}
}

func TestPipeOutputFails(t *testing.T) {
	t.Parallel()
	in, feed := io.Pipe() // an input that never ends
	defer feed.Close()
	conn := pair(t, onMemory(script(t, "<more than ten bytes")))
	err := Pipe(within(t), conn, in, &failAfter{10}, nil)
	if wantStatus[*OutputError](t, err, StatusFailed); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

func TestPipeOutputIsAClosedPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	conn := pair(t, onMemory(script(t, "<anything")))
	err = Pipe(within(t), conn, strings.NewReader(""), w, nil)
	// The connection has its EPIPE too: this one is not the peer's.
	if wantStatus[*OutputError](t, err, StatusFailed); !errors.Is(err, syscall.EPIPE) {
		t.Error(err)
	}
}

func TestPipeInputFails(t *testing.T) {
	t.Parallel()
	heard := make(chan error, 1)
	conn := pair(t, func(c *yodeltest.Conn) {
		_, err := io.ReadAll(c)
		heard <- err
	})
	err := Pipe(within(t), conn, &failAfter{10}, io.Discard, nil)
	if wantStatus[*InputError](t, err, StatusFailed); !errors.Is(err, errBroken) {
		t.Error(err)
	}
	<-heard
}

func TestPipeIsCancelled(t *testing.T) {
	t.Parallel()
	inputs := map[string]func(t *testing.T) io.Reader{
		"input silent": func(t *testing.T) io.Reader {
			in, feed := io.Pipe()
			t.Cleanup(func() { feed.Close() }) // ends the read that was abandoned
			return in
		},
		"input silent, can be told to stop": func(t *testing.T) io.Reader {
			in, feed, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { feed.Close(); in.Close() })
			return in
		},
		"peer does not read": func(*testing.T) io.Reader { return &failAfter{1 << 30} },
		"input at its end":   func(*testing.T) io.Reader { return strings.NewReader("") },
	}
	for name, input := range inputs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := (&yodeltest.Net{Buffer: 10}).Pipe()
			defer server.Close()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			err := Pipe(ctx, client, input(t), io.Discard, nil)
			if err != context.Canceled || ExitStatus(err) != StatusInterrupted {
				t.Errorf("error %v", err)
			}
			if _, err := client.Write(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is not closed: %v", err)
			}
		})
	}
}

func TestPipeLeavesItsInputUsable(t *testing.T) {
	t.Parallel()
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	client, server := new(yodeltest.Net).Pipe()
	defer server.Close()
	if err := Pipe(ctx, client, in, io.Discard, nil); err != context.Canceled {
		t.Fatal(err)
	}
	io.WriteString(feed, "for the next one")
	feed.Close()
	if got, err := io.ReadAll(in); string(got) != "for the next one" {
		t.Errorf("read %q, %v: the deadline that ended Pipe's read is still there", got, err)
	}
}

func TestPipeTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := new(yodeltest.Net).Pipe()
		defer server.Close()
		in, feed := io.Pipe()
		defer feed.Close()
		began := time.Now()
		go func() { // traffic in either direction puts it off
			for range 3 {
				time.Sleep(6 * time.Second)
				io.WriteString(server, "x")
				time.Sleep(6 * time.Second)
				io.WriteString(feed, "y")
			}
		}()
		err := Pipe(t.Context(), client, in, io.Discard, &Config{Timeout: 10 * time.Second})
		wantStatus[*TimeoutError](t, err, StatusTimedOut)
		if took := time.Since(began); took != 46*time.Second {
			t.Errorf("timed out after %v, wanted 10 s after the last byte, which came after 36 s", took)
		}
		if want := "timed out after 10s: nothing moved"; err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
	})
}

func TestPipeHoldsAPeerBackThatSaysTooMuch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := (&yodeltest.Net{Buffer: 1000}).Pipe()
		took := 0
		go func() {
			for {
				n, err := server.Write(make([]byte, 1000))
				took += n
				if err != nil {
					return
				}
			}
		}()
		reader, slow := io.Pipe() // nobody reads it
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- Pipe(ctx, client, strings.NewReader(""), slow, nil) }()
		synctest.Wait()
		if took > chunkSize+2000 {
			t.Errorf("the peer could send %d bytes to an output that takes none", took)
		}
		cancel()
		reader.Close()
		<-ended
		server.Close()
	})
}

func TestPipeNeedsHalfClose(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer server.Close()
	err := Pipe(within(t), client, strings.NewReader(""), io.Discard, nil)
	if err == nil || ExitStatus(err) != StatusFailed || !strings.Contains(err.Error(), "half-closed") {
		t.Errorf("error %v", err)
	}
}

func TestConnectOnly(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	conn := serve(t, func(c *net.TCPConn) {
		n, err := c.Read(make([]byte, 1))
		ended <- fmt.Errorf("%d %w", n, err)
	})
	if err := ConnectOnly(conn); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err.Error() != "0 EOF" {
		t.Errorf("the peer saw %v, wanted an orderly end", err)
	}
	udp := dial(t, "udp", "127.0.0.1:9")
	if err := ConnectOnly(udp); err != ErrNoConnection || ExitStatus(err) != StatusUsage {
		t.Errorf("udp: %v", err)
	}
}
