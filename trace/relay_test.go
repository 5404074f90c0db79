package trace_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"yodel/trace"
)

// kernel is a TCP connection that remembers what it was asked to copy.
type kernel struct {
	*net.TCPConn
	asked *[]io.Reader
	err   error
}

func (k kernel) ReadFrom(r io.Reader) (int64, error) {
	*k.asked = append(*k.asked, r)
	n, err := k.TCPConn.ReadFrom(r)
	return n, errors.Join(err, k.err)
}

func file(t *testing.T, content string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// collect reads all of r.
func collect(r io.Reader) <-chan string {
	got := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(r)
		got <- string(b)
	}()
	return got
}

var longText = strings.Repeat("0123456789abcdef", 1<<14) // 256 KiB

func TestFileGoesToTheKernel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		sink  trace.Sink
		src   func(f *os.File) io.Reader
		asked int
	}{
		{"a file, without a sink", nil, func(f *os.File) io.Reader { return f }, 1},
		{"a file", newRecorder(), func(f *os.File) io.Reader { return f }, 1},
		{"a piece of a file", newRecorder(), func(f *os.File) io.Reader { return io.LimitReader(f, 1e9) }, 1},
		{"a file, each call wanted", trace.EachCall(newRecorder()), func(f *os.File) io.Reader { return f }, 0},
		{"memory", newRecorder(), func(*os.File) io.Reader { return strings.NewReader(longText) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client, server := pair(t)
			var asked []io.Reader
			s := trace.NewConn(kernel{server, &asked, nil}, trace.NewID(), trace.Server, c.sink)
			got := collect(client)
			n, err := s.ReadFrom(c.src(file(t, longText)))
			if n != int64(len(longText)) || err != nil {
				t.Errorf("copied %d, %v", n, err)
			}
			s.Close()
			if <-got != longText {
				t.Error("what arrived is not what was sent")
			}
			_, out := s.Sums()
			check(t, "sum", out, int64(len(longText)))
			check(t, "copies in the kernel", len(asked), c.asked)
			if rec, ok := c.sink.(*recorder); ok {
				rec.wantOps(t, "write close")
				check(t, "sum in the trace", rec.wait(t, trace.Close).Out, int64(len(longText)))
			}
		})
	}
}

func TestShortFileAndCopyThatFails(t *testing.T) {
	t.Parallel()
	client, server := pair(t)
	var asked []io.Reader
	rec := newRecorder()
	s := trace.NewConn(kernel{server, &asked, io.ErrNoProgress}, trace.NewID(), trace.Server, rec)
	if n, err := io.Copy(s, file(t, "short")); n != 5 || err != nil {
		t.Errorf("copied %d, %v", n, err)
	}
	want(t, client, "short")
	check(t, "copies in the kernel", len(asked), 0)

	if n, err := s.ReadFrom(file(t, "again")); n != 5 || !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("copied %d, %v", n, err)
	}
	s.Close()
	end := rec.wait(t, trace.Close)
	check(t, "how it ended", end.Text, trace.EndFault)
	check(t, "sums", sums(end), "0 in, 10 out")

	if _, err := s.ReadFrom(file(t, "late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("copy after the end: %v", err)
	}
	rec.wantOps(t, "write close")
}

// TestRelay copies from one connection to another, as a proxy does.
func TestRelay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		sink func() trace.Sink
	}{
		{"without a sink", func() trace.Sink { return nil }},
		{"with a sink", func() trace.Sink { return newRecorder() }},
		{"each call wanted", func() trace.Sink { return trace.EachCall(newRecorder()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			from, a := pair(t)
			to, b := pair(t)
			in := trace.NewConn(a, trace.NewID(), trace.Server, c.sink())
			out := trace.NewConn(b, trace.NewID(), trace.Client, c.sink())
			got := collect(to)
			go func() {
				io.WriteString(from, longText)
				from.Close()
			}()
			if n, err := io.Copy(out, in); n != int64(len(longText)) || err != nil {
				t.Errorf("copied %d, %v", n, err)
			}
			in.Close()
			out.Close()
			if <-got != longText {
				t.Error("what arrived is not what was sent")
			}
			received, _ := in.Sums()
			_, sent := out.Sums()
			check(t, "received", received, int64(len(longText)))
			check(t, "sent", sent, int64(len(longText)))
		})
	}
}

func TestRelayTellsEndsAndFaults(t *testing.T) {
	t.Parallel()
	from, a := pair(t)
	rec := newRecorder()
	in := trace.NewConn(a, trace.NewID(), trace.Server, rec)
	_, plain := pair(t)
	send(t, from, "x")
	want(t, in, "x") // the first read is out: what follows goes to the kernel
	from.Close()
	if n, err := io.Copy(plain, in); n != 0 || err != nil {
		t.Errorf("copied %d, %v", n, err)
	}
	in.Close()
	rec.wantOps(t, "read eof close")
	check(t, "how it ended", rec.wait(t, trace.Close).Text, trace.EndPeer)

	from, a = pair(t)
	rec = newRecorder()
	in = trace.NewConn(a, trace.NewID(), trace.Server, rec)
	send(t, from, "x")
	want(t, in, "x")
	gone, plain := pair(t)
	gone.SetLinger(0)
	gone.Close()
	wantReset(t, plain)
	send(t, from, "to nobody")
	if _, err := io.Copy(plain, in); err == nil {
		t.Error("a copy to a connection that was reset has no error")
	}
	in.Close()
	end := rec.wait(t, trace.Close)
	check(t, "how it ended", end.Text, trace.EndFault)
	check(t, "has an error", end.Err != nil, true)
}

func wantReset(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Fatalf("read: %v, want a reset", err)
	}
}

func TestRelayOfLittle(t *testing.T) {
	t.Parallel()
	from, a := pair(t)
	to, b := pair(t)
	rec := newRecorder()
	in := trace.NewConn(a, trace.NewID(), trace.Server, rec)
	send(t, from, "hello")
	from.Close()
	if n, err := io.Copy(b, in); n != 5 || err != nil {
		t.Errorf("copied %d, %v", n, err)
	}
	want(t, to, "hello")
	rec.wantOps(t, "read eof")

	a.Close()
	in = trace.NewConn(a, trace.NewID(), trace.Server, rec)
	if n, err := io.Copy(b, in); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("from a closed connection: copied %d, %v", n, err)
	}

	var buf bytes.Buffer // not a socket: piece by piece
	from, a = pair(t)
	in = trace.NewConn(a, trace.NewID(), trace.Server, nil)
	send(t, from, "hello")
	from.Close()
	if n, err := io.Copy(&buf, io.LimitReader(in, 4)); n != 4 || err != nil || buf.String() != "hell" {
		t.Errorf("copied %d, %v: %q", n, err, buf.String())
	}
	to, b = pair(t)
	if n, err := io.Copy(trace.NewConn(b, trace.NewID(), trace.Client, nil), io.LimitReader(in, 4)); n != 1 || err != nil {
		t.Errorf("copied %d, %v", n, err)
	}
	want(t, to, "o")
}

// TestFilesDoNotGoRound: given a descriptor, an *os.File would copy past the Conn, and
// nothing would be counted.
func TestFilesDoNotGoRound(t *testing.T) {
	t.Parallel()
	for _, sink := range []trace.Sink{nil, newRecorder()} {
		client, server := pair(t)
		s := trace.NewConn(server, trace.NewID(), trace.Server, sink)
		got := collect(client)
		if n, err := io.Copy(s, file(t, longText)); n != int64(len(longText)) || err != nil {
			t.Errorf("copied %d, %v", n, err)
		}
		s.CloseWrite()
		check(t, "what arrived is what was sent", <-got == longText, true)
		send(t, client, "hello")
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if n, err := io.CopyN(out, s, 5); n != 5 || err != nil {
			t.Errorf("copied %d, %v", n, err)
		}
		in, sent := s.Sums()
		check(t, "in", in, 5)
		check(t, "out", sent, int64(len(longText)))
	}
}

// TestRelayToTLS: above TCP there may be a layer that has to see the bytes.
func TestRelayToTLS(t *testing.T) {
	t.Parallel()
	from, a := pair(t)
	to, b := pair(t)
	in := trace.NewConn(a, trace.NewID(), trace.Server, nil)
	out := trace.NewConn(tls.Client(b, &tls.Config{InsecureSkipVerify: true}), trace.NewID(), trace.Client, nil)
	send(t, from, "secret")
	from.Close()
	to.Close() // there is no handshake: the copy has to fail, not to send plain text
	if n, err := io.Copy(out, in); n != 0 || err == nil {
		t.Errorf("copied %d, %v", n, err)
	}
}

// wrapped is a connection of a program's own kind around ours.
type wrapped struct{ *trace.Conn }

func TestRelayBetweenWrappers(t *testing.T) {
	t.Parallel()
	from, a := pair(t)
	to, b := pair(t)
	in := wrapped{trace.NewConn(a, trace.NewID(), trace.Server, nil)}
	out := wrapped{trace.NewConn(b, trace.NewID(), trace.Client, newRecorder())}
	got := collect(to)
	go func() {
		io.WriteString(from, longText)
		from.Close()
	}()
	if n, err := io.CopyN(out, in, 7); n != 7 || err != nil {
		t.Errorf("copied %d, %v", n, err)
	}
	if n, err := io.Copy(out, in); n != int64(len(longText)-7) || err != nil {
		t.Errorf("copied %d, %v", n, err)
	}
	out.Close()
	check(t, "what arrived is what was sent", <-got == longText, true)
	received, _ := in.Sums()
	_, sent := out.Sums()
	check(t, "received", received, int64(len(longText)))
	check(t, "sent", sent, int64(len(longText)))
}
