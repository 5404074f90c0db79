package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"yodel/yodeltest/netns"
)

// A server that does not accept for a while, because it is stopped by a signal. The
// kernel lets as many clients in as fit into the queue, drops the requests of others and
// counts them; the clients ask again. Nobody is refused, and all are served in the end.
func TestAcceptQueueOverflow(t *testing.T) {
	t.Parallel()
	const backlog, late = 4, 3
	const fit = backlog + 1 // of a backlog of n Linux holds n + 1
	here, there := netns.Two(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := start(t, launch{
		prefix: []string{"ip", "netns", "exec", here.Namespace},
		engine: "goroutine", flags: []string{"--backlog", strconv.Itoa(backlog)},
		networks: overTCP, host: here.V4.String(),
	})
	if err == nil {
		err = s.awaitListening(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := s.overflows(t)
	if before != (overflows{}) {
		t.Errorf("the counters of a new network namespace begin at %+v", before)
	}

	s.freeze(ctx, t)
	type arrival struct {
		c   *client
		err error
	}
	arrivals := make(chan arrival, fit+late)
	dial := func() {
		var c *client
		err := there.Inside(func() (err error) {
			c, err = s.dial(ctx, "tcp")
			return err
		})
		arrivals <- arrival{c, err}
	}
	for range fit {
		dial()
	}
	if waiting := s.waiting(t); waiting != fit {
		t.Errorf("%d connections wait to be accepted, want %d", waiting, fit)
	}
	if now := s.overflows(t); now != before {
		t.Errorf("nothing has overflowed yet, and the counters are %+v", now)
	}
	for range late {
		go dial()
	}
	s.awaitOverflows(ctx, t, late)
	if n := len(arrivals); n != fit {
		t.Errorf("%d connections are there; the queue holds %d", n, fit)
	}

	s.cmd.Process.Signal(unix.SIGCONT)
	r := &run{t: t, ctx: ctx, s: s}
	for range fit + late {
		a := <-arrivals
		if a.err == nil {
			r.talked = append(r.talked, a.c)
			a.err = errors.Join(a.c.say(), a.c.end())
		}
		if a.err != nil {
			t.Errorf("a client that had waited: %v", a.err)
		}
	}
	if err := errors.Join(s.awaitBaseline(ctx), r.stop()); err != nil {
		t.Error(r.report(err))
	}
}

// freeze stops the server until SIGCONT, and returns when all of its threads stand.
func (s *server) freeze(ctx context.Context, t *testing.T) {
	t.Helper()
	s.cmd.Process.Signal(unix.SIGSTOP)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !s.stands() {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatal("the server does not stop at SIGSTOP")
		}
	}
}

func (s *server) stands() bool {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		if !strings.Contains(string(text), ") T ") {
			return false
		}
	}
	return true
}

// waiting returns how many connections wait to be accepted: the rx_queue of a listening
// socket in /proc/net/tcp.
func (s *server) waiting(t *testing.T) int {
	t.Helper()
	for line := range strings.Lines(s.net(t, "tcp")) {
		f := strings.Fields(line)
		if f[3] == "0A" { // TCP_LISTEN
			_, queue, _ := strings.Cut(f[4], ":")
			n, err := strconv.ParseInt(queue, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
	}
	t.Fatal("no socket listens")
	return 0
}

// net returns a file of /proc/net as the server's network namespace has it.
func (s *server) net(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", s.pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// overflows are what the kernel counts of full accept queues: times that one was full,
// and requests that were dropped for this or another reason.
type overflows struct{ ListenOverflows, ListenDrops int }

func (s *server) overflows(t *testing.T) overflows {
	t.Helper()
	var names, values []string
	for line := range strings.Lines(s.net(t, "netstat")) {
		f := strings.Fields(line)
		switch {
		case f[0] != "TcpExt:":
		case names == nil:
			names = f
		default:
			values = f
		}
	}
	counts := make(map[string]int)
	for i, value := range values {
		counts[names[i]], _ = strconv.Atoi(value)
	}
	return overflows{counts["ListenOverflows"], counts["ListenDrops"]}
}

// awaitOverflows waits until the kernel has counted n. Nothing tells of that but the
// counters.
func (s *server) awaitOverflows(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		now := s.overflows(t)
		if now.ListenOverflows >= n && now.ListenDrops >= n {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%d connections too many, and the counters are %+v", n, now)
		}
	}
}
