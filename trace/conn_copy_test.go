package trace_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yodel/trace"
)

// What goes between a connection and a file without the program seeing it is counted and
// told all the same.
func TestConnCopiesFiles(t *testing.T) {
	t.Parallel()
	s, client, rec := traced(t)
	dir := t.TempDir()
	content := strings.Repeat("0123456789abcdef", 1000)
	if err := os.WriteFile(filepath.Join(dir, "from"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(filepath.Join(dir, "from"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	for _, piece := range []int64{10_000, 6_000} {
		if n, err := s.WriteFrom(io.LimitReader(from, piece)); n != piece || err != nil {
			t.Errorf("WriteFrom: %d, %v", n, err)
		}
	}
	want(t, client, content)

	to, err := os.Create(filepath.Join(dir, "to"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	send(t, client, content)
	if n, err := s.ReadTo(to, 10_000); n != 10_000 || err != nil {
		t.Errorf("ReadTo: %d, %v", n, err)
	}
	client.CloseWrite()
	if n, err := s.ReadTo(to, 10_000); n != 6_000 || err != nil {
		t.Errorf("ReadTo at the end: %d, %v", n, err)
	}
	s.Close()
	rec.wantOps(t, "write read eof close")
	check(t, "the first write", rec.wait(t, trace.Write).Bytes, 10_000)
	check(t, "the first read", rec.wait(t, trace.Read).Bytes, 10_000)
	check(t, "sums at the end", sums(rec.wait(t, trace.Close)), "16000 in, 16000 out")
	if got, err := os.ReadFile(filepath.Join(dir, "to")); string(got) != content || err != nil {
		t.Errorf("the file has %d bytes, %v", len(got), err)
	}
}

// A failure of either end is told, and a deadline is none.
func TestConnCopyFails(t *testing.T) {
	t.Parallel()
	s, client, rec := traced(t)
	full := errors.New("disk full")
	s.SetReadDeadline(time.Now())
	if n, err := s.ReadTo(failingFrom{nil}, 10); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("behind a deadline: %d, %v", n, err)
	}
	s.SetReadDeadline(time.Time{})
	send(t, client, "x")
	if _, err := s.ReadTo(failingFrom{full}, 10); err != full {
		t.Errorf("ReadTo: %v", err)
	}
	if _, err := s.WriteFrom(failingFrom{full}); !errors.Is(err, full) {
		t.Errorf("WriteFrom: %v", err)
	}
	s.Close()
	check(t, "how it ended", rec.wait(t, trace.Close).Text, trace.EndFault)
}

// failingFrom fails with an error, or with what its source fails with.
type failingFrom struct{ err error }

func (f failingFrom) Read([]byte) (int, error) { return 0, f.err }

func (f failingFrom) ReadFrom(src io.Reader) (int64, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := src.Read(make([]byte, 10))
	return int64(n), err
}

// Without a sink there are the sums.
func TestConnCopiesWithoutASink(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	c := trace.NewConn(a, trace.NewID(), trace.Server, nil)
	go func() {
		io.ReadFull(b, make([]byte, 5))
		io.WriteString(b, "hello!")
		b.Close()
	}()
	if n, err := c.WriteFrom(strings.NewReader("hello")); n != 5 || err != nil {
		t.Errorf("WriteFrom: %d, %v", n, err)
	}
	var got fileLike
	if n, err := c.ReadTo(&got, 100); n != 6 || err != nil || got.String() != "hello!" {
		t.Errorf("ReadTo: %d, %v, %q", n, err, got.String())
	}
	if in, out := c.Sums(); in != 6 || out != 5 {
		t.Errorf("%d in, %d out", in, out)
	}
}

type fileLike struct{ strings.Builder }

func (f *fileLike) ReadFrom(src io.Reader) (int64, error) { return io.Copy(&f.Builder, src) }
