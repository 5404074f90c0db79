package trace_test

import (
	"testing"
	"time"

	"yodel/trace"
)

// The clock of a time is the same whenever it is asked for, and goes on with time.
func TestMono(t *testing.T) {
	t.Parallel()
	began := time.Now()
	first := trace.Mono(began)
	for time.Since(began) < time.Millisecond {
	}
	again, later := trace.Mono(began), trace.Mono(began.Add(time.Second))
	if d := again - first; d < -1e8 || d > 1e8 {
		t.Errorf("asked again it is %d ns away", d)
	}
	if d := later - first; d < 9e8 || d > 11e8 {
		t.Errorf("a second later it is %d ns away", d)
	}
}
