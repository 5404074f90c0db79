package rio_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"yodel/rio"
)

// A take is what one Write does: it takes n bytes and returns err.
type take struct {
	n   int
	err error
}

// A taker is a destination that does what its takes say, then takes everything.
type taker struct {
	takes []take
	got   strings.Builder
	calls int
}

func (d *taker) Write(p []byte) (int, error) {
	d.calls++
	if len(d.takes) == 0 {
		return d.got.Write(p)
	}
	now := d.takes[0]
	d.takes = d.takes[1:]
	n := min(now.n, len(p))
	d.got.Write(p[:n])
	return n, now.err
}

func TestWriteFull(t *testing.T) {
	t.Parallel()
	broken, eintr := errors.New("broken"), os.NewSyscallError("write", syscall.EINTR)
	for _, c := range []struct {
		name  string
		takes []take
		n     int
		err   error
		calls int
	}{
		{"at once", nil, 10, nil, 1},
		{"short writes", []take{{3, nil}, {1, nil}}, 10, nil, 3},
		{"interrupted before and in the middle", []take{{0, eintr}, {4, eintr}}, 10, nil, 3},
		{"idle for a while", make([]take, 99), 10, nil, 100},
		{"idle for ever", make([]take, 100), 0, io.ErrShortWrite, 100},
		{"some, then idle for ever", append([]take{{4, nil}}, make([]take, 100)...), 4, io.ErrShortWrite, 101},
		{"a failure", []take{{3, nil}, {2, broken}}, 5, broken, 2},
		{"a failure at once", []take{{0, broken}}, 0, broken, 1},
		{"a failure with the last byte", []take{{10, broken}}, 10, broken, 1},
		{"a timeout", []take{{3, os.ErrDeadlineExceeded}}, 3, os.ErrDeadlineExceeded, 1},
	} {
		dst := &taker{takes: c.takes}
		n, err := rio.WriteFull(dst, []byte("0123456789"))
		if n != c.n || err != c.err || dst.calls != c.calls || dst.got.String() != "0123456789"[:c.n] {
			t.Errorf("%s: WriteFull = %d, %v, wrote %q in %d calls; want %d, %v in %d",
				c.name, n, err, dst.got.String(), dst.calls, c.n, c.err, c.calls)
		}
	}
}

func TestNothingToDoMakesNoCall(t *testing.T) {
	t.Parallel()
	src, dst := play(), &taker{}
	if n, err := rio.WriteFull(dst, nil); n != 0 || err != nil || dst.calls != 0 {
		t.Errorf("WriteFull of nothing = %d, %v in %d calls", n, err, dst.calls)
	}
	if n, err := rio.ReadFull(src, nil); n != 0 || err != nil || src.calls != 0 {
		t.Errorf("ReadFull of nothing = %d, %v in %d calls", n, err, src.calls)
	}
	if err := rio.NewWriter(dst).Flush(); err != nil || dst.calls != 0 {
		t.Errorf("Flush of nothing = %v in %d calls", err, dst.calls)
	}
}

func TestReadFull(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		src  io.Reader
		got  string
		err  error
	}{
		{"at once", strings.NewReader("0123456789"), "01234567", nil},
		{"byte by byte", iotest.OneByteReader(strings.NewReader("0123456789")), "01234567", nil},
		{"exactly, with the end", iotest.DataErrReader(strings.NewReader("01234567")), "01234567", nil},
		{"exactly, with a failure", play(step{"01234567", broken}), "01234567", nil},
		{"short", strings.NewReader("0123"), "0123", io.ErrUnexpectedEOF},
		{"short, the end with the bytes", iotest.DataErrReader(strings.NewReader("0123")), "0123", io.ErrUnexpectedEOF},
		{"nothing", strings.NewReader(""), "", io.EOF},
		{"a failure on the way", play(step{"012", nil}, step{"3", broken}), "0123", broken},
		{"interrupted", play(step{"", syscall.EINTR}, step{"0123", syscall.EINTR}, step{"4567", nil}), "01234567", nil},
		{"idle for ever", &script{steps: append([]step{{"01", nil}}, make([]step, 100)...)}, "01", io.ErrNoProgress},
	} {
		var p [8]byte
		if n, err := rio.ReadFull(c.src, p[:]); string(p[:n]) != c.got || err != c.err {
			t.Errorf("%s: ReadFull = %q, %v; want %q, %v", c.name, p[:n], err, c.got, c.err)
		}
	}
}

func TestWriterCollects(t *testing.T) {
	t.Parallel()
	dst := &taker{}
	w := rio.NewWriter(dst)
	for range 100 {
		if n, err := w.WriteString("220 ready\r\n"); n != 11 || err != nil {
			t.Fatalf("WriteString = %d, %v", n, err)
		}
		if n, err := w.Write([]byte("more\r\n")); n != 6 || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	if dst.calls != 0 || w.Buffered() != 1700 {
		t.Errorf("before Flush: %d calls, %d bytes buffered; want 0 and 1700", dst.calls, w.Buffered())
	}
	err := w.Flush()
	if want := strings.Repeat("220 ready\r\nmore\r\n", 100); err != nil || dst.calls != 1 || dst.got.String() != want {
		t.Errorf("Flush = %v, %d calls, %d bytes", err, dst.calls, dst.got.Len())
	}
	if w.Buffered() != 0 {
		t.Errorf("after Flush: %d bytes buffered", w.Buffered())
	}
}

func TestWriterOverflows(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("0123456789abcdef", 4096)
	for name, write := range map[string]func(*rio.Writer, string) (int, error){
		"Write":       func(w *rio.Writer, s string) (int, error) { return w.Write([]byte(s)) },
		"WriteString": (*rio.Writer).WriteString,
	} {
		dst := &taker{takes: []take{{100, nil}, {0, nil}, {9000, nil}}}
		w := rio.NewWriter(dst)
		for _, part := range []string{in[:10], in[10:8192], in[8192:8193], in[8193:30000], in[30000:]} {
			if n, err := write(w, part); n != len(part) || err != nil {
				t.Fatalf("%s of %d bytes = %d, %v", name, len(part), n, err)
			}
		}
		if err := w.Flush(); err != nil || dst.got.String() != in {
			t.Errorf("%s: %v, %d bytes, want %d", name, err, dst.got.Len(), len(in))
		}
	}
}

func TestLargeWritesBypassTheBuffer(t *testing.T) {
	t.Parallel()
	dst := &taker{}
	if _, err := rio.NewWriter(dst).Write(make([]byte, 1<<20)); err != nil || dst.calls != 1 {
		t.Errorf("a mebibyte: %v in %d calls, want 1", err, dst.calls)
	}
}

func TestWriterGoesOnAfterATimeout(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("0123456789", 2000)
	late := os.ErrDeadlineExceeded
	for name, write := range map[string]func(*rio.Writer, string) (int, error){
		"Write":       func(w *rio.Writer, s string) (int, error) { return w.Write([]byte(s)) },
		"WriteString": (*rio.Writer).WriteString,
	} {
		dst := &taker{takes: []take{{7, late}, {0, late}, {8000, late}, {8000, late}}}
		w := rio.NewWriter(dst)
		at, timeouts := 0, 0
		for at < len(in) {
			n, err := write(w, in[at:min(at+6000, len(in))])
			if at += n; err != nil {
				timeouts++
			}
			if dst.got.Len()+w.Buffered() != at {
				t.Fatalf("%s: took %d bytes, but sent %d and has %d", name, at, dst.got.Len(), w.Buffered())
			}
		}
		for w.Flush() != nil {
			timeouts++
		}
		if dst.got.String() != in || timeouts != 4 {
			t.Errorf("%s: %d bytes and %d timeouts, want %d and 4", name, dst.got.Len(), timeouts, len(in))
		}
	}
}

func TestWriterGoesOnAfterIdleWrites(t *testing.T) {
	t.Parallel()
	dst := &taker{takes: append([]take{{3, nil}}, make([]take, 100)...)}
	w := rio.NewWriter(dst)
	w.WriteString("hello")
	if err := w.Flush(); err != io.ErrShortWrite || w.Buffered() != 2 {
		t.Errorf("Flush = %v, %d left; want a short write and 2", err, w.Buffered())
	}
	if err := w.Flush(); err != nil || dst.got.String() != "hello" {
		t.Errorf("Flush = %v, all %q", err, dst.got.String())
	}
}

func TestWriterErrorsStay(t *testing.T) {
	t.Parallel()
	dst := &taker{takes: []take{{3, syscall.EPIPE}}}
	w := rio.NewWriter(dst)
	w.WriteString("hello")
	for range 2 {
		if err := w.Flush(); err != syscall.EPIPE || w.Buffered() != 2 {
			t.Errorf("Flush = %v, %d left, want EPIPE and 2", err, w.Buffered())
		}
	}
	if n, err := w.Write([]byte("more")); n != 0 || err != syscall.EPIPE {
		t.Errorf("Write = %d, %v", n, err)
	}
	if n, err := w.WriteString("more"); n != 0 || err != syscall.EPIPE {
		t.Errorf("WriteString = %d, %v", n, err)
	}
	if dst.calls != 1 {
		t.Errorf("%d calls of the destination, want none after its failure", dst.calls)
	}
}

func TestWritersAllocateNothing(t *testing.T) {
	w := rio.NewWriter(io.Discard)
	line := []byte("a line of text\n")
	if n := testing.AllocsPerRun(10_000, func() {
		w.Write(line)
		w.WriteString("another line of text\n")
	}); n != 0 {
		t.Errorf("%v allocations a line, want 0", n)
	}
}

func FuzzWriter(f *testing.F) {
	for i, in := range seeds {
		f.Add(in, seedCuts[i%len(seedCuts)], []byte{5, 0, 200, 1})
	}
	f.Fuzz(func(t *testing.T, in string, writes, takes []byte) {
		dst := &taker{}
		for _, n := range takes {
			tk := take{n: int(n) * 64}
			switch n {
			case cutInterrupted:
				tk = take{0, syscall.EINTR}
			case cutTimeout, cutTimeBytes:
				tk.err = os.ErrDeadlineExceeded
			}
			dst.takes = append(dst.takes, tk)
		}
		w := rio.NewWriter(dst)
		for rest := in; rest != ""; {
			size := len(rest)
			if len(writes) > 0 {
				size, writes = min(int(writes[0])*64, size), writes[1:]
			}
			n, err := w.Write([]byte(rest[:size]))
			if err == nil && n != size || n > size {
				t.Fatalf("Write of %d bytes = %d, %v", size, n, err)
			}
			rest = rest[n:]
			if sent := dst.got.String(); sent+rest != in[:len(sent)]+rest || len(sent)+w.Buffered()+len(rest) != len(in) {
				t.Fatalf("sent %q, %d buffered, %d left of %q", sent, w.Buffered(), len(rest), in)
			}
		}
		for w.Flush() != nil {
			continue
		}
		if dst.got.String() != in {
			t.Errorf("wrote %q, want %q", dst.got.String(), in)
		}
	})
}
