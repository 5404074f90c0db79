package engine

import (
	"sync"
	"time"

	"yodel"
	"yodel/trace"
)

// Shared is what the connections of one engine have in common: the service, the
// resolved limits, the sums.
type Shared struct {
	svc   yodel.Service
	name  string
	count *Counters
	sink  trace.Sink
	each  bool // the sink wants each read and write
	base  time.Time

	idle, header, rateAfter, linger, quiet time.Duration // 0: off
	minRate, mark, maxInput                int
	poison                                 bool

	owned     bool
	spare     []*work   // not lent; used if owned
	spareSize int       // bytes of their buffers
	pool      sync.Pool // of *work; used if not owned
}

// NewShared resolves cfg, nil for the defaults, for the sessions of svc. What
// happens is counted in count.
func NewShared(svc yodel.Service, cfg *Config, count *Counters) *Shared {
	if cfg == nil {
		cfg = &Config{}
	}
	return &Shared{
		svc: svc, name: cfg.Service, count: count, sink: cfg.Sink, each: trace.WantsEach(cfg.Sink),
		base: time.Now().Add(-time.Second), // so that no time of a connection is 0
		idle: cfg.idle(), header: cfg.headerTimeout(), rateAfter: cfg.minRateAfter(),
		linger: cfg.linger(), quiet: cfg.quiet(),
		minRate: cfg.minRate(), mark: cfg.Mark, maxInput: cfg.maxInput(),
		poison: cfg.PoisonLent,
	}
}

// Traced reports whether events are recorded.
func (sh *Shared) Traced() bool { return sh.sink != nil }

// Sink returns where events go; nil: nowhere.
func (sh *Shared) Sink() trace.Sink { return sh.sink }

func (sh *Shared) since(t time.Time) time.Duration { return t.Sub(sh.base) }

// Own says that all connections of sh belong to one goroutine, which needs no lock for
// the buffers that they share. It is called before the first one starts.
func (sh *Shared) Own() { sh.owned = true }

// What many slow peers needed at once, and a buffer that one has filled far beyond the
// usual, is not kept for the next time.
const (
	mostSpares = 512
	mostSpare  = 1 << 20   // bytes of all spare buffers
	mostKept   = 256 << 10 // bytes of one connection's
)

// lend returns an empty work: connections hold their buffers only while something is in
// them, so that one at rest costs next to nothing.
func (sh *Shared) lend() *work {
	if w := sh.takeSpare(); w != nil {
		return w
	}
	w := new(work)
	w.out.SetMark(sh.mark)
	return w
}

// takeSpare returns nil if there is none.
func (sh *Shared) takeSpare() *work {
	if !sh.owned {
		w, _ := sh.pool.Get().(*work)
		return w
	}
	n := len(sh.spare)
	if n == 0 {
		return nil
	}
	w := sh.spare[n-1]
	sh.spare = sh.spare[:n-1]
	sh.spareSize -= w.size()
	return w
}

// giveBack takes back a work in which there is nothing any more.
func (sh *Shared) giveBack(w *work) {
	size := w.size()
	switch {
	case size > mostKept:
	case !sh.owned:
		sh.pool.Put(w)
	case len(sh.spare) < mostSpares && sh.spareSize+size <= mostSpare:
		sh.spare = append(sh.spare, w)
		sh.spareSize += size
	}
}

// size returns the bytes of w's buffers.
func (w *work) size() int { return w.out.Cap() + cap(w.in) }

// clear drops what is in w, and keeps its buffers.
func (w *work) clear() {
	w.out.Reset(w.out.Reset(nil))
	w.out.WakeAt(time.Time{})
	w.out.Receiving(false)
	w.out.TakeHeard() // of a session that panicked
	*w = work{out: w.out, in: w.in[:0]}
}
