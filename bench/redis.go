package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stores are the servers that speak Redis's protocol; the first is the reference.
func stores(engines []string) []contestant {
	list := []contestant{{
		name: "redis-server", program: "redis-server",
		args: []string{"--port", freePort, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"},
	}}
	for _, e := range engines {
		list = append(list, contestant{name: "kv " + e, source: "yodel/examples/kv", args: []string{"--engine", e, freePort}})
	}
	return list
}

// A storeLoad is one run of redis-benchmark.
type storeLoad struct {
	test     string
	pipeline int
}

func (l storeLoad) String() string {
	return fmt.Sprintf("### Redis's %s: 50 connections, %d in flight each", strings.ToUpper(l.test), l.pipeline)
}

// redis lets kv and redis-server take turns under redis-benchmark.
func (s *stage) redis(set *settings, out io.Writer) error {
	for _, program := range []string{"redis-server", "redis-benchmark"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w; on Debian it is in the packages redis-server and redis-tools", err)
		}
	}
	list := stores([]string{"epoll", "uring", "goroutine"})
	for _, l := range []storeLoad{{"get", 1}, {"set", 1}, {"get", 16}, {"set", 16}} {
		compare := func(c contestant) (*result, error) { return s.compareStores(set, l, list[0], c) }
		if err := section(out, l, storeHead, list[1:], compare); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "\n%s", storeNotes)
	return err
}

const storeHead = `| server | CPU µs a command | efficiency | commands/s | p50 µs | p99 µs | longest µs | resident MiB | |
|---|---|---|---|---|---|---|---|---|
`

const storeNotes = `As above, with redis-server in place of C epoll: values of 3 bytes under one key. redis-benchmark tells times to
within some µs, and is often what limits the rate.
`

// compareStores is compare, with redis-benchmark as the client.
func (s *stage) compareStores(set *settings, l storeLoad, reference, c contestant) (*result, error) {
	servers, stop, err := s.servePair(reference, c)
	if err != nil {
		return nil, err
	}
	defer stop()
	requests := max(20_000*l.pipeline/4, 10_000)
	return takeTurns(set.rounds, servers, func(i int) (turn, error) { return s.benchmarkStore(servers[i], l, requests) })
}

func (s *stage) benchmarkStore(v *server, l storeLoad, requests int) (t turn, err error) {
	cmd := exec.CommandContext(s.ctx, "redis-benchmark", "-h", "127.0.0.1", "-p", strconv.Itoa(v.port), "-t", l.test,
		"-n", strconv.Itoa(requests), "-P", strconv.Itoa(l.pipeline), "--csv", "--precision", "3")
	var text strings.Builder
	cmd.Stdout = &text
	before, err := cpuOf(v.cmd.Process.Pid)
	if err != nil {
		return t, err
	}
	from := time.Now()
	if err := s.start(s.client, cmd); err != nil {
		return t, err
	}
	if err := cmd.Wait(); err != nil {
		return t, fmt.Errorf("redis-benchmark: %w", err)
	}
	after, err := cpuOf(v.cmd.Process.Pid)
	if err != nil {
		return t, err
	}
	t = turn{Messages: requests, CPU: int(after - before), Client: int(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime())}
	return t, t.readCSV(text.String(), time.Since(from))
}

// readCSV takes what redis-benchmark --csv says. The processor time of connecting is in
// the turn's; its rate is redis-benchmark's own.
func (t *turn) readCSV(text string, took time.Duration) error {
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) != 2 || len(rows[1]) < 8 {
		return fmt.Errorf("redis-benchmark --csv says %q: %w", text, err)
	}
	var f [7]float64 // rps, avg, min, p50, p95, p99, max, in milliseconds
	for i := range f {
		if f[i], err = strconv.ParseFloat(rows[1][i+1], 64); err != nil {
			return fmt.Errorf("redis-benchmark --csv says %q: %w", text, err)
		}
	}
	t.Wall = int(min(float64(t.Messages)/f[0]*1e9, float64(took)))
	t.P50, t.P99, t.P999 = f[3]*1e3, f[5]*1e3, f[6]*1e3
	return nil
}

// cpuOf returns the processor time of all threads of a process: its CPU clock
// (clock_getcpuclockid(3)).
func cpuOf(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("the CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
