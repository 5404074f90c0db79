package web

import (
	"log/slog"
	"sync"
	"time"
)

// warningsMax is how many warnings are logged in a second. Clients can bring them about.
const warningsMax = 20

// warnings logs what an operator should know, and counts what is too much of it.
type warnings struct {
	log *slog.Logger

	mu      sync.Mutex
	second  int64
	said    int // in this second
	leftOut int // since the last that was said
}

// say logs a warning, as slog.Logger.Warn does.
func (w *warnings) say(msg string, args ...any) {
	if n, ok := w.take(time.Now()); ok {
		if n > 0 {
			args = append(args, "left_out", n)
		}
		w.log.Warn(msg, args...)
	}
}

// take reports whether one more may be said, and how many were not before it.
func (w *warnings) take(now time.Time) (leftOut int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Unix() != w.second {
		w.second, w.said = now.Unix(), 0
	}
	if w.said >= warningsMax {
		w.leftOut++
		return 0, false
	}
	leftOut = w.leftOut
	w.said, w.leftOut = w.said+1, 0
	return leftOut, true
}
