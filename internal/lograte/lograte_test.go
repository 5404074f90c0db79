package lograte

import (
	"testing"
	"time"
)

func TestTakeLetsOneThroughASecond(t *testing.T) {
	var l Lines
	now := time.Now()
	for _, tt := range []struct {
		after time.Duration
		n     int
		ok    bool
	}{{0, 1, true}, {1, 0, false}, {500 * time.Millisecond, 0, false}, {time.Second, 3, true}, {time.Second, 0, false}, {5 * time.Second, 2, true}} {
		if n, ok := l.Take(now.Add(tt.after)); n != tt.n || ok != tt.ok {
			t.Errorf("after %v: %d, %v", tt.after, n, ok)
		}
	}
}
