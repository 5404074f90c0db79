package rio_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yodel/rio"
)

// connect returns the two ends of a TCP connection over loopback.
func connect(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialled, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close() })
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
}

// past is a deadline that makes a call on a connection fail at once.
var past = time.Unix(1, 0)

func TestSocketDeadlineInTheMiddleOfALine(t *testing.T) {
	t.Parallel()
	client, server := connect(t)
	r := rio.NewReader(server, 64, rio.RefuseLong)
	send(t, client, "one\nhel")
	wantLine(t, r, "one\n")

	server.SetReadDeadline(past)
	wantLineError(t, r, os.ErrDeadlineExceeded)
	wantLineError(t, r, os.ErrDeadlineExceeded)

	server.SetReadDeadline(time.Time{})
	send(t, client, "lo\nlast")
	wantLine(t, r, "hello\n")
	client.CloseWrite()
	wantLine(t, r, "last")
	wantLineError(t, r, io.EOF)
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func TestSocketReset(t *testing.T) {
	t.Parallel()
	client, server := connect(t)
	r := rio.NewReader(server, 64, rio.SplitLong)
	send(t, client, "one\n")
	wantLine(t, r, "one\n")
	client.SetLinger(0)
	client.Close()
	for range 2 { // the kernel would say "end" the second time
		if line, err := r.ReadLine(); line != nil || err == nil || err == io.EOF {
			t.Errorf("after a reset: %q, %v; want the failure, each time", line, err)
		}
	}
}

func TestSocketWriteDeadline(t *testing.T) {
	t.Parallel()
	client, server := connect(t)
	in := strings.Repeat("0123456789abcde\n", 1000)
	w := rio.NewWriter(client)
	client.SetWriteDeadline(past)
	n, err := w.WriteString(in)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Write = %d, %v; want the deadline", n, err)
	}
	client.SetWriteDeadline(time.Time{})
	if _, err := w.WriteString(in[n:]); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	client.CloseWrite()
	if got, err := io.ReadAll(server); string(got) != in || err != nil {
		t.Errorf("%d bytes came, %v; want %d", len(got), err, len(in))
	}
}

func TestPipe(t *testing.T) {
	t.Parallel()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	text := strings.Repeat(strings.Repeat("x", 99)+"\n", 5000)
	wrote := make(chan error, 1)
	go func() { // 500 kB: more than a pipe holds
		_, err := rio.WriteFull(in, []byte(text))
		wrote <- errors.Join(err, in.Close())
	}()
	compare(t, "through a pipe", readLines(t, rio.NewReader(out, 100, rio.RefuseLong)), naiveLines(text, 100, rio.RefuseLong))
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "quotes")
	if err := os.WriteFile(name, []byte("one\ntwo\nthree"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	compare(t, "a file", readLines(t, rio.NewReader(f, 64, rio.SplitLong)), []string{"one\n", "two\n", "three"})
}
