package load

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"yodel/sock"
)

// A run is one run under way.
type run struct {
	plan    Plan
	base    time.Time // nanoseconds count from here
	targets []*target
	drivers []driver

	ahead time.Duration // for how long before a message is due loops don't sleep
	zero  int64         // when the first message may be sent; set before the drivers start
	until int64         // when the last may be
	left  atomic.Int64  // messages that may still be sent in a closed loop
	conns atomic.Int64  // numbers of connections that are taken

	opened  sync.WaitGroup // drivers that have not yet made all their connections
	running sync.WaitGroup // drivers that are not done

	kernel kernelSums
	sums   sums
	series series
}

// A driver moves the messages of one worker: over event loops, or by goroutines.
type driver interface {
	// open makes the connections and then calls run.opened.Done.
	open()

	// start begins sending. The driver calls run.running.Done when it is done.
	start()

	// stop ends it early.
	stop()

	// discard gives up what was never opened.
	discard()

	// counts returns what the driver counts into.
	counts() *worker
}

// A target is one server that has an address.
type target struct {
	Target
	addr netip.AddrPort // not valid for Unix sockets
	took time.Duration  // to look its name up; 0: there was none
}

// A worker is what a driver counts, guarded by mu, which is held for a turn of a loop at
// most.
type worker struct {
	run    *run
	mu     sync.Mutex
	groups []*group
	busy   busyness

	driver  string // what moves its bytes
	refusal error  // why it is not the driver that would be better; nil: it is
}

// A group is a worker's part of a target.
type group struct {
	*target
	which int // of the targets
	conns int // how many connections it has
	feed  *feed
	tally *tally
	spare *tally // an empty one
}

func (w *worker) counts() *worker { return w }

// A state is how a connection is.
type state uint8

const (
	dead       state = iota // not made yet, or not any more
	connecting              // connect(2) is under way
	resting                 // it has broken, and is made anew when its timer comes
	open
)

// busyness is how long a loop's thread had something to do, had nothing to do and was awake,
// and has waited for a processor.
type busyness struct {
	ran, awake, starved time.Duration
	known               bool
}

const (
	// wakeTime is longer than it mostly takes to wake a thread: some 50 µs, and on a virtual
	// machine up to 200.
	wakeTime = 250 * time.Microsecond

	never = 1000 * time.Hour
)

// take returns what g has counted, and has it count into another one. The caller gives
// it back, empty, as spare.
func (g *group) take() *tally {
	t := g.tally
	g.tally, g.spare = g.spare, nil
	return t
}

// Run connects, pushes until the plan is done or ctx ends, and returns what came of
// it. Errors of connections are in the Report; the error is for a plan that makes
// no sense, and for a name that can't be found.
func Run(ctx context.Context, plan Plan) (*Report, error) {
	if err := plan.complete(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	r := &run{plan: plan, base: time.Now()}
	r.sums.init(len(plan.Targets))
	if err := r.resolve(ctx); err != nil {
		return nil, err
	}
	if err := r.makeDrivers(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	before := witness()
	r.push(ctx)
	return r.report(ctx, before), nil
}

func (r *run) now() int64 { return int64(time.Since(r.base)) }

// resolve finds the targets' addresses. A name with several is called once, and the
// address that answers first is taken.
func (r *run) resolve(ctx context.Context) error {
	for i, t := range r.plan.Targets {
		to := &target{Target: t}
		r.targets = append(r.targets, to)
		if t.Address.Network == "unix" {
			continue
		}
		if t.Address.Host == "" {
			to.Address.Host = "localhost"
		}
		if a, err := netip.ParseAddr(to.Address.Host); err == nil {
			if to.addr = netip.AddrPortFrom(a, t.Address.Port); len(r.reachable([]netip.Addr{a})) == 0 {
				return r.otherFamily(to)
			}
			continue
		}
		from := time.Now()
		addrs, err := (&sock.Resolver{}).Lookup(ctx, to.Address.Host)
		if err != nil {
			return err
		}
		to.took = time.Since(from)
		r.sums.targets[i].name.record(int64(to.took))
		if addrs = r.reachable(addrs); len(addrs) == 0 {
			return r.otherFamily(to)
		}
		to.addr = netip.AddrPortFrom(addrs[0], t.Address.Port)
		if len(addrs) > 1 {
			r.choose(ctx, to)
		}
	}
	return nil
}

// reachable returns those of addrs that can be called from Plan.From.
func (r *run) reachable(addrs []netip.Addr) []netip.Addr {
	from := r.plan.From
	if !from.IsValid() {
		return addrs
	}
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return a.Unmap().Is4() != from.Addr().Unmap().Is4() })
}

func (r *run) otherFamily(to *target) error {
	return fmt.Errorf("load: --from %v: %v has no address of that family", r.plan.From, to.Address)
}

// choose calls a target that has several addresses. If none answers, the first remains,
// and its connections say why.
func (r *run) choose(ctx context.Context, to *target) {
	ctx, cancel := context.WithTimeout(ctx, r.plan.Timeout)
	defer cancel()
	call := to.Address
	call.Path = ""
	if call.Network != "udp" {
		call.Network = "tcp"
	}
	c, err := sock.Dial(ctx, call, &sock.Options{Source: r.source(0)})
	if err != nil {
		return
	}
	defer c.Close()
	to.addr = c.Pair().Server
}

// makeDrivers shares the targets out: event loops where there are such and they serve,
// goroutines for the rest.
func (r *run) makeDrivers() error {
	shares := share(r.plan.Conns, r.plan.weights())
	onLoops, onGoroutines := r.split()
	threads := r.threads(shares, onLoops)
	switch {
	case r.plan.Awake:
		r.ahead = 2 * never
	case threads*r.plan.Part.Of < runtime.GOMAXPROCS(0):
		r.ahead = wakeTime
	}
	for i := range threads {
		w := r.newWorker(onLoops, shares, threads, i)
		d, err := newLooper(w)
		if err != nil {
			for _, d := range r.drivers {
				d.discard()
			}
			return err
		}
		r.drivers = append(r.drivers, d)
	}
	if len(onGoroutines) > 0 {
		r.drivers = append(r.drivers, newTalkers(r.newWorker(onGoroutines, shares, 1, 0)))
	}
	return nil
}

// split says which targets go where.
func (r *run) split() (onLoops, onGoroutines []int) {
	for i, t := range r.targets {
		switch n := t.Address.Network; {
		case haveLoops && (n == "tcp" || n == "unix" || n == "udp"):
			onLoops = append(onLoops, i)
		default:
			onGoroutines = append(onGoroutines, i)
		}
	}
	return onLoops, onGoroutines
}

// threads is how many loops there are.
func (r *run) threads(shares, onLoops []int) int {
	conns, fewest := 0, math.MaxInt
	for _, i := range onLoops {
		conns += shares[i]
		fewest = min(fewest, shares[i])
	}
	if conns == 0 {
		return 0
	}
	n := r.plan.Threads
	if n == 0 {
		processors := runtime.GOMAXPROCS(0)
		if r.plan.Pace != nil {
			processors--
		}
		n = min(max(processors/r.plan.Part.Of, 1), max(conns/32, 1))
	}
	return min(n, fewest)
}

// newWorker returns one of so many workers that share targets.
func (r *run) newWorker(targets, shares []int, workers, which int) *worker {
	w := &worker{run: r}
	for _, i := range targets {
		n := shares[i] / workers
		if which < shares[i]%workers {
			n++
		}
		g := &group{target: r.targets[i], which: i, conns: n, tally: newTally(), spare: newTally()}
		if r.plan.Pace != nil {
			g.feed = newFeed(&r.plan, i, workers, which)
		}
		w.groups = append(w.groups, g)
	}
	return w
}

// push makes the connections, and has the drivers push until they are done.
func (r *run) push(ctx context.Context) {
	r.left.Store(r.plan.Count)
	if r.plan.Count == 0 {
		r.left.Store(math.MaxInt64)
	}
	r.opened.Add(len(r.drivers))
	r.running.Add(len(r.drivers))
	for _, d := range r.drivers {
		d.open()
	}
	open, done := closed(&r.opened), closed(&r.running)
	select {
	case <-open:
	case <-ctx.Done():
	}
	if r.plan.Opened != nil {
		r.plan.Opened()
	}
	r.zero = r.now()
	r.series.began(r.zero)
	r.until = math.MaxInt64
	if r.plan.Duration > 0 {
		r.until = r.zero + int64(r.plan.Duration)
	}
	if ctx.Err() == nil {
		for _, d := range r.drivers {
			d.start()
		}
	}
	r.watch(ctx, done)
}

// watch looks at what has been counted every second, until all is done.
func (r *run) watch(ctx context.Context, done <-chan struct{}) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	stopped := ctx.Done()
	for {
		select {
		case <-every.C:
			r.look(false)
		case <-stopped:
			r.stopAll()
			stopped = nil
		case <-done:
			r.settle(ctx)
			r.look(true)
			return
		}
	}
}

// settle counts what was due while others went on, at drivers whose connections were all
// broken: it could not be sent.
func (r *run) settle(ctx context.Context) {
	now := time.Duration(r.now() - r.zero)
	for _, d := range r.drivers {
		for _, g := range d.counts().groups {
			for g.feed != nil && ctx.Err() == nil && g.feed.next <= now {
				g.tally.Due++
				g.tally.Unsent++
				g.feed.advance()
			}
		}
	}
}

func (r *run) stopAll() {
	for _, d := range r.drivers {
		d.stop()
	}
}

// closed returns a channel that is closed when nobody is waited for any more.
func closed(wg *sync.WaitGroup) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		wg.Wait()
		close(c)
	}()
	return c
}

// look adds what has been counted since the last look.
func (r *run) look(last bool) {
	now := r.now()
	recent := r.sums.recent
	recent.reset()
	for _, d := range r.drivers {
		w := d.counts()
		for _, g := range w.groups {
			w.mu.Lock()
			t := g.take()
			w.mu.Unlock()
			recent.merge(t)
			r.sums.targets[g.which].merge(t)
			t.reset()
			w.mu.Lock()
			g.spare = t
			w.mu.Unlock()
		}
	}
	r.sums.all.merge(recent)
	r.series.add(now, recent)
	if r.plan.Progress != nil && !last {
		r.plan.Progress(r.progress(now, recent))
	}
}

// sums is what was counted in all, and lately.
type sums struct {
	all, recent *tally
	targets     []*tally
}

func (s *sums) init(targets int) {
	s.all, s.recent = newTally(), newTally()
	for range targets {
		s.targets = append(s.targets, newTally())
	}
}

// Progress is how far a run has come.
type Progress struct {
	Elapsed time.Duration
	Counts  Counts  // since the beginning
	Rate    float64 // messages answered a second, lately
	Errors  map[Class]int64

	// Recent is the latency of the messages that were answered lately.
	Recent *hdrhistogram.Histogram
}

func (r *run) progress(now int64, recent *tally) *Progress {
	p := &Progress{
		Elapsed: time.Duration(max(now-r.zero, 0)), Counts: r.sums.all.Counts,
		Errors: r.sums.all.errors, Recent: recent.latency.export(),
	}
	if n := len(r.series.points); n > 0 {
		p.Rate = r.series.points[n-1].Rate
	}
	return p
}

// more reports whether one more message may be sent in a closed loop.
func (r *run) more(now int64) bool { return now < r.until && r.left.Add(-1) >= 0 }

// over reports whether no message may be sent any more in a closed loop.
func (r *run) over() bool { return r.now() >= r.until || r.left.Load() <= 0 }

// nextNumber returns the number of the next connection, which is that of no other, in no
// part.
func (r *run) nextNumber() int {
	return int(r.conns.Add(1)-1)*r.plan.Part.Of + r.plan.Part.Which
}

// numbers is what all numbers of connections are below; other parts may have one more.
func (r *run) numbers() int {
	if r.plan.Part.Of == 1 {
		return int(r.conns.Load())
	}
	return int(r.conns.Load()+1) * r.plan.Part.Of
}

// source returns the address that connection n comes from; not valid: any.
func (r *run) source(n int) netip.Addr {
	from := r.plan.From
	if !from.IsValid() {
		return netip.Addr{}
	}
	return nth(from, n)
}

// nth returns address n of a network, which begins anew at its end. Where a network has
// an address of its own, and one for all, they are left out.
func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	bits := a.BitLen() - p.Bits()
	room, first := uint64(1)<<min(bits, 62), uint64(0)
	if bits > 1 {
		room, first = room-2, 1
	}
	offset := first + uint64(n)%room
	b := a.AsSlice()
	for i := len(b) - 1; i >= 0 && offset > 0; i-- {
		offset += uint64(b[i])
		b[i] = byte(offset)
		offset >>= 8
	}
	a, _ = netip.AddrFromSlice(b)
	return a
}
