package load

import (
	"math/bits"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A histogram counts durations in the cells of newHistogram's, which it becomes in a
// Report. To count a duration costs it little, and to add another one, or to begin anew, only
// what that holds.
type histogram struct {
	counts   []int64 // nil: there is nothing in it yet
	from, to int     // cells that may be used
	total    int64
}

// longest is the longest time that a histogram holds.
const longest = int64(time.Hour)

// The cells of three significant digits: each power of two has 1,024, as wide as the last
// but one power's are narrow; all below 2,048 have one for each nanosecond.
const (
	halfBits = 10
	cells    = (42 - halfBits + 1) << halfBits // 42 bits hold an hour
)

// newHistogram holds times up to 1 h, in nanoseconds: of 1 µs too there are three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, 3) }

// cellOf returns the cell of a duration, which is from 0 to longest.
func cellOf(ns int64) int {
	power := bits.Len64(uint64(ns)|(2<<halfBits-1)) - halfBits - 1
	return power<<halfBits + int(ns>>power)
}

// record keeps a time. One that is out of range is kept as the nearest that is not.
func (h *histogram) record(ns int64) {
	if h.counts == nil {
		h.counts, h.from = make([]int64, cells), cells
	}
	at := cellOf(min(max(ns, 1), longest))
	h.counts[at]++
	h.total++
	h.from, h.to = min(h.from, at), max(h.to, at+1)
}

// merge adds what is in o.
func (h *histogram) merge(o *histogram) {
	if o.total == 0 {
		return
	}
	if h.counts == nil {
		h.counts, h.from = make([]int64, cells), cells
	}
	h.total += o.total
	h.from, h.to = min(h.from, o.from), max(h.to, o.to)
	into := h.counts[o.from:o.to]
	for i, n := range o.counts[o.from:o.to] {
		into[i] += n
	}
}

// reset makes h empty.
func (h *histogram) reset() {
	if h.total > 0 {
		clear(h.counts[h.from:h.to])
		h.from, h.to, h.total = cells, 0, 0
	}
}

// export returns the same as the library's.
func (h *histogram) export() *hdrhistogram.Histogram {
	if h.total == 0 {
		return newHistogram()
	}
	return hdrhistogram.Import(&hdrhistogram.Snapshot{
		LowestTrackableValue: 1, HighestTrackableValue: longest, SignificantFigures: 3, Counts: h.counts,
	})
}

// times are the histograms of a tally: what becomes Times.
type times struct {
	latency, service, lateness, name, connect, tls, firstByte histogram
}

func (t *times) all() []*histogram {
	return []*histogram{&t.latency, &t.service, &t.lateness, &t.name, &t.connect, &t.tls, &t.firstByte}
}

func (t *times) export() Times {
	return Times{
		Latency: t.latency.export(), Service: t.service.export(), Lateness: t.lateness.export(),
		Name: t.name.export(), Connect: t.connect.export(), TLS: t.tls.export(), FirstByte: t.firstByte.export(),
	}
}
