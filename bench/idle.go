package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fewIdle  = 2_000 // where the counting of resident memory begins
	mostIdle = 18_000

	// leastLeft is how many bytes of memory must be available for more connections to be
	// opened: a server with all of its own takes some 200 MB.
	leastLeft = 2 << 30
)

// idleRun opens idle connections and sums up what they cost.
type idleRun struct {
	*stage
	server   contestant
	want     int
	until    time.Time // nobody new is begun with after that
	out, say io.Writer // the findings, and progress

	from   time.Time
	before kernelUse
	all    []*idlers
	open   int // connections
}

// idle opens idle connections, with as many servers and clients as the limit on
// descriptors makes necessary, says what they cost, and has every one of them echo once.
func (s *stage) idle(set *settings, out, say io.Writer) error {
	shares, err := shareOut(set.idle)
	if err != nil {
		return err
	}
	for _, source := range []string{"./servers/yodel", "c/client.c"} {
		if _, err := s.build(source); err != nil { // first, because it takes time
			return err
		}
	}
	var stop context.CancelFunc
	s.ctx, stop = context.WithTimeout(s.ctx, 2*set.idleTime) // whoever hangs is killed
	defer stop()
	r := &idleRun{
		stage: s, want: set.idle, out: out, say: say, from: time.Now(), until: time.Now().Add(set.idleTime),
		server: contestant{name: "yodel " + set.engine, source: "./servers/yodel", args: []string{"-engine", set.engine, "-keepalive", "-1s"}},
	}
	defer r.stop()
	if r.before, err = readKernelUse(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d connections over %d server processes; %v\n", r.server.name, set.idle, len(shares), limits())
	if err = r.openAll(shares); err != nil {
		err = fmt.Errorf("stopped at %d of %d connections: %w", r.open, r.want, err)
	}
	if r.open > 0 { // what is open counts
		err = errors.Join(err, r.report(), r.echoAll())
	}
	return err
}

// shareOut spreads n connections over as many servers as there must be.
func shareOut(n int) (shares []int, err error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, os.NewSyscallError("getrlimit", err)
	}
	most := min(mostIdle, int(limit.Max)-100)
	if most < 1 {
		return nil, fmt.Errorf("a process may have %d descriptors, too few to measure", limit.Max)
	}
	for ; n > 0; n -= most {
		shares = append(shares, min(n, most))
	}
	return shares, nil
}

func (r *idleRun) openAll(shares []int) error {
	for i, n := range shares {
		if err := r.mayGoOn(); err != nil {
			return err
		}
		if err := r.openShare(n); err != nil {
			return fmt.Errorf("server %d of %d, with its connections: %w", i+1, len(shares), err)
		}
	}
	return nil
}

// mayGoOn returns why no more may be opened.
func (r *idleRun) mayGoOn() error {
	left, err := memory("MemAvailable:")
	switch {
	case err != nil:
		return err
	case left < leastLeft:
		return fmt.Errorf("%d MiB of memory are available, and %d are left to others", left>>20, leastLeft>>20)
	case time.Now().After(r.until):
		return errors.New("the time for opening them is over: -idle-time gives more")
	}
	fmt.Fprintf(r.say, "%d of %d connections, %.0f s, %.1f GiB available\n", r.open, r.want, time.Since(r.from).Seconds(), float64(left)/(1<<30))
	return r.ctx.Err()
}

func (r *idleRun) openShare(n int) error {
	i, err := r.openIdle(r.server, n)
	if err != nil {
		return err
	}
	r.all = append(r.all, i)
	r.open += n
	return nil
}

// report says what those that are open cost.
func (r *idleRun) report() error {
	took := time.Since(r.from).Round(time.Millisecond)
	after, err := readKernelUse()
	if err != nil {
		return err
	}
	resident := 0
	for _, i := range r.all {
		resident += i.resident
	}
	fmt.Fprintf(r.out, "%d connections are open after %v\n", r.open, took)
	fmt.Fprintf(r.out, "the servers have %.1f MiB resident together; the first one with %d connections: %s\n",
		float64(resident)/(1<<20), r.all[0].n, r.all[0].each())
	fmt.Fprint(r.out, after.since(r.before, r.open))
	return nil
}

func (r *idleRun) stop() {
	for _, i := range r.all {
		i.stop()
	}
}

// idlers are the idle connections of one server.
type idlers struct {
	server   *server
	clients  []*client
	n        int
	few      int // bytes resident with fewIdle connections; 0: there are not so many
	resident int
}

func (s *stage) openIdle(c contestant, n int) (i *idlers, err error) {
	i = &idlers{n: n}
	if i.server, err = s.serve(c); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			i.stop()
		}
	}()
	if n > fewIdle {
		if err := i.open(s, fewIdle); err != nil {
			return i, err
		}
		i.few, n = i.resident, n-fewIdle
	}
	return i, i.open(s, n)
}

// open opens n connections more. One that was answered has been accepted, so one talk
// on all of them comes first.
func (i *idlers) open(s *stage, n int) error {
	c, err := s.dial(i.server, load{conns: n, size: 64, depth: 1}, time.Millisecond)
	if err != nil {
		return err
	}
	i.clients = append(i.clients, c)
	if _, err := c.talk(); err != nil {
		return err
	}
	i.resident, err = i.server.resident()
	return err
}

func (i *idlers) stop() {
	for _, c := range i.clients {
		c.stop()
	}
	i.server.stop()
}

// each says what one connection has added.
func (i *idlers) each() string {
	if i.few == 0 {
		return "too few to tell what one costs"
	}
	return fmt.Sprintf("%d bytes for each beyond the first %d", (i.resident-i.few)/(i.n-fewIdle), fewIdle)
}

// echoAll has every connection echo a message of 64 bytes, which the client verifies.
func (r *idleRun) echoAll() error {
	conns, echoes, from := 0, 0, time.Now()
	for _, i := range r.all {
		conns += i.n
		for _, c := range i.clients { // a talk is over when all connections have their messages back
			t, err := c.talk()
			if err != nil {
				return fmt.Errorf("%s: %w", i.server.name, err)
			}
			echoes += t.Messages
		}
		fmt.Fprintf(r.say, "%d of %d have echoed\n", conns, r.open)
	}
	_, err := fmt.Fprintf(r.out, "each of the %d connections has echoed in %v: %d messages, all of them right\n",
		conns, time.Since(from).Round(time.Millisecond), echoes)
	return err
}
