package load

import (
	"cmp"
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Testimony is what the tool says of itself, and the kernel of the connections.
type Testimony struct {
	// Driver is what has moved the bytes: Uring, Epoll, Goroutines, or several of them with
	// commas between. Refusal is why it was not Uring, if that was to be tried; else nil.
	Driver  string
	Refusal error

	// Busy is the part of the time in which the busiest event loop's thread had something to
	// do; without event loops, in which this process ran, of all its processors' time; -1: nothing
	// was pushed, or it is not known. Stolen is the part of their time for which this machine's
	// processors were another machine's on the same host, as far as this one is told.
	Busy, Stolen float64

	// Starved is how long an event loop was ready to run and got no processor: the one
	// for which it was longest; without event loops, all threads, shared out over the processors. CPU is how long this process ran, and
	// so how long it has waited awake, too. Awake is the latter, of all event loops.
	Starved, CPU, Awake time.Duration

	// Pauses is how often the garbage collector has stopped everything, Paused for how
	// long in all, LongestPause the longest (the upper end of the runtime's histogram).
	Pauses       int64
	Paused       time.Duration
	LongestPause time.Duration

	// Retransmits is how many segments the kernel has sent again on connections that
	// were held, MinRTT the shortest round trip that it knows of; 0: none. Drops is how
	// many datagrams came and found no room in the sockets' buffers.
	Retransmits int64
	MinRTT      time.Duration
	Drops       int64
}

// kernelSums is what the kernel has said of connections that are closed.
type kernelSums struct {
	mu          sync.Mutex
	retransmits int64
	minRTT      time.Duration
	drops       int64
}

func (k *kernelSums) add(retransmits int64, minRTT time.Duration, drops int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.retransmits += retransmits
	k.drops += drops
	if minRTT > 0 && (k.minRTT == 0 || minRTT < k.minRTT) {
		k.minRTT = minRTT
	}
}

// observed is what the system knows at one moment of this process.
type observed struct {
	at     time.Time
	cpu    time.Duration
	waited time.Duration // of all threads, for a processor
	stolen time.Duration // from all processors
	pauses *metrics.Float64Histogram
}

const pausesMetric = "/sched/pauses/total/gc:seconds"

// witness observes this process.
func witness() observed {
	sample := []metrics.Sample{{Name: pausesMetric}}
	metrics.Read(sample)
	o := observed{at: time.Now(), cpu: cpuTime(), waited: waitedTime(), stolen: stolenTime()}
	if sample[0].Value.Kind() == metrics.KindFloat64Histogram {
		o.pauses = sample[0].Value.Float64Histogram()
	}
	return o
}

// testimony says what has passed since before.
func (r *run) testimony(before observed, elapsed time.Duration) Testimony {
	after := witness()
	t := Testimony{Busy: -1, Starved: -1, CPU: after.cpu - before.cpu}
	t.Pauses, t.Paused, t.LongestPause = pausesBetween(before.pauses, after.pauses)
	if elapsed > 0 {
		t.Stolen = min(float64(after.stolen-before.stolen)/float64(elapsed)/float64(runtime.NumCPU()), 1)
	}
	t.Driver, t.Refusal = r.driver()
	for _, d := range r.drivers {
		if b := &d.counts().busy; b.known && elapsed > 0 {
			t.Busy = max(t.Busy, min(float64(b.ran)/float64(elapsed), 1))
			t.Starved = max(t.Starved, b.starved)
			t.Awake += b.awake
		}
	}
	if t.Driver == Goroutines {
		t.ofGoroutines(&before, &after)
	}
	r.kernel.mu.Lock()
	defer r.kernel.mu.Unlock()
	t.Retransmits, t.MinRTT, t.Drops = r.kernel.retransmits, r.kernel.minRTT, r.kernel.drops
	return t
}

// ofGoroutines says what can be known where there are no event loops: how long this process ran,
// and its threads waited for a processor, of the time that its processors had.
func (t *Testimony) ofGoroutines(before, after *observed) {
	wall, processors := after.at.Sub(before.at), time.Duration(runtime.GOMAXPROCS(0))
	if wall > 0 && t.CPU > 0 { // else it is not known here
		t.Busy = min(float64(t.CPU)/float64(wall*processors), 1)
		t.Starved = max(after.waited-before.waited, 0) / processors
	}
}

// driver names what has moved the bytes.
func (r *run) driver() (names string, refusal error) {
	var all []string
	for _, d := range r.drivers {
		w := d.counts()
		all = append(all, w.driver)
		refusal = cmp.Or(refusal, w.refusal)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ","), refusal
}

// pausesBetween subtracts two histograms of the runtime's; each pause counts as long as
// its bucket allows.
func pausesBetween(before, after *metrics.Float64Histogram) (n int64, sum, longest time.Duration) {
	if before == nil || after == nil || len(before.Counts) != len(after.Counts) {
		return 0, 0, 0
	}
	for i, c := range after.Counts {
		more := int64(c - before.Counts[i])
		if more == 0 {
			continue
		}
		upper := after.Buckets[i+1]
		if math.IsInf(upper, 1) {
			upper = after.Buckets[i]
		}
		longest = time.Duration(upper * 1e9)
		n += more
		sum += time.Duration(more) * longest
	}
	return n, sum, longest
}
