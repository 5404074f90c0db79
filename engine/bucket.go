package engine

import (
	"container/list"
	"net/netip"
	"time"
)

// rate is how often something may happen: the measure of a token bucket that holds
// one second's worth. The zero rate sets no bound.
type rate struct{ every time.Duration }

// perSecond returns the rate of n a second, no bound if n is not positive.
func perSecond(n int) rate {
	if n <= 0 {
		return rate{}
	}
	return rate{every: time.Second / time.Duration(n)}
}

// bucket is a token bucket, as the time at which it will be full again: one number
// says it all. Times are measured from any fixed moment. The zero bucket is full.
type bucket struct{ full time.Duration }

// has reports whether b has a token. It takes none.
func (r rate) has(b *bucket, now time.Duration) bool {
	return r.every == 0 || b.full-now+r.every <= time.Second
}

// take takes a token that has has seen.
func (r rate) take(b *bucket, now time.Duration) { b.full = max(b.full, now) + r.every }

// giveBack returns a token that was taken and not used.
func (r rate) giveBack(b *bucket) { b.full -= r.every }

// source is the bucket of one source of datagrams.
type source struct {
	key netip.AddrPort
	bucket
}

// sources is a bounded table of sources. A new one takes the place of the one that
// was not heard for longest; if that comes back, it finds a full bucket, which is
// why there is a bucket for all as well.
type sources struct {
	max    int // at least 1
	by     map[netip.AddrPort]*list.Element
	recent *list.List // of *source, the latest first
}

func newSources(most int) *sources {
	return &sources{max: most, by: make(map[netip.AddrPort]*list.Element), recent: list.New()}
}

// of returns the bucket of key. It is valid until the next call.
func (t *sources) of(key netip.AddrPort) *bucket {
	e := t.by[key]
	if e == nil {
		e = t.place()
		s := e.Value.(*source)
		delete(t.by, s.key)
		*s = source{key: key}
		t.by[key] = e
	}
	t.recent.MoveToFront(e)
	return &e.Value.(*source).bucket
}

// place returns a place for a new source: a free one or the oldest.
func (t *sources) place() *list.Element {
	if t.recent.Len() < t.max {
		return t.recent.PushFront(new(source))
	}
	return t.recent.Back()
}
