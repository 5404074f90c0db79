package jury

import (
	"context"
	"sync"
	"time"
)

// stalls is how long this machine did not let run who wanted to: a program that wakes up
// every few milliseconds measures it on itself.
type stalls struct {
	mu   sync.Mutex
	list []stall
}

type stall struct {
	at   time.Time
	late time.Duration
}

// tick is how often it wakes up, and tolerated what is not worth a word.
const (
	tick      = 5 * time.Millisecond
	tolerated = 40 * time.Millisecond
)

// watchStalls measures until ctx is done.
func watchStalls(ctx context.Context) *stalls {
	s := &stalls{}
	go func() {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		last := time.Now()
		for ctx.Err() == nil {
			<-ticker.C
			now := time.Now()
			s.woke(now, now.Sub(last)-tick)
			last = now
		}
	}()
	return s
}

func (s *stalls) woke(at time.Time, late time.Duration) {
	if late < tolerated {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, stall{at, late})
}

// since is how long it stalled since a time, all together.
func (s *stalls) since(began time.Time) (sum time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.list) - 1; i >= 0 && s.list[i].at.After(began); i-- {
		sum += s.list[i].late
	}
	return sum
}
