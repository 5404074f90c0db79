package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fewIdle  = 2_000 // where the counting of resident memory begins
	mostIdle = 18_000
)

// idle opens idle connections, as many servers and clients as the limit on descriptors
// makes necessary, says what they cost, and has every one of them echo once.
func (s *stage) idle(set *settings, out io.Writer) error {
	shares, err := shareOut(set.idle)
	if err != nil {
		return err
	}
	c := contestant{name: "yodel " + set.engine, source: "./servers/yodel", args: []string{"-engine", set.engine}}
	slab, err := memory("Slab:")
	if err != nil {
		return err
	}
	var all []*idlers
	defer func() {
		for _, i := range all {
			i.stop()
		}
	}()
	from := time.Now()
	for _, n := range shares {
		i, err := s.openIdle(c, n)
		if err != nil { // what is open counts
			err = fmt.Errorf("server %d of %d, with its connections: %w", len(all)+1, len(shares), err)
			return errors.Join(err, echoAll(all, out))
		}
		all = append(all, i)
		fmt.Fprintf(out, "%s: %d connections, resident %.1f MiB: %s\n", c.name, n, float64(i.resident)/(1<<20), i.each())
	}
	after, err := memory("Slab:")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d connections are open after %v; the kernel's slabs have grown by %d bytes for each pair of sockets\n",
		set.idle, time.Since(from).Round(time.Millisecond), (after-slab)/set.idle)
	return echoAll(all, out)
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
func echoAll(all []*idlers, out io.Writer) error {
	conns, echoes := 0, 0
	for _, i := range all {
		conns += i.n
		for _, c := range i.clients { // a talk is over when all connections have their messages back
			t, err := c.talk()
			if err != nil {
				return fmt.Errorf("%s: %w", i.server.name, err)
			}
			echoes += t.Messages
		}
	}
	_, err := fmt.Fprintf(out, "each of the %d connections has echoed: %d messages, all of them right\n", conns, echoes)
	return err
}

// memory returns a field of proc_meminfo(5) in bytes.
func memory(field string) (int, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), field)
	words := strings.Fields(rest)
	if len(words) == 0 {
		return 0, fmt.Errorf("/proc/meminfo has no %s", field)
	}
	kib, err := strconv.Atoi(words[0])
	return kib << 10, err
}
