package jury

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"yodel/story"
	"yodel/yodeltest"
)

var (
	roundsFlag = flag.Int("jury.rounds", 0, "how many connections are judged; 0: 24, and a machine that is too busy for that is none of their faults")
	seedFlag   = flag.Uint64("jury.seed", 1, "what the faults are drawn from")
	lanesFlag  = flag.Int("jury.lanes", 4, "how many of them at the same time")
	faultFlag  = flag.String("jury.fault", "", "only faults whose name contains this")
	onlyFlag   = flag.Int("jury.round", -1, "only this round")
	keepFlag   = flag.String("jury.keep", "", "keep what was captured in all rounds in this directory")
	dumpFlag   = flag.String("jury.dump", "", "write evidence that was not judged right to this directory, as captures")
	againFlag  = flag.String("jury.again", "", "judge once more what was kept in this directory")
)

// remarkable is the least that counts: a machine that runs other tests keeps programs
// waiting for a long time by itself. Faults last longer.
const remarkable = 250 * time.Millisecond

// repeating is how long rounds that did not come about are made once more, unless there are
// too many of them before.
const repeating = 100 * time.Second

// TestBlindJury compares the verdicts of package story with what was done.
func TestBlindJury(t *testing.T) {
	if testing.Short() {
		yodeltest.Skip(t, "it takes a minute", "run it without -short")
	}
	j := newJury(t)
	if *againFlag != "" {
		j.judgeAgain(*againFlag)
		return
	}
	j.stalls = watchStalls(t.Context())
	t.Logf("%d rounds, -jury.seed=%d, %d at the same time", j.rounds, *seedFlag, *lanesFlag)
	work := make(chan int)
	var lanes sync.WaitGroup
	for range *lanesFlag {
		h := newHosts(t)
		lanes.Go(func() { j.lane(h, work) })
	}
	for n := range j.rounds {
		if *onlyFlag < 0 || n == *onlyFlag {
			work <- n
		}
	}
	close(work)
	lanes.Wait()
	j.report()
}

func newJury(t *testing.T) *jury {
	list := slices.DeleteFunc(slices.Concat(faults, ours), func(f fault) bool { return !strings.Contains(f.name, *faultFlag) })
	if len(list) == 0 {
		t.Fatalf("-jury.fault=%s: there is no such fault", *faultFlag)
	}
	rounds := *roundsFlag
	if rounds <= 0 {
		rounds = 24
	}
	return &jury{t: t, began: time.Now(), rounds: rounds, list: list, kinds: make(map[string]*count), altered: make(map[string]*count)}
}

// judgeAgain judges what was kept by -jury.keep once more: what is mended can be tried on
// the same evidence.
func (j *jury) judgeAgain(dir string) {
	names, err := filepath.Glob(filepath.Join(dir, "*.round"))
	if err != nil {
		j.t.Fatal(err)
	}
	for _, name := range names {
		r, err := j.load(name)
		if err != nil {
			j.t.Fatal(err)
		}
		if strings.Contains(r.fault.name, *faultFlag) && (*onlyFlag < 0 || r.n == *onlyFlag) {
			j.judge(r)
		}
	}
	j.report()
}

// kept is a round, to be judged again.
type kept struct {
	N, Port    int
	Fault      string
	Own        bool
	Hold, Took time.Duration
	Tapes      [2][]keptShot
	Traces     [][]byte
}

type keptShot struct {
	At   time.Time
	Long int
	Data []byte
	Way  byte
}

func (j *jury) load(name string) (*round, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var k kept
	if err := gob.NewDecoder(file).Decode(&k); err != nil {
		return nil, err
	}
	r := &round{n: k.N, port: k.Port, own: k.Own, hold: k.Hold, took: k.Took, rng: rand.New(rand.NewPCG(*seedFlag, uint64(k.N)))}
	i := slices.IndexFunc(j.list, func(f fault) bool { return f.name == k.Fault })
	if i < 0 {
		return nil, fmt.Errorf("%s: no fault %q", name, k.Fault)
	}
	r.fault = j.list[i]
	for i, t := range k.Tapes {
		for _, s := range t {
			r.tapes[i] = append(r.tapes[i], shot{s.At, s.Long, s.Data, s.Way})
		}
	}
	for i, b := range k.Traces {
		r.traces[i] = bytes.NewBuffer(b)
	}
	return r, nil
}

// keep writes a round down.
func (j *jury) keep(r *round) {
	k := kept{N: r.n, Port: r.port, Fault: r.fault.name, Own: r.own, Hold: r.hold, Took: r.took}
	for i, t := range r.tapes {
		for _, s := range t {
			k.Tapes[i] = append(k.Tapes[i], keptShot{s.at, s.long, s.data, s.way})
		}
	}
	for _, b := range r.traces {
		if b != nil {
			k.Traces = append(k.Traces, b.Bytes())
		}
	}
	file, err := os.Create(filepath.Join(*keepFlag, fmt.Sprintf("%d-%d.round", *seedFlag, r.n)))
	if err == nil {
		err = errors.Join(gob.NewEncoder(file).Encode(&k), file.Close())
	}
	if err != nil {
		j.t.Error(err)
	}
}

// jury is the sum of all rounds.
type jury struct {
	t      *testing.T
	rounds int
	list   []fault
	stalls *stalls
	began  time.Time

	mu      sync.Mutex
	kinds   map[string]*count // by fault
	altered map[string]*count // by variation
	again   int
	void    int
}

// count is verdicts. Of those that are right, half did not tell the accept queue from the
// handler, because the evidence has neither.
type count struct{ right, half, cannot, wrong int }

// add counts a verdict, and says what it was.
func (c *count) add(f *fault, v story.Verdict) *int {
	switch {
	case slices.Contains(f.true, v) && v == story.Server:
		c.half++
		fallthrough
	case slices.Contains(f.true, v):
		c.right++
		return &c.right
	case v == story.CannotTell:
		c.cannot++
		return &c.cannot
	}
	c.wrong++
	return &c.wrong
}

func (j *jury) lane(h *hosts, work <-chan int) {
	var slow atomic.Int64 // a duration
	stop, err := h.nameServer(func() time.Duration { return time.Duration(slow.Load()) })
	if err != nil {
		j.t.Error(err)
		for range work {
		}
		return
	}
	defer stop()
	for n := range work {
		j.round(h, n, 0, &slow)
	}
}

// fault returns what is done in a round: decks of all that there is, each in an order of
// its own.
func (j *jury) fault(n int) fault {
	deck := rand.New(rand.NewPCG(*seedFlag, uint64(n/len(j.list))+1<<32)).Perm(len(j.list))
	return j.list[deck[n%len(j.list)]]
}

// round makes one connection, has both hosts watch it, and judges.
func (j *jury) round(h *hosts, n, try int, slow *atomic.Int64) {
	f := j.fault(n)
	rng := rand.New(rand.NewPCG(*seedFlag, uint64(n)))
	r := &round{
		h: h, rng: rng, port: 10000 + (n+try*j.rounds)%50000, dns: slow, nap: nap, n: n, fault: f,
		hold:  remarkable*3/2 + time.Duration(rng.Int64N(int64(3*remarkable))),
		after: 1 + rng.IntN(3), lines: 1 + rng.IntN(3),
	}
	r.own = rng.IntN(6) == 0
	ctx, cancel := context.WithTimeout(j.t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	err := r.watched(ctx)
	stalled := j.stalls.since(began)
	switch {
	case err != nil:
		j.voided(h, r, try, slow, err.Error())
	case r.noise+stalled > f.bears(r.hold):
		j.voided(h, r, try, slow, fmt.Sprintf("the machine itself kept programs waiting: %v by the talk, %v by a clock", r.noise, stalled))
	default:
		if *keepFlag != "" {
			j.keep(r)
		}
		j.judge(r)
	}
}

// watched does what is to be done while both hosts capture, from before the connection
// until after it.
func (r *round) watched(ctx context.Context) error {
	h := r.h
	var stop [2]func(last []byte) tape
	for i, ns := range []string{h.client, h.server} {
		var err error
		if stop[i], err = h.capture(ctx, ns, filepath.Join(h.dir, fmt.Sprintf("%d-%d.pcap", r.port, i)), r.own); err != nil {
			return err
		}
	}
	h.mark([]byte("the beginning"))
	began := time.Now()
	err := r.fault.do(r, ctx)
	r.took = time.Since(began)
	h.nft("")
	last := fmt.Appendf(nil, "the end of round %d of %d", r.n, *seedFlag)
	h.mark(last)
	r.tapes = [2]tape{stop[0](last), stop[1](last)}
	if err == nil && r.own && (len(r.tapes[0]) == 0 || len(r.tapes[1]) == 0) {
		err = fmt.Errorf("our capture has nothing")
	}
	return err
}

// bears returns how much noise leaves no doubt about what is true: little where nobody
// should have kept the other waiting, and less than the fault itself elsewhere.
func (f *fault) bears(hold time.Duration) time.Duration {
	if len(f.true) > 0 && !f.kept() {
		return remarkable * 4 / 5
	}
	return hold * 6 / 10
}

// kept reports whether the truth is that somebody kept the other waiting.
func (f *fault) kept() bool {
	switch f.true[0] {
	case story.Client, story.NetworkThere, story.NetworkBack, story.AcceptQueue, story.Handler, story.Server:
		return true
	}
	return false
}

// voided repeats a round that did not come about, or in which the machine itself kept the
// programs waiting for so long that it is not known any more what is true. Its verdict
// is not looked at.
func (j *jury) voided(h *hosts, r *round, try int, slow *atomic.Int64, why string) {
	j.mu.Lock()
	j.again++
	tooMany := j.again > 20+j.rounds || time.Since(j.began) > repeating
	j.mu.Unlock()
	j.t.Logf("round %d, %s: void, once more: %s", r.n, r.fault.name, why)
	if tooMany || try == 19 {
		j.mu.Lock()
		j.void++
		j.mu.Unlock()
		j.t.Logf("round %d, %s: it did not come about: %s", r.n, r.fault.name, why)
		return
	}
	j.round(h, r.n, try+1, slow)
}

// nap waits for the time that a fault lasts.
func nap(d time.Duration) {
	<-time.After(d)
}

// mark leaves a connection in both captures, as one does who begins and ends a watch.
func (h *hosts) mark(words []byte) {
	h.t.Helper()
	c, err := dialFrom(h.client, h.marker.Addr().String(), 10*time.Second)
	if err != nil {
		h.t.Error(err)
		return
	}
	defer c.Close()
	s, err := h.marker.Accept()
	if err != nil {
		h.t.Error(err)
		return
	}
	defer s.Close()
	heard := make([]byte, len(words))
	for range 3 {
		c.Write(words)
		io.ReadFull(s, heard)
		s.Write(words)
		io.ReadFull(c, heard)
	}
}

// judge has story judge what both hosts have captured, and then worse and worse evidence
// of the same.
func (j *jury) judge(r *round) {
	caller, first, last, ok := r.tapes[0].caller(r.port)
	if !ok {
		j.t.Errorf("round %d, %s: the client's capture has no SYN", r.n, r.fault.name)
		return
	}
	whole := &evidence{client: r.tapes[0], server: r.tapes[1], rng: r.rng, port: r.port, own: r.own}
	for _, b := range r.traces {
		if b != nil {
			whole.traces = append(whole.traces, b.Bytes())
		}
	}
	s, err := j.tell(whole, caller)
	if err != nil || s == nil {
		j.t.Errorf("round %d, %s: nothing was told of it: %v", r.n, r.fault.name, err)
		return
	}
	j.found(r, s, "", whole)
	if _, _, there, ok := r.tapes[1].caller(r.port); ok && there.After(last) { // both have one clock
		last = there
	}
	j.adds(r, s, first, last)
	for _, v := range variations {
		j.vary(r, whole, v.name, v.alter, caller)
		if v.kind == losing {
			silent := *whole
			silent.silent = true
			j.vary(r, &silent, v.name+", silently", v.alter, caller)
		}
	}
}

func (j *jury) vary(r *round, whole *evidence, name string, alter func(*evidence), caller netip.AddrPort) {
	e := *whole
	if alter(&e); len(e.traces) < len(whole.traces) {
		return // the verdict may need them
	}
	s, err := j.tell(&e, caller)
	switch {
	case err != nil:
		j.t.Errorf("round %d, %s, %s: %v", r.n, r.fault.name, name, err)
	case s != nil:
		j.found(r, s, name, &e)
	}
}

// tell returns the story of a connection; nil if there is none.
func (j *jury) tell(e *evidence, caller netip.AddrPort) (*story.Story, error) {
	var sources []story.Source
	for name, file := range e.files() {
		sources = append(sources, story.Source{Name: name, R: bytes.NewReader(file)})
	}
	e.rng.Shuffle(len(sources), func(a, b int) { sources[a], sources[b] = sources[b], sources[a] })
	told, err := story.Tell(j.t.Context(), sources, &story.Options{Remarkable: remarkable})
	if err != nil {
		return nil, err
	}
	for _, one := range told.Stories {
		if one.Pair.Client == caller && int(one.Pair.Server.Port()) == e.port {
			return one, nil
		}
	}
	return nil, nil
}

// still is what is true of evidence that was made worse. "server" is less than "server:
// handler", and not wrong. Who closed is true if the evidence does not have the fault: it
// was before the SYN, or before the first packet that it has of the handshake, or it was
// that of a client that was not watched.
func (f *fault) still(r *round, e *evidence) []story.Verdict {
	list := slices.Clone(f.true)
	switch f.true[0] {
	case story.Handler, story.AcceptQueue:
		list = append(list, story.Server)
	}
	_, whole, _, _ := r.tapes[0].caller(r.port)
	_, first, _, ok := e.client.caller(r.port)
	blind := e.client == nil || f.early && (!ok || first.After(whole)) || !f.early && e.client.names() < r.tapes[0].names()
	if blind {
		list = append(list, f.closed...)
	}
	return list
}

// found counts a verdict on whole evidence, or on what a variation has made of it.
func (j *jury) found(r *round, s *story.Story, altered string, e *evidence) {
	j.mu.Lock()
	defer j.mu.Unlock()
	in, key := j.kinds, r.fault.name
	if altered != "" {
		in, key = j.altered, altered
	}
	c := in[key]
	if c == nil {
		c = &count{}
		in[key] = c
	}
	what := fmt.Sprintf("round %d (own %t), %s for %v %s: %q: %s %+v %v", r.n, r.own, r.fault.name, r.hold.Round(time.Millisecond), altered, s.Verdict, s.Why, s.Parts, s.Notes)
	f := r.fault
	if altered != "" {
		f.true = f.still(r, e)
	}
	switch c.add(&f, s.Verdict) {
	case &c.right:
		return
	case &c.cannot:
		if altered != "" {
			return
		}
		j.t.Log(what)
	case &c.wrong:
		if e.silent {
			j.t.Logf("not wrong by what the captures have: %s", what)
		} else {
			j.t.Errorf("WRONG: %s", what)
		}
	}
	if *dumpFlag != "" {
		for name, file := range e.files() {
			os.WriteFile(filepath.Join(*dumpFlag, fmt.Sprintf("%d-%d-%s-%s", *seedFlag, r.n, strings.ReplaceAll(altered, " ", "-"), name)), file, 0o644)
		}
	}
}

// adds compares the parts with what was measured: by the capture, whose packets the jury
// reads itself, and by the clock of the one who did it all.
func (j *jury) adds(r *round, s *story.Story, first, last time.Time) {
	fail := func(format string, args ...any) {
		j.t.Errorf("round %d, %s for %v: %s; %+v ± %v", r.n, r.fault.name, r.hold, fmt.Sprintf(format, args...), s.Parts, s.Error)
	}
	const rounding = time.Millisecond
	var at, sum time.Duration
	for _, i := range s.Intervals {
		if i.From != at || i.To < i.From {
			fail("an interval from %v to %v comes after %v", i.From, i.To, at)
		}
		at = i.To
		sum += i.To - i.From
	}
	end := s.Start.Add(s.Parts.Total())
	switch total := s.Parts.Total(); {
	case sum != total:
		fail("the intervals sum to %v", sum)
	case s.Start.After(first.Add(rounding)), end.After(last.Add(s.Error + rounding)):
		fail("it lasted from %v to %v, its packets from %v to %v", s.Start, end, first, last)
	case total > r.took+s.Error+remarkable:
		fail("all of it took %v", r.took)
	case r.fault.kept() && total < r.hold*9/10 && !r.fault.short:
		fail("the fault is not in the sum")
	}
}

func (j *jury) report() {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all, worse, silent count
	for _, f := range j.list {
		if c := j.kinds[f.name]; c != nil {
			j.t.Log(row(f.name, c))
			all.sum(c)
		}
	}
	j.t.Log(row("ALL", &all))
	for _, name := range slices.Sorted(maps.Keys(j.altered)) {
		j.t.Log(row("  "+name, j.altered[name]))
		if strings.HasSuffix(name, "silently") {
			silent.sum(j.altered[name])
		} else {
			worse.sum(j.altered[name])
		}
	}
	j.t.Log(row("  ALL, worse evidence", &worse))
	j.t.Log(row("  ALL, silently worse", &silent))
	if (silent.wrong-2)*200 > silent.right+silent.cannot {
		j.t.Errorf("%d verdicts on captures that silently lack packets are wrong: more than one in 200, and two by chance", silent.wrong)
	}
	j.t.Logf("%d rounds were void, and made once more", j.again)
	n := all.right + all.cannot + all.wrong
	if j.void > 0 && *roundsFlag <= 0 && !j.t.Failed() {
		yodeltest.Skip(j.t, fmt.Sprintf("%d of %d rounds did not come about: this machine is too busy to say what is true. With -jury.rounds=100 that is an error", j.void, j.rounds),
			"run it on one that is less busy")
	}
	if *roundsFlag > 0 && j.void*2 > j.rounds { // they say nothing of a verdict, but of the machine
		j.t.Errorf("%d of %d rounds did not come about, for all that %d were made once more: this machine is too busy to say what is true", j.void, j.rounds, j.again)
	}
	if least := leastRight(n); all.right*100 < n*least {
		j.t.Errorf("%d of %d right: less than %d %%", all.right, n, least)
	}
	for _, v := range variations {
		if c := j.altered[v.name]; c != nil && v.kind == same && c.right*100 < (c.right+c.cannot)*95 {
			j.t.Errorf("%s: %d right, %d cannot tell: nothing was lost", v.name, c.right, c.cannot)
		}
	}
}

// leastRight returns how many in a hundred of n verdicts must be right: 97, and where n is small
// what chance leaves of that.
func leastRight(n int) int {
	switch {
	case n >= 500:
		return 97
	case n >= 50:
		return 92
	}
	return 80
}

func (c *count) sum(d *count) {
	c.right += d.right
	c.half += d.half
	c.cannot += d.cannot
	c.wrong += d.wrong
}

func row(name string, c *count) string {
	text := fmt.Sprintf("%-34s right %4d  cannot tell %4d  wrong %3d", name, c.right, c.cannot, c.wrong)
	if c.half > 0 {
		text += fmt.Sprintf("  (%d right as \"server\")", c.half)
	}
	return text
}
