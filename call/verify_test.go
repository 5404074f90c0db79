package call

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"yodel/yodeltest"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	in := allBytes(5 << 20) // more than the window and all buffers
	v, err := Verify(within(t), serve(t, echo), bytes.NewReader(in), nil)
	if err != nil || v.Sent != int64(len(in)) || v.Right != v.Sent || v.Took <= 0 {
		t.Errorf("%v, %v", v, err)
	}
}

func TestVerifyUpper(t *testing.T) {
	t.Parallel()
	peer := func(c *yodeltest.Conn) { upperPeer(c) }
	in := "hello there\nÄöß \x00\xff ı az AZ `{@[\r\n"
	v, err := Verify(within(t), pair(t, func(c *yodeltest.Conn) {
		// Only a to z change, byte by byte: bytes.ToUpper would change ö and ı.
		all, _ := io.ReadAll(c)
		for i, b := range all {
			if 'a' <= b && b <= 'z' {
				all[i] = b - 32
			}
		}
		c.Write(all)
	}), strings.NewReader(in), &Config{Upper: true})
	if err != nil || v.Right != int64(len(in)) {
		t.Errorf("%v, %v", v, err)
	}
	v, err = Verify(within(t), pair(t, peer), strings.NewReader("one\ntwo\n"), &Config{Upper: true, CRLF: true})
	if err != nil || v.String()[:len("10 bytes sent, 10 came back right, in ")] != "10 bytes sent, 10 came back right, in " {
		t.Errorf("%v, %v", v, err)
	}
}

func TestVerifyNothing(t *testing.T) {
	t.Parallel()
	if v, err := Verify(within(t), serve(t, echo), strings.NewReader(""), nil); err != nil || v.Sent != 0 {
		t.Errorf("%v, %v", v, err)
	}
}

// A liar is a peer that answers with what lie makes of the request.
func liar(lie func(c *yodeltest.Conn, request string)) func(*yodeltest.Conn) {
	return func(c *yodeltest.Conn) {
		all, _ := io.ReadAll(c)
		lie(c, string(all))
	}
}

func TestVerifyFindsLies(t *testing.T) {
	t.Parallel()
	const in = "0123456789abcdef"
	says := func(answer string) func(*yodeltest.Conn) {
		return liar(func(c *yodeltest.Conn, _ string) { io.WriteString(c, answer) })
	}
	tests := map[string]struct {
		peer   func(*yodeltest.Conn)
		status int
		want   string
	}{
		"flips the first":  {says("\x00123456789abcdef"), StatusWrong, "wrong answer: byte at offset 0 is 0x00, expected 0x30 (0)"},
		"flips the last":   {says("0123456789abcdeF"), StatusWrong, "wrong answer: byte at offset 15 is 0x46 (F), expected 0x66 (f)"},
		"drops one":        {says("0123456789bcdef"), StatusWrong, "wrong answer: byte at offset 10 is 0x62 (b), expected 0x61 (a)"},
		"doubles one":      {says("01233456789abcdef"), StatusWrong, "wrong answer: byte at offset 4 is 0x33 (3), expected 0x34 (4)"},
		"drops the last":   {says("0123456789abcde"), StatusWrong, "answer lost: 1 byte missing after offset 15: the peer has ended its direction"},
		"says nothing":     {says(""), StatusWrong, "answer lost: 16 bytes missing after offset 0: the peer has ended its direction"},
		"says more":        {says("0123456789abcdef\x1b[2J"), StatusWrong, `wrong answer: unexpected bytes at offset 16: "\x1b[2J"`},
		"says much more":   {says(in + strings.Repeat("y", 999)), StatusWrong, `wrong answer: unexpected bytes at offset 16: "` + strings.Repeat("y", 64) + `"`},
		"doubles all":      {says(in + in), StatusWrong, `wrong answer: unexpected bytes at offset 16: "0123456789abcdef"`},
		"resets half-way":  {liar(func(c *yodeltest.Conn, r string) { c.Reset() }), StatusBroken, "connection broken: read: connection reset by peer; 16 bytes sent"},
		"closes at once":   {func(*yodeltest.Conn) {}, StatusWrong, ""},
		"resets at once":   {func(c *yodeltest.Conn) { c.Reset() }, StatusBroken, ""},
		"speaks too early": {func(c *yodeltest.Conn) { io.WriteString(c, "???"); io.ReadAll(c) }, StatusWrong, ""},
		"drips": {liar(func(c *yodeltest.Conn, r string) {
			for _, b := range []byte(r) {
				c.Write([]byte{b})
			}
		}), StatusDone, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Verify(within(t), pair(t, test.peer), strings.NewReader(in), nil)
			if got := ExitStatus(err); got != test.status {
				// A peer that closes at once may be met before or after we send.
				if name != "closes at once" || got != StatusBroken {
					t.Errorf("exit status %d of %v, wanted %d", got, err, test.status)
				}
			}
			if test.want != "" && (err == nil || err.Error() != test.want) {
				t.Errorf("error  %v\nwanted %s", err, test.want)
			}
		})
	}
}

func TestVerifyKeepsWhatWasRight(t *testing.T) {
	t.Parallel()
	in := allBytes(100_000)
	conn := serve(t, func(c *net.TCPConn) {
		half := make([]byte, 60_000)
		io.ReadFull(c, half)
		c.Write(half)
		half[0] ^= 1
		c.Write(half)
		io.ReadAll(c)
	})
	v, err := Verify(within(t), conn, bytes.NewReader(in), nil)
	wrong := wantStatus[*MismatchError](t, err, StatusWrong)
	if v.Right != 60_000 || wrong.Offset != 60_000 || wrong.Want != in[60_000] || wrong.Got != in[0]^1 {
		t.Errorf("%v, %+v", v, wrong)
	}
}

func TestVerifyPeerEndsBeforeTheInput(t *testing.T) {
	t.Parallel()
	in, feed := io.Pipe()
	ended := make(chan struct{})
	conn := pair(t, func(c *yodeltest.Conn) {
		buf := make([]byte, 5)
		io.ReadFull(c, buf)
		c.Write(buf)
		c.CloseWrite()
		io.ReadAll(c)
	})
	go func() {
		io.WriteString(feed, "first")
		<-ended
		io.WriteString(feed, "never answered")
		feed.Close()
	}()
	rec := Record(conn, target, &eventHook{EOF, func() { close(ended) }})
	v, err := Verify(within(t), rec, in, nil)
	lost := wantStatus[*LostError](t, err, StatusWrong)
	if v.Right != 5 || lost.Received != 5 || lost.Missing != 14 {
		t.Errorf("%v, %+v", v, lost)
	}
}

func TestVerifyPeerEndsAfterTheLastAnswer(t *testing.T) {
	t.Parallel()
	in, feed := io.Pipe()
	ended := make(chan struct{})
	conn := pair(t, func(c *yodeltest.Conn) {
		buf := make([]byte, 5)
		io.ReadFull(c, buf)
		c.Write(buf)
		c.CloseWrite()
		io.ReadAll(c)
	})
	go func() {
		io.WriteString(feed, "first")
		<-ended
		feed.Close()
	}()
	rec := Record(conn, target, &eventHook{EOF, func() { close(ended) }})
	if v, err := Verify(within(t), rec, in, nil); err != nil || v.Right != 5 {
		t.Errorf("%v, %v", v, err)
	}
}

func TestVerifyTimesOut(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		peer func(net.Conn)
		size int
		want string
	}{
		"silent": {
			func(c net.Conn) { io.ReadAll(c) }, 10,
			"timed out after 10s: nothing moved; 10 bytes not answered",
		},
		"does not end": {
			func(c net.Conn) { b := make([]byte, 10); io.ReadFull(c, b); c.Write(b) }, 10,
			"timed out after 10s: nothing moved; all is right so far, but the peer has not ended its direction",
		},
		"answers only when it has heard all": {
			func(c net.Conn) { io.Copy(io.Discard, c) }, windowSize + 3*chunkSize,
			"timed out after 10s: nothing moved; 1114112 bytes not answered", // one chunk more than the window
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, server := new(yodeltest.Net).Pipe()
				done := make(chan struct{})
				go func() {
					test.peer(server)
					close(done)
				}()
				_, err := Verify(t.Context(), client, bytes.NewReader(make([]byte, test.size)), nil)
				wantStatus[*TimeoutError](t, err, StatusTimedOut)
				if err.Error() != test.want {
					t.Errorf("error  %v\nwanted %s", err, test.want)
				}
				server.Close()
				<-done
			})
		})
	}
}

func TestVerifyIsCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	conn := pair(t, func(c *yodeltest.Conn) {
		io.ReadFull(c, make([]byte, 3))
		cancel()
		io.ReadAll(c)
	})
	v, err := Verify(ctx, conn, iotest.OneByteReader(strings.NewReader("abc")), nil)
	if err != context.Canceled || v.Sent != 3 {
		t.Errorf("%v, %v", v, err)
	}
}

func TestVerifyResetSaysHowMuchWasSent(t *testing.T) {
	t.Parallel()
	conn := serve(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 4))
		reset(c)
	})
	_, err := Verify(within(t), conn, strings.NewReader("four"), nil)
	if broken := wantStatus[*BrokenError](t, err, StatusBroken); broken.Sent != 4 || broken.Err == nil {
		t.Errorf("%+v, %v", broken, syscall.ECONNRESET)
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	w := newWindow(8)
	text := allBytes(1000)
	at, due := 0, 0
	for n := 1; at < len(text); n = n*7%11 + 1 { // steps of 1 to 11 bytes over a ring of 8
		took, ok := w.add(text[due:min(due+n, len(text))])
		due += took
		if !ok || due-at > 8 {
			t.Fatalf("the window holds %d of 8 bytes", due-at)
		}
		k := min(n, due-at)
		equal, _, _ := w.take(text[at : at+k])
		if equal != k {
			t.Fatalf("at %d: %d of %d bytes are said to be equal", at, equal, k)
		}
		at += k
	}
	w.add([]byte("abc"))
	if equal, want, due := w.take([]byte("abX")); equal != 2 || want != 'c' || !due {
		t.Errorf("took %d, want %q, due %v", equal, want, due)
	}
	if n := w.end(); n != 1 {
		t.Errorf("%d bytes are left, wanted one", n)
	}
	if _, ok := w.add([]byte("x")); ok {
		t.Error("the window took bytes after its end")
	}
}

func BenchmarkWindow(b *testing.B) {
	w := newWindow(windowSize)
	p := allBytes(chunkSize)
	b.SetBytes(chunkSize)
	for b.Loop() {
		w.add(p)
		w.take(p)
	}
}
