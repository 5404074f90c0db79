package engine

import (
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

func (sh *Shared) since(t time.Time) time.Duration { return t.Sub(sh.base) }
