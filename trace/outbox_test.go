package trace_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"yodel/trace"
)

// sinkhole is a Writer that does as it is told.
type sinkhole struct {
	mu   sync.Mutex
	got  bytes.Buffer
	fail func(p []byte) (int, error) // nil: takes all
}

func (s *sinkhole) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		return s.got.Write(p)
	}
	n, err := s.fail(p)
	s.got.Write(p[:max(min(n, len(p)), 0)])
	return n, err
}

func (s *sinkhole) set(fail func(p []byte) (int, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

func (s *sinkhole) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

// stopped is a terminal that someone has stopped with Ctrl-S.
type stopped struct {
	sinkhole
	once    sync.Once
	entered chan bool // closed when the first Write has come
	going   chan bool // Write waits until it is closed
}

func newStopped() *stopped { return &stopped{entered: make(chan bool), going: make(chan bool)} }

func (s *stopped) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.entered) })
	<-s.going
	return s.sinkhole.Write(p)
}

func note(n int) *trace.Event { return &trace.Event{Op: trace.Note, Bytes: n} }

func TestLinesAreWrittenSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var to sinkhole
		w := trace.NewLines(&to)
		for range 3 { // also when it has been empty
			before := len(to.String())
			w.Emit(note(0))
			time.Sleep(99 * time.Millisecond)
			synctest.Wait()
			check(t, "bytes after 99 ms", len(to.String()), before)
			w.Emit(note(1))
			time.Sleep(time.Millisecond)
			synctest.Wait()
			check(t, "lines after 100 ms", strings.Count(to.String()[before:], "\n"), 2)
			time.Sleep(time.Hour)
		}
		for to.set(nil); strings.Count(to.String(), "\n") == 6; synctest.Wait() { // no time passes
			w.Emit(note(2))
		}
		if n := len(to.String()); n < 32<<10 || n > 33<<10 {
			t.Errorf("%d bytes were written at once, want about 32 KiB", n)
		}
	}) // which also checks that no goroutine is left, though nobody has called Close
}

func TestFlushAndClose(t *testing.T) {
	t.Parallel()
	var to sinkhole
	w := trace.NewLines(&to)
	check(t, "flush of nothing", w.Flush(), nil)
	w.Emit(note(7))
	check(t, "flush", w.Flush(), nil)
	check(t, "lines after Flush", len(readAll(t, to.String())), 1)
	w.Emit(note(8))
	check(t, "close", w.Close(), nil)
	check(t, "lines after Close", len(readAll(t, to.String())), 2)
	check(t, "lost", w.Lost(), 0)

	w.Emit(note(9))
	check(t, "lost after Close", w.Lost(), 1)
	for _, err := range []error{w.Flush(), w.Close()} {
		if err == nil || err.Error() != "trace: 1 events lost: the sink is closed" {
			t.Errorf("error: %v", err)
		}
	}
}

// TestLostEventsAreToldOf: a disk is full for a while. What was lost is counted, told in
// the file, and returned.
func TestLostEventsAreToldOf(t *testing.T) {
	t.Parallel()
	disk := errors.New("no space left on \x1bdevice")
	var to sinkhole
	w := trace.NewWriter(&to)
	w.Flush()
	to.set(func(p []byte) (int, error) { return len(p) / 2, disk })
	for i := range 12 {
		w.Emit(note(i))
	}
	if err := w.Flush(); !errors.Is(err, disk) || w.Lost() != 6 {
		t.Errorf("flush: %v, lost %d", err, w.Lost())
	}
	to.set(func(p []byte) (int, error) { return 0, disk })
	w.Emit(note(12))
	w.Flush()
	to.set(nil)
	w.Emit(note(13))
	if err := w.Close(); !errors.Is(err, disk) || !strings.Contains(err.Error(), "7 events lost") {
		t.Errorf("close: %v", err)
	}

	r := trace.NewReader(strings.NewReader(to.String()))
	var ops []string
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		var bad *trace.LineError
		switch {
		case errors.As(err, &bad):
			ops = append(ops, "torn")
		case e.Op == trace.Note:
			ops = append(ops, fmt.Sprint(e.Bytes))
		default:
			ops = append(ops, string(e.Op))
		}
		if e.Op == trace.Lost {
			check(t, "what the file says", e.Text, "7 events lost: "+disk.Error())
		}
	}
	check(t, "file", strings.Join(ops, " "), "trace 0 1 2 3 4 5 torn lost 13")
}

// TestNoEventUnaccounted: whatever a writer does, the events in the file and the lost
// ones are all there were.
func TestNoEventUnaccounted(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		ours, writers := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)) // who may write from a timer
		to := sinkhole{fail: func(p []byte) (int, error) {
			switch writers.IntN(4) {
			case 0:
				return writers.IntN(len(p) + 1), errors.New("some")
			case 1:
				return writers.IntN(len(p) + 1), nil // short, and says nothing
			case 2:
				return -1, errors.New("odd")
			}
			return len(p), nil
		}}
		w := trace.NewLines(&to)
		const emitted = 200
		for range emitted {
			w.Emit(note(0))
			if ours.IntN(3) == 0 {
				w.Flush()
			}
		}
		w.Flush()
		to.set(nil)
		w.Close()
		kept, told := 0, 0
		r := trace.NewReader(strings.NewReader(to.String()))
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				continue
			}
			switch e.Op {
			case trace.Note:
				kept++
			case trace.Lost:
				var n int
				fmt.Sscanf(e.Text, "%d events lost", &n)
				told += n
			}
		}
		if kept+int(w.Lost()) != emitted || told != int(w.Lost()) {
			t.Errorf("seed %d: %d emitted, %d kept, %d lost, told of %d", seed, emitted, kept, w.Lost(), told)
		}
	}
}

// TestNobodyWaitsForAStoppedTerminal: what does not fit is lost and told of when the
// terminal goes on.
func TestNobodyWaitsForAStoppedTerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := newStopped()
		w := trace.NewLines(to)
		e := note(0)
		e.Text = strings.Repeat("x", 1000)
		began := time.Now()
		const emitted = 3000 // 3 MB
		for range emitted {
			w.Emit(e)
		}
		if d := time.Since(began); d > 500*time.Millisecond { // 100 ms to begin, and patience
			t.Errorf("3,000 events waited for %v", d)
		}
		lost := w.Lost()
		if lost < 500 || lost > 2500 {
			t.Errorf("%d of 3,000 events lost, want about 1,900", lost)
		}
		close(to.going)
		synctest.Wait()
		w.Emit(note(7))
		err := w.Close()
		if want := fmt.Sprintf("trace: %d events lost: they came faster than they could be written", lost); err == nil || err.Error() != want {
			t.Errorf("close: %v, want %s", err, want)
		}
		all := readAll(t, to.String())
		check(t, "events kept", len(all), emitted-int(lost)+2)
		check(t, "the last", all[len(all)-1].Bytes, 7)
		told := 0
		for _, e := range all {
			if e.Op == trace.Lost {
				told++
			}
		}
		check(t, "lines that tell of it", told, 1)
	})
}

// TestBurstsWaitALittle: one who is faster than the writer for a moment loses nothing.
func TestBurstsWaitALittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var to sinkhole
		to.set(func(p []byte) (int, error) {
			time.Sleep(20 * time.Millisecond)
			return len(p), nil
		})
		w := trace.NewLines(&to)
		e := note(0)
		e.Text = strings.Repeat("x", 1000)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				for range 2000 {
					w.Emit(e)
				}
			})
		}
		all.Wait()
		check(t, "close", w.Close(), nil)
		check(t, "lines", strings.Count(to.String(), "\n"), 6000)
	})
}

func TestEventThatIsTooLong(t *testing.T) {
	t.Parallel()
	var to sinkhole
	w := trace.NewLines(&to)
	w.Emit(note(1))
	w.Emit(&trace.Event{Op: trace.Note, Text: strings.Repeat("x", trace.MaxLine)})
	w.Emit(note(2))
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "1 events lost: longer than") {
		t.Errorf("close: %v", err)
	}
	check(t, "kept", len(readAll(t, to.String())), 3)
}
