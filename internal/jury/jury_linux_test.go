package jury

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"yodel/story"
)

var (
	roundsFlag = flag.Int("jury.rounds", 56, "how many connections are judged")
	seedFlag   = flag.Uint64("jury.seed", 1, "what the faults are drawn from")
	lanesFlag  = flag.Int("jury.lanes", 3, "how many of them at the same time")
	faultFlag  = flag.String("jury.fault", "", "only faults whose name contains this")
	keepFlag   = flag.String("jury.keep", "", "keep the captures of rounds that were not judged right in this directory")
)

// remarkable is the least that counts: a machine that runs other tests keeps programs
// waiting for a long time by itself. Faults last three times as long at least.
const remarkable = 250 * time.Millisecond

// TestBlindJury compares the verdicts of package story with what was done.
func TestBlindJury(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	list := slices.DeleteFunc(slices.Concat(faults, ours), func(f fault) bool { return !strings.Contains(f.name, *faultFlag) })
	j := &jury{t: t, counts: make(map[string]*count)}
	work := make(chan int)
	var lanes sync.WaitGroup
	for range *lanesFlag {
		h := newHosts(t)
		lanes.Go(func() { j.lane(h, list, work) })
	}
	for n := range *roundsFlag {
		work <- n
	}
	close(work)
	lanes.Wait()
	j.report()
}

// jury is the sum of all rounds.
type jury struct {
	t      *testing.T
	mu     sync.Mutex
	counts map[string]*count
	total  count
	again  int
}

type count struct{ right, cannot, wrong, void int }

func (j *jury) lane(h *hosts, list []fault, work <-chan int) {
	var slow time.Duration
	stop, err := h.nameServer(func() time.Duration { return slow })
	if err != nil {
		j.t.Error(err)
		for range work {
		}
		return
	}
	defer stop()
	for n := range work {
		j.round(h, list[n%len(list)], n, &slow)
	}
}

// round makes one connection, has both hosts watch it, and judges.
func (j *jury) round(h *hosts, f fault, n int, slow *time.Duration) {
	rng := rand.New(rand.NewPCG(*seedFlag, uint64(n)))
	r := &round{
		h: h, rng: rng, port: 10000 + n, dns: slow, nap: nap,
		hold:  3*remarkable + time.Duration(rng.Int64N(int64(500*time.Millisecond))),
		after: 1 + rng.IntN(3), lines: 1 + rng.IntN(3),
	}
	ctx, cancel := context.WithTimeout(j.t.Context(), time.Minute)
	defer cancel()
	files := []string{filepath.Join(h.dir, fmt.Sprintf("%d-c.pcap", n)), filepath.Join(h.dir, fmt.Sprintf("%d-s.pcap", n))}
	stopClient := h.tcpdump(ctx, h.client, files[0])
	stopServer := h.tcpdump(ctx, h.server, files[1])
	marker := h.listen(h.server, serverAddr+":9")
	h.mark(marker, []byte("the beginning"))
	err := f.do(r, ctx)
	h.nft("")
	last := fmt.Appendf(nil, "the end of round %d of %d", n, *seedFlag)
	h.mark(marker, last)
	marker.Close()
	stopClient(last)
	stopServer(last)
	if r.noise > f.bears(r.hold) {
		j.disturbed(h, f, n, r, slow)
		return
	}
	if rng.IntN(2) == 0 {
		files[0], files[1] = files[1], files[0]
	}
	j.judge(f, n, r, files, err)
}

// bears returns how much noise leaves no doubt about what is true: little where nobody
// should have kept the other waiting, and less than the fault itself elsewhere.
func (f *fault) bears(hold time.Duration) time.Duration {
	switch f.true[0] {
	case story.ClosedByClient, story.ClosedByServer, story.KernelOfServer, story.NobodyWeSee:
		return remarkable * 4 / 5
	}
	return hold * 6 / 10
}

// disturbed repeats a round in which the machine itself kept the programs waiting for so
// long that it is not known any more what is true. Its verdict is not looked at.
func (j *jury) disturbed(h *hosts, f fault, n int, r *round, slow *time.Duration) {
	j.mu.Lock()
	j.again++
	give := j.again > 20+*roundsFlag/2
	j.mu.Unlock()
	if give {
		j.t.Errorf("round %d: the machine is too busy: %d rounds were disturbed", n, j.again)
		return
	}
	j.t.Logf("round %d, %s: disturbed for %v, once more", n, f.name, r.noise)
	j.round(h, f, n+*roundsFlag, slow)
}

// nap waits for the time that a fault lasts.
func nap(d time.Duration) {
	<-time.After(d)
}

// mark leaves a connection in both captures, as one does who begins and ends a watch.
func (h *hosts) mark(l net.Listener, words []byte) {
	h.t.Helper()
	c, err := dialFrom(h.client, l.Addr().String(), 10*time.Second)
	if err != nil {
		h.t.Error(err)
		return
	}
	defer c.Close()
	s, err := l.Accept()
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

func (j *jury) judge(f fault, n int, r *round, files []string, err error) {
	var sources []story.Source
	for _, name := range files {
		file, openErr := os.Open(name)
		if openErr != nil {
			j.t.Error(openErr)
			return
		}
		defer file.Close()
		sources = append(sources, story.Source{Name: name, R: file})
	}
	for _, b := range r.traces {
		if b != nil {
			sources = append(sources, story.Source{Name: "trace", R: bytes.NewReader(b.Bytes())})
		}
	}
	told, tellErr := story.Tell(j.t.Context(), sources, &story.Options{Remarkable: remarkable})
	if tellErr != nil {
		j.t.Errorf("round %d, %s: %v", n, f.name, tellErr)
		return
	}
	var s *story.Story
	for _, one := range told.Stories {
		if int(one.Pair.Server.Port()) == r.port && (s == nil || f.name == "accept queue full") {
			s = one // the last one: those before it only fill the queue
		}
	}
	j.count(f, n, r, s, err, files)
}

func (j *jury) count(f fault, n int, r *round, s *story.Story, err error, files []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.counts[f.name]
	if c == nil {
		c = &count{}
		j.counts[f.name] = c
	}
	if err != nil || s == nil {
		c.void++
		j.total.void++
		j.t.Logf("round %d, %s: void: %v", n, f.name, err)
		return
	}
	switch {
	case slices.Contains(f.true, s.Verdict):
		c.right++
		j.total.right++
		os.Remove(files[0])
		os.Remove(files[1])
		return
	case s.Verdict == story.CannotTell:
		c.cannot++
		j.total.cannot++
		j.t.Logf("round %d, %s (%v): cannot tell: %s %+v", n, f.name, r.hold, s.Why, s.Parts)
	default:
		c.wrong++
		j.total.wrong++
		j.t.Errorf("round %d, %s (%v): %q is wrong: %s %+v %v", n, f.name, r.hold, s.Verdict, s.Why, s.Parts, s.Notes)
	}
	if *keepFlag != "" {
		for _, name := range files {
			text, _ := os.ReadFile(name)
			os.WriteFile(filepath.Join(*keepFlag, filepath.Base(name)), text, 0o644)
		}
	}
}

func (j *jury) report() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, f := range slices.Concat(faults, ours) {
		if c := j.counts[f.name]; c != nil {
			j.t.Logf("%-32s right %3d  cannot tell %2d  wrong %2d  void %2d", f.name, c.right, c.cannot, c.wrong, c.void)
		}
	}
	all := j.total.right + j.total.cannot + j.total.wrong
	j.t.Logf("%-32s right %3d  cannot tell %2d  wrong %2d  void %2d", "all", j.total.right, j.total.cannot, j.total.wrong, j.total.void)
	if j.total.right*100 < all*97 {
		j.t.Errorf("%d of %d right: less than 97 %%", j.total.right, all)
	}
	if j.total.void*20 > all {
		j.t.Errorf("%d rounds did not come about", j.total.void)
	}
}
