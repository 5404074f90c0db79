package trace_test

import (
	"bytes"
	"testing"
	"time"

	"yodel/trace"
)

// What the kernel has told is in a trace file as it was.
func TestKernelsWordIsKept(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	w := trace.NewWriter(&file)
	w.Emit(&trace.Event{Conn: trace.NewID(), Op: trace.Accept, Queued: 1234567 * time.Nanosecond})
	sum := trace.TCPSum{RTT: 20 * time.Millisecond, MinRTT: 19 * time.Millisecond, Resent: 3}
	w.Emit(&trace.Event{Conn: trace.NewID(), Op: trace.Close, TCP: &sum})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := trace.NewReader(&file)
	r.Next() // the header
	if e, err := r.Next(); err != nil || e.Queued != 1234567*time.Nanosecond || e.TCP != nil {
		t.Errorf("accept: %+v, %v", e, err)
	}
	if e, err := r.Next(); err != nil || e.TCP == nil || *e.TCP != sum {
		t.Errorf("close: %+v, %v", e, err)
	}
}
