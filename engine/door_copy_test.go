package engine

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// numbered returns size bytes of which no piece is like another.
func numbered(size int) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return p
}

// fileOf returns an open file that holds p.
func fileOf(t *testing.T, p []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// watchedFile counts what is read of a file by this program itself.
type watchedFile struct {
	*os.File
	read *int
}

func (f watchedFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	*f.read += n
	return n, err
}

// WriteTo hides the one of os.File.
func (f watchedFile) WriteTo(w io.Writer) (int64, error) {
	return w.(io.ReaderFrom).ReadFrom(f)
}

// What a service copies from a file is counted, whole, and on Linux not touched by this
// program.
func TestDoorCopiesAFile(t *testing.T) {
	t.Parallel()
	data := numbered(3 << 20)
	for _, c := range []struct {
		name        string
		from, limit int64 // limit < 0: none
		want        int
	}{
		{"all", 0, -1, len(data)},
		{"to the end", 1000, int64(len(data)), len(data) - 1000},
		{"a piece", 1 << 20, 12345, 12345},
		{"nothing", 5, 0, 0},
		{"behind the end", int64(len(data)), -1, 0},
	} {
		read := 0
		f := watchedFile{fileOf(t, data), &read}
		l := listenTCP(t)
		b := startOn(t, l, connFunc(func(nc net.Conn) {
			f.Seek(c.from, io.SeekStart)
			src := io.Reader(f)
			if c.limit >= 0 {
				src = &io.LimitedReader{R: f, N: c.limit}
			}
			if n, err := io.Copy(nc, src); n != int64(c.want) || err != nil {
				t.Errorf("%s: copied %d bytes, %v", c.name, n, err)
			}
			if at, _ := f.Seek(0, io.SeekCurrent); at != c.from+int64(c.want) {
				t.Errorf("%s: the file stands at %d", c.name, at)
			}
			if lr, ok := src.(*io.LimitedReader); ok && lr.N != c.limit-int64(c.want) {
				t.Errorf("%s: %d bytes are left of the limit", c.name, lr.N)
			}
		}), Config{})
		got, err := io.ReadAll(dialTCP(t, l))
		if err != nil || !bytes.Equal(got, data[c.from:c.from+int64(c.want)]) {
			t.Errorf("%s: got %d bytes, %v", c.name, len(got), err)
		}
		b.Shutdown(t.Context())
		if s := b.Stats(); s.BytesOut != int64(c.want) {
			t.Errorf("%s: %d bytes are counted", c.name, s.BytesOut)
		}
		if runtime.GOOS == "linux" && read != 0 {
			t.Errorf("%s: %d bytes went through this program", c.name, read)
		}
	}
}

// What is no file, and what is no socket, is copied too.
func TestDoorCopiesOthers(t *testing.T) {
	t.Parallel()
	data := numbered(200_000)
	pipe := func(nc net.Conn) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		go func() {
			w.Write(data)
			w.Close()
		}()
		if n, err := nc.(io.ReaderFrom).ReadFrom(r); n != int64(len(data)) || err != nil {
			t.Errorf("a pipe: %d bytes, %v", n, err)
		}
	}
	memory := func(nc net.Conn) {
		if n, err := nc.(io.ReaderFrom).ReadFrom(bytes.NewReader(data)); n != int64(len(data)) || err != nil {
			t.Errorf("memory: %d bytes, %v", n, err)
		}
	}
	opened := fileOf(t, data)
	file := func(nc net.Conn) {
		if n, err := nc.(io.ReaderFrom).ReadFrom(opened); n != int64(len(data)) || err != nil {
			t.Errorf("a file: %d bytes, %v", n, err)
		}
	}
	for name, send := range map[string]func(net.Conn){"pipe": pipe, "memory": memory} {
		l := listenTCP(t)
		startOn(t, l, connFunc(send), Config{})
		if got, err := io.ReadAll(dialTCP(t, l)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
	}
	_, dial := serveOne(t, 0, connFunc(file), Config{})
	if got, err := io.ReadAll(dial()); err != nil || !bytes.Equal(got, data) {
		t.Errorf("a file to what is no socket: got %d bytes, %v", len(got), err)
	}
}

func TestDoorCopiesFromWhatIsClosed(t *testing.T) {
	t.Parallel()
	f := fileOf(t, numbered(10))
	f.Close()
	failed := make(chan error, 1)
	l := listenTCP(t)
	startOn(t, l, connFunc(func(nc net.Conn) {
		_, err := nc.(io.ReaderFrom).ReadFrom(f)
		failed <- err
	}), Config{})
	io.ReadAll(dialTCP(t, l))
	if err := <-failed; err == nil {
		t.Error("no error")
	}
}

// endless is a file that is as large as it takes, and takes no room.
func endless(t *testing.T) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err == nil {
		err = f.Truncate(1 << 30)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A peer that does not read is found out also where the kernel copies, and the deadline
// of the service's holds.
func TestDoorCopyLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		cfg      Config
		deadline time.Duration
		failed   error
		ended    Reason
	}{
		{"slow reader", Config{MinRate: 1 << 20, MinRateAfter: 50 * time.Millisecond}, 0, net.ErrClosed, SlowReader},
		{"idle", Config{MinRate: -1, Idle: 50 * time.Millisecond}, 0, net.ErrClosed, Idle},
		{"deadline", Config{}, 50 * time.Millisecond, os.ErrDeadlineExceeded, Done},
	} {
		f, failed := endless(t), make(chan error, 1)
		l := listenTCP(t)
		b := startOn(t, l, connFunc(func(nc net.Conn) {
			if c.deadline > 0 {
				nc.SetWriteDeadline(time.Now().Add(c.deadline))
			}
			_, err := io.Copy(nc, f)
			failed <- err
		}), c.cfg)
		dialTCP(t, l)
		if err := <-failed; !errors.Is(err, c.failed) {
			t.Errorf("%s: the copy ends with %v", c.name, err)
		}
		b.Shutdown(t.Context())
		if s := b.Stats(); s.Ended[c.ended] != 1 || s.BytesOut == 0 {
			t.Errorf("%s: %v, %d bytes out", c.name, s.Ended, s.BytesOut)
		}
	}
}

// A peer that leaves is no fault of ours.
func TestDoorCopyReset(t *testing.T) {
	t.Parallel()
	f := endless(t)
	l := listenTCP(t)
	b := startOn(t, l, connFunc(func(nc net.Conn) { io.Copy(nc, f) }), Config{})
	c := dialTCP(t, l)
	io.ReadFull(c, make([]byte, 1000))
	c.Close()
	b.Shutdown(t.Context())
	if s := b.Stats(); s.Ended[Reset] != 1 {
		t.Errorf("%v", s.Ended)
	}
}

// A copy and a Write at once are not mixed.
func TestDoorCopyIsNotMixed(t *testing.T) {
	t.Parallel()
	const size, writers = 2 << 20, 3
	files := make([]*os.File, writers)
	for i := range files {
		files[i] = fileOf(t, bytes.Repeat([]byte{byte('a' + i)}, size))
	}
	l := listenTCP(t)
	startOn(t, l, connFunc(func(nc net.Conn) {
		var all sync.WaitGroup
		for _, f := range files {
			all.Go(func() { io.Copy(nc, f) })
		}
		all.Go(func() { nc.Write(bytes.Repeat([]byte{'z'}, size)) })
		all.Wait()
	}), Config{})
	got, err := io.ReadAll(dialTCP(t, l))
	if err != nil || len(got) != size*(writers+1) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for piece := got; len(piece) > 0; piece = piece[size:] {
		if n := bytes.Count(piece[:size], piece[:1]); n != size {
			t.Fatalf("only %d of %d bytes in a row are from one", n, size)
		}
	}
}
