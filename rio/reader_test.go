package rio_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"yodel/rio"
)

// passes reports whether err is one after which a caller with patience goes on.
func passes(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || err == io.ErrNoProgress
}

// readLines reads lines to the end of input, with patience.
func readLines(t *testing.T, r *rio.Reader) (lines []string) {
	t.Helper()
	for {
		line, err := r.ReadLine()
		switch {
		case err == nil && len(line) > 0:
			lines = append(lines, string(line))
		case err == rio.ErrTooLong && line == nil:
			lines = append(lines, tooLong)
		case err == io.EOF && line == nil:
			return lines
		case passes(err) && line == nil:
		default:
			t.Fatalf("ReadLine = %q, %v", line, err)
		}
	}
}

var modes = map[string]rio.Mode{"split": rio.SplitLong, "refuse": rio.RefuseLong}

// TestReaderCuts reads the same input through sources that deliver it differently.
func TestReaderCuts(t *testing.T) {
	t.Parallel()
	sources := map[string]func(io.Reader) io.Reader{
		"whole":           func(r io.Reader) io.Reader { return r },
		"byte by byte":    iotest.OneByteReader,
		"by halves":       iotest.HalfReader,
		"end with data":   iotest.DataErrReader,
		"bytes, then end": func(r io.Reader) io.Reader { return iotest.DataErrReader(iotest.OneByteReader(r)) },
	}
	for name, source := range sources {
		for mode, m := range modes {
			for i, in := range seeds {
				for _, bound := range []int{1, 8, 8192, 1 << 20} {
					r := rio.NewReader(source(strings.NewReader(in)), bound, m)
					what := fmt.Sprintf("seed %d %s, bound %d, %s", i, name, bound, mode)
					compare(t, what, readLines(t, r), naiveLines(in, bound, m))
				}
			}
		}
	}
}

// TestReaderBufferEdges puts the ends of lines, reads and bounds around the size of
// the buffer.
func TestReaderBufferEdges(t *testing.T) {
	t.Parallel()
	sizes := []int{1, 8190, 8191, 8192, 8193, 16384, 20000}
	for _, first := range sizes {
		for _, second := range sizes {
			in := strings.Repeat("a", first-1) + "\n" + strings.Repeat("b", second-1) + "\nc\nd"
			for _, read := range []int{1000, 8191, 8192} {
				for _, bound := range []int{8191, 8192, 8193, 16384, 1 << 20} {
					for mode, m := range modes {
						src := play()
						for at := 0; at < len(in); at += read {
							src.steps = append(src.steps, step{data: in[at:min(at+read, len(in))]})
						}
						what := fmt.Sprintf("lines of %d and %d, reads of %d, bound %d, %s", first, second, read, bound, mode)
						compare(t, what, readLines(t, rio.NewReader(src, bound, m)), naiveLines(in, bound, m))
					}
				}
			}
		}
	}
}

func TestReaderSplitsAsTheLectureDoes(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("x", 10_000) + "\n"
	got := readLines(t, rio.NewReader(strings.NewReader(in), rio.MaxLine, rio.SplitLong))
	compare(t, "a 10,001-byte line", got, []string{in[:8192], in[8192:]})
}

func TestReaderMixesTextAndBinary(t *testing.T) {
	t.Parallel()
	r := rio.NewReader(iotest.HalfReader(strings.NewReader("PUT 5\r\na\n\x00\nbQUIT\nrest")), 64, rio.RefuseLong)
	wantLine(t, r, "PUT 5\r\n")
	wantFull(t, r, "a\n\x00\nb")
	wantLine(t, r, "QUIT\n")
	if got, err := io.ReadAll(r); string(got) != "rest" || err != nil {
		t.Errorf("the rest: %q, %v", got, err)
	}
}

func wantLine(t *testing.T, r *rio.Reader, want string) {
	t.Helper()
	if line, err := r.ReadLine(); string(line) != want || err != nil {
		t.Errorf("ReadLine = %q, %v; want %q", line, err, want)
	}
}

func wantFull(t *testing.T, r *rio.Reader, want string) {
	t.Helper()
	p := make([]byte, len(want))
	if n, err := r.ReadFull(p); n != len(p) || string(p) != want || err != nil {
		t.Errorf("ReadFull = %d %q, %v; want %q", n, p[:n], err, want)
	}
}

// wantLineError checks that ReadLine gives no line, and an error of the kind of want.
func wantLineError(t *testing.T, r *rio.Reader, want error) {
	t.Helper()
	if line, err := r.ReadLine(); line != nil || !errors.Is(err, want) {
		t.Errorf("ReadLine = %q, %v; want error %v", line, err, want)
	}
}

func TestReadTakesWhatIsThere(t *testing.T) {
	t.Parallel()
	src := play(step{data: "one\ntwo"}, step{data: "three"})
	r := rio.NewReader(src, 64, rio.SplitLong)
	p := make([]byte, 100)
	if n, err := r.Read(nil); n != 0 || err != nil || src.calls != 0 {
		t.Errorf("Read of nothing = %d, %v after %d calls", n, err, src.calls)
	}
	wantLine(t, r, "one\n")
	if n := r.Buffered(); n != 3 {
		t.Errorf("Buffered = %d, want 3", n)
	}
	if n, err := r.Read(p); string(p[:n]) != "two" || err != nil || src.calls != 1 {
		t.Errorf("Read = %q, %v after %d calls of the source; want what the first call brought", p[:n], err, src.calls)
	}
	if n, err := r.Read(p[:2]); string(p[:n]) != "th" || err != nil || r.Buffered() != 3 {
		t.Errorf("Read of 2 = %q, %v, %d left", p[:n], err, r.Buffered())
	}
}

func TestLargeReadsBypassTheBuffer(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("0123456789abcdef", 4096)
	src := play(step{data: in[:10]}, step{data: in[10:], err: io.EOF})
	r := rio.NewReader(src, 64, rio.SplitLong)
	got := make([]byte, len(in))
	if n, err := r.ReadFull(got); string(got) != in || err != nil || src.calls != 2 {
		t.Errorf("ReadFull = %d, %v after %d calls of the source, want 2", n, err, src.calls)
	}
	if n, err := r.Read(got); n != 0 || err != io.EOF || src.calls != 2 {
		t.Errorf("behind the end: %d, %v after %d calls", n, err, src.calls)
	}
}

func TestReaderIsAnIOReader(t *testing.T) {
	t.Parallel()
	in := []byte(strings.Repeat("some text\n", 3000))
	for _, src := range []io.Reader{bytes.NewReader(in), iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(in)))} {
		r := rio.NewReader(src, 64, rio.RefuseLong)
		if err := iotest.TestReader(struct{ io.Reader }{r}, in); err != nil {
			t.Error(err)
		}
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 30_000) + "\n"
	for _, chunk := range []int{1, 8, 8192, 1 << 20} {
		in := "NOOP\n" + long + "QUIT\nbinary"
		var steps []step
		for at := 0; at < len(in); at += chunk {
			steps = append(steps, step{data: in[at:min(at+chunk, len(in))]})
		}
		r := rio.NewReader(play(steps...), 512, rio.RefuseLong)
		wantLine(t, r, "NOOP\n")
		wantLineError(t, r, rio.ErrTooLong)
		wantLine(t, r, "QUIT\n")
		wantFull(t, r, "binary")
		if n := r.Skipped(); n != int64(len(long)) {
			t.Errorf("Skipped = %d, want %d", n, len(long))
		}
	}
}

// TestRefusalHoldsForAllReads: binary reads begin behind the refused line as well.
func TestRefusalHoldsForAllReads(t *testing.T) {
	t.Parallel()
	reads := map[string]func(*rio.Reader) ([]byte, error){
		"ReadAll": func(r *rio.Reader) ([]byte, error) { return io.ReadAll(r) },
		"WriteTo": func(r *rio.Reader) ([]byte, error) {
			var b bytes.Buffer
			_, err := r.WriteTo(&b)
			return b.Bytes(), err
		},
		"a large Read": func(r *rio.Reader) ([]byte, error) {
			p := make([]byte, 1<<20)
			n, err := r.Read(p)
			return p[:n], err
		},
	}
	for name, read := range reads {
		r := rio.NewReader(play(step{data: "12345678"}, step{data: "9"}, step{data: "0\nrest"}), 8, rio.RefuseLong)
		wantLineError(t, r, rio.ErrTooLong)
		if n := r.Buffered(); n != 0 {
			t.Errorf("%s: %d bytes can be read in the middle of a refused line", name, n)
		}
		if got, err := read(r); string(got) != "rest" || err != nil || r.Skipped() != 11 {
			t.Errorf("%s: %q, %v, %d skipped; want \"rest\" and 11", name, got, err, r.Skipped())
		}
	}
}

func TestRefusalDoesNotWaitForTheNewline(t *testing.T) {
	t.Parallel()
	src := play(step{data: "12345678"})
	r := rio.NewReader(src, 8, rio.RefuseLong)
	wantLineError(t, r, rio.ErrTooLong)
	if src.calls != 1 {
		t.Errorf("%d calls of the source, want 1: the peer may never end its line", src.calls)
	}
	wantLineError(t, r, io.EOF)
}

var xs = bytes.Repeat([]byte("x"), 8192)

// endless is a line that does not end before its last byte.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	n := min(e.left, len(p), len(xs))
	copy(p[:n], xs)
	e.left -= n
	if e.left == 0 {
		return n, io.EOF
	}
	return n, nil
}

func TestAnEndlessLineTakesNoMemory(t *testing.T) {
	const size = 64 << 20
	for name, mode := range modes {
		var bytesRead, errs int
		grown := allocated(func() {
			r := rio.NewReader(&endless{left: size}, rio.MaxLine, mode)
			for {
				line, err := r.ReadLine()
				if err == io.EOF {
					bytesRead += int(r.Skipped())
					return
				}
				if err != nil {
					errs++
				}
				bytesRead += len(line)
			}
		})
		if bytesRead != size || grown > 64<<10 {
			t.Errorf("%s: %d of %d bytes, %d bytes of memory", name, bytesRead, size, grown)
		}
		if want := map[string]int{"split": 0, "refuse": 1}[name]; errs != want {
			t.Errorf("%s: %d errors, want %d", name, errs, want)
		}
	}
}

// TestMemoryFollowsTheLine: the buffer is as large as the lines need, not the bound.
func TestMemoryFollowsTheLine(t *testing.T) {
	for _, c := range []struct {
		name        string
		line, bound int
		most        uint64 // bytes
	}{
		{"a short line, a bound of a gibibyte", 100, 1 << 30, 8192 + 2000},
		{"a longer line, a bound of a gibibyte", 10_000, 1 << 30, 8192 + 16384 + 2000},
		{"a longer line just within the bound", 10_000, 10_000, 8192 + 10_240 + 2000},
	} {
		line := strings.Repeat("x", c.line-1) + "\n"
		var err error
		got := uint64(math.MaxUint64)
		for range 5 { // what else the process does is counted too: the least is ours
			in := strings.NewReader(line)
			got = min(got, allocated(func() { _, err = rio.NewReader(in, c.bound, rio.RefuseLong).ReadLine() }))
		}
		if got > c.most || err != nil {
			t.Errorf("%s: %d bytes of memory, %v; want at most %d", c.name, got, err, c.most)
		}
	}
}

// A forger writes a newline into bytes it has delivered before.
type forger struct {
	parts []string
	first []byte // where the first part went
}

func (f *forger) Read(p []byte) (int, error) {
	if len(f.parts) == 0 {
		return 0, io.EOF
	}
	if f.first == nil {
		f.first = p
	} else {
		f.first[1] = '\n'
	}
	n := copy(p, f.parts[0])
	f.parts = f.parts[1:]
	return n, nil
}

// TestNoByteIsSearchedTwice: otherwise a long line that comes byte by byte takes
// time by the square of its length. Only a second search finds the forged newline.
func TestNoByteIsSearchedTwice(t *testing.T) {
	t.Parallel()
	r := rio.NewReader(&forger{parts: []string{"abc", "d", "e\n", "next\n"}}, 64, rio.RefuseLong)
	wantLine(t, r, "a\ncde\n")
	wantLine(t, r, "next\n")
}

// allocated returns how many bytes f allocates. Its test must not be parallel.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestReaderErrorsComeAfterBytesAndStay(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, src := range map[string]*script{
		"with the bytes":   {steps: []step{{"a\nb\nhal", broken}}, end: io.EOF},
		"behind the bytes": {steps: []step{{"a\nb\nhal", nil}, {"", broken}}, end: io.EOF},
	} {
		r := rio.NewReader(src, 64, rio.SplitLong)
		wantLine(t, r, "a\n")
		wantLine(t, r, "b\n")
		wantLineError(t, r, broken) // "hal" is half a line: it may mean something else than the whole
		wantLineError(t, r, broken)
		calls := src.calls
		if got, err := io.ReadAll(r); string(got) != "hal" || err != broken {
			t.Errorf("%s: left to read: %q, %v", name, got, err)
		}
		if n, err := r.ReadFull(make([]byte, 9)); n != 0 || err != broken {
			t.Errorf("%s: ReadFull = %d, %v", name, n, err)
		}
		if src.calls != calls {
			t.Errorf("%s: the source was asked again after its error", name)
		}
	}
}

// TestAFullBufferAndAnError: reporting an error again and again takes no memory.
func TestAFullBufferAndAnError(t *testing.T) {
	broken := errors.New("broken")
	in := strings.Repeat("x", 8192)
	r := rio.NewReader(play(step{in, broken}), 1<<20, rio.SplitLong)
	if n := allocated(func() {
		for range 3 {
			wantLineError(t, r, broken)
		}
	}); n > 8192 {
		t.Errorf("three reports take %d bytes of memory", n)
	}
	if got, err := io.ReadAll(r); string(got) != in || err != broken {
		t.Errorf("%d bytes, %v; want 8192", len(got), err)
	}
}

func TestALineCannotGrowIntoTheNext(t *testing.T) {
	t.Parallel()
	r := rio.NewReader(strings.NewReader("a\nb\nc\n"), 64, rio.SplitLong)
	for _, want := range []string{"a\n", "b\n", "c\n"} {
		line, err := r.ReadLine()
		if string(line) != want || err != nil {
			t.Errorf("ReadLine = %q, %v; want %q", line, err, want)
		}
		_ = append(line, "XX"...)
	}
}

func TestTheEndStays(t *testing.T) {
	t.Parallel()
	src := play(step{data: "a"}, step{err: io.EOF}, step{data: "after the end\n"})
	r := rio.NewReader(src, 64, rio.SplitLong)
	wantLine(t, r, "a")
	for range 3 {
		wantLineError(t, r, io.EOF)
	}
	if n, err := r.ReadFull(make([]byte, 1)); n != 0 || err != io.EOF || src.calls != 2 {
		t.Errorf("ReadFull = %d, %v after %d calls, want none after the end", n, err, src.calls)
	}
}

func TestTimeoutReader(t *testing.T) {
	t.Parallel()
	r := rio.NewReader(iotest.TimeoutReader(strings.NewReader("a\nb\n")), 64, rio.SplitLong)
	wantLine(t, r, "a\n")
	wantLine(t, r, "b\n")
	wantLineError(t, r, iotest.ErrTimeout) // it does not say that it is a timeout
	wantLineError(t, r, iotest.ErrTimeout)
}

// timeout has the method by which net and os tell a timeout.
type timeout struct{}

func (timeout) Error() string { return "took too long" }
func (timeout) Timeout() bool { return true }

func TestTimeoutsPass(t *testing.T) {
	t.Parallel()
	for _, late := range []error{
		timeout{},
		fmt.Errorf("read tcp: %w", os.ErrDeadlineExceeded),
		os.NewSyscallError("read", syscall.EAGAIN),
	} {
		r := rio.NewReader(play(
			step{"one\nhel", late}, step{"", late}, step{"lo\n\x01\x02", nil}, step{"", late}, step{"\x03", nil},
		), 64, rio.SplitLong)
		wantLine(t, r, "one\n")
		wantLineError(t, r, late) // came with bytes
		wantLineError(t, r, late) // came alone
		wantLine(t, r, "hello\n")

		var p [3]byte
		n, err := r.ReadFull(p[:])
		if n != 2 || !errors.Is(err, late) {
			t.Errorf("%v: ReadFull = %d, %v; want the two bytes that came", late, n, err)
		}
		if m, err := r.ReadFull(p[n:]); p != [3]byte{1, 2, 3} || m != 1 || err != nil {
			t.Errorf("%v: the rest: %d, %v, all %v", late, m, err, p)
		}
		wantLineError(t, r, io.EOF)
	}
}

func TestReadAfterATimeoutInALine(t *testing.T) {
	t.Parallel()
	r := rio.NewReader(play(step{"hel", timeout{}}, step{"lo\nrest\n", nil}), 64, rio.SplitLong)
	wantLineError(t, r, timeout{})
	wantFull(t, r, "hell") // binary after all
	wantLine(t, r, "o\n")
	wantLine(t, r, "rest\n")
}

// TestADeadConnectionStaysDead: ETIMEDOUT says of itself that it is a timeout, but
// what follows it on a socket is a clean end, which would be a lie.
func TestADeadConnectionStaysDead(t *testing.T) {
	t.Parallel()
	dead := os.NewSyscallError("read", syscall.ETIMEDOUT)
	r := rio.NewReader(play(step{"a\nb", nil}, step{"", dead}), 64, rio.SplitLong)
	wantLine(t, r, "a\n")
	wantLineError(t, r, syscall.ETIMEDOUT)
	wantLineError(t, r, syscall.ETIMEDOUT)
}

func TestInterruptedReadsAreRepeated(t *testing.T) {
	t.Parallel()
	eintr := os.NewSyscallError("read", syscall.EINTR)
	r := rio.NewReader(play(step{"", eintr}, step{"hel", eintr}, step{"", eintr}, step{"lo\n", nil}), 64, rio.SplitLong)
	wantLine(t, r, "hello\n")
	wantLineError(t, r, io.EOF)
}

func TestIdleReads(t *testing.T) {
	t.Parallel()
	idle := make([]step, 99)
	src := play(append(idle, step{data: "hel"})...)
	src.steps = append(src.steps, make([]step, 100)...)
	src.steps = append(src.steps, step{data: "lo\n"})
	r := rio.NewReader(src, 64, rio.SplitLong)
	wantLineError(t, r, io.ErrNoProgress)
	wantLine(t, r, "hello\n") // nothing lost
}

func TestWriteTo(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("all of it\n", 5000)
	r := rio.NewReader(iotest.HalfReader(strings.NewReader("first\n"+in)), 64, rio.SplitLong)
	wantLine(t, r, "first\n")
	var out strings.Builder
	if n, err := io.Copy(&out, r); out.String() != in || n != int64(len(in)) || err != nil {
		t.Errorf("Copy = %d, %v, want %d bytes", n, err, len(in))
	}
}

func TestWriteToLosesNothing(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	r := rio.NewReader(play(step{"0123456789", timeout{}}, step{"rest", nil}), 64, rio.SplitLong)
	dst := &taker{takes: []take{{n: 4}, {n: 2, err: full}}}
	if n, err := r.WriteTo(dst); n != 6 || err != full || dst.got.String() != "012345" {
		t.Errorf("WriteTo a full disk = %d, %v, %q", n, err, dst.got.String())
	}
	if n, err := r.WriteTo(dst); n != 4 || err != (timeout{}) {
		t.Errorf("WriteTo = %d, %v; want the 4 bytes and then the timeout", n, err)
	}
	if n, err := r.WriteTo(dst); n != 4 || err != nil || dst.got.String() != "0123456789rest" {
		t.Errorf("WriteTo = %d, %v, all %q", n, err, dst.got.String())
	}
}

func TestImpossibleCounts(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, 1 << 20} {
		wantPanic(t, "impossible count", func() { rio.NewReader(liar(n), 64, rio.SplitLong).ReadLine() })
		wantPanic(t, "impossible count", func() { rio.WriteFull(liar(n), []byte("a")) })
	}
}

// liar claims to have read or written that many bytes.
type liar int

func (l liar) Read([]byte) (int, error)  { return int(l), nil }
func (l liar) Write([]byte) (int, error) { return int(l), nil }

func TestReadersAllocateNothing(t *testing.T) {
	in := strings.Repeat("a line of text\n", 1<<16)
	r := rio.NewReader(strings.NewReader(in), rio.MaxLine, rio.RefuseLong)
	if n := testing.AllocsPerRun(50_000, func() { r.ReadLine() }); n != 0 {
		t.Errorf("ReadLine: %v allocations a line, want 0", n)
	}
	var p [15]byte
	if n := testing.AllocsPerRun(10_000, func() { r.ReadFull(p[:]) }); n != 0 {
		t.Errorf("ReadFull: %v allocations, want 0", n)
	}
	l := rio.Lines{Max: 64}
	data := []byte("a line of text\nanother\n")
	if n := testing.AllocsPerRun(1000, func() { l.Next(data, false) }); n != 0 {
		t.Errorf("Lines.Next: %v allocations, want 0", n)
	}
	if r.Buffered() == 0 {
		t.Error("the input was too short for this test")
	}
}
