package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"time"
)

// A caller is a load client: all of them compare every byte.
type caller struct {
	name   string
	source string // a C file, or a Go package; of the module above if it begins with ../
	args   func(to *server, l load, d time.Duration) []string
	input  string
	read   func(said []byte, t *turn) error
}

// callers are all; the first is the reference.
var callers = []caller{
	{name: "C epoll client", source: "c/client.c", args: plainArgs, input: "\n", read: readPlain},
	{name: "yodel load", source: "../cmd/yodel", args: yodelArgs, read: readYodel},
	{name: "yodel load --driver epoll", source: "../cmd/yodel", args: yodelEpollArgs, read: readYodel},
	{name: "fortio v1.66.5", source: "fortio.org/fortio", args: fortioArgs, read: readFortio},
}

func plainArgs(to *server, l load, d time.Duration) []string {
	return []string{
		"-n", strconv.Itoa(l.conns), "-s", strconv.Itoa(l.size), "-t", strconv.Itoa(int(d.Milliseconds())),
		fmt.Sprintf("%d:%d", to.port, to.cmd.Process.Pid),
	}
}

// readPlain reads the line after the one that says it is ready.
func readPlain(said []byte, t *turn) error {
	_, line, _ := bytes.Cut(said, []byte("\n"))
	return json.Unmarshal(line, t)
}

func yodelArgs(to *server, l load, d time.Duration) []string {
	return []string{
		"load", "--json", "--quiet", "--threads", "1", "--conns", strconv.Itoa(l.conns), "--size", strconv.Itoa(l.size),
		"--duration", d.String(), to.address(),
	}
}

func yodelEpollArgs(to *server, l load, d time.Duration) []string {
	return append(yodelArgs(to, l, d), "--driver", "epoll")
}

// readYodel reads the last line, which is the report.
func readYodel(said []byte, t *turn) error {
	said = bytes.TrimSpace(said)
	var r struct {
		Verified int                `json:"verified"`
		Corrupt  int                `json:"corrupt"`
		Lost     int                `json:"lost"`
		Elapsed  float64            `json:"elapsed_us"`
		Latency  map[string]float64 `json:"latency_us"`
	}
	if err := json.Unmarshal(said[bytes.LastIndexByte(said, '\n')+1:], &r); err != nil {
		return err
	}
	if r.Corrupt+r.Lost > 0 {
		return fmt.Errorf("%d answers were wrong, %d did not come", r.Corrupt, r.Lost)
	}
	t.Messages, t.Wall = r.Verified, int(r.Elapsed*1e3)
	t.P50, t.P99, t.P999 = r.Latency["p50"], r.Latency["p99"], r.Latency["p999"]
	return nil
}

func fortioArgs(to *server, l load, d time.Duration) []string {
	return []string{
		"load", "-qps", "-1", "-c", strconv.Itoa(l.conns), "-payload-size", strconv.Itoa(l.size), "-t", d.String(),
		"-p", "50,99,99.9", "-json", "-", "-quiet", "tcp://" + to.address(),
	}
}

func readFortio(said []byte, t *turn) error {
	var r struct {
		RetCodes          map[string]int
		ActualDuration    int
		DurationHistogram struct {
			Percentiles []struct{ Value float64 } // in seconds
		}
	}
	if err := json.Unmarshal(said, &r); err != nil {
		return err
	}
	p := r.DurationHistogram.Percentiles
	if len(r.RetCodes) != 1 || len(p) != 3 {
		return fmt.Errorf("its results are %v, with %d percentiles", r.RetCodes, len(p))
	}
	t.Messages, t.Wall = r.RetCodes["OK"], r.ActualDuration
	t.P50, t.P99, t.P999 = p[0].Value*1e6, p[1].Value*1e6, p[2].Value*1e6
	return nil
}

func (v *server) address() string { return "127.0.0.1:" + strconv.Itoa(v.port) }

// callTurns is how many turns of a server one of a client is: a client is begun anew for each,
// and what that costs is to be little beside the rest.
const callTurns = 10

// clients measures what an echo costs clients: all call the same server, one after the other.
func (s *stage) clients(set *settings, out io.Writer) error {
	v, err := s.serve(contestants[1]) // tuned: it is not to be the limit
	if err != nil {
		return err
	}
	defer v.stop()
	l := load{conns: 100, size: 64, depth: 1}
	all := make([][]turn, len(callers))
	for round := -1; round < set.rounds; round++ {
		for i := range callers {
			t, err := s.call(&callers[i], v, l, callTurns*set.turn)
			if err != nil {
				return fmt.Errorf("%s: %w", callers[i].name, err)
			}
			if round >= 0 {
				all[i] = append(all[i], t)
			}
		}
	}
	fmt.Fprintf(out, "\n### Clients: %d connections, %d bytes, 1 in flight each\n\n%s", l.conns, l.size, clientsHead)
	for i := range callers {
		fmt.Fprint(out, clientRow(callers[i].name, all[i], all[0], all[len(all)-1]))
	}
	_, err = fmt.Fprintf(out, "\n%s", clientsNotes)
	return err
}

const clientsHead = `| client | CPU µs an echo | echoes of C's | echoes of fortio's | echoes/s | p50 µs | p99 µs | |
|---|---|---|---|---|---|---|---|
`

const clientsNotes = `Echoes are those that came back and were compared, a second of the client's own processor time, user and system, from
its start to its end: divided by what the C client and fortio have reached in the turns beside it, the median and, in
brackets, the quartiles. Times are what each client says, fortio's from buckets of 1 ms.
`

// call has a client call a server for so long.
func (s *stage) call(c *caller, to *server, l load, d time.Duration) (t turn, err error) {
	program, err := s.build(c.source)
	if err != nil {
		return t, err
	}
	cmd := exec.CommandContext(s.ctx, program, c.args(to, l, d)...)
	var said, complained bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewBufferString(c.input), &said, &complained
	if err := s.start(s.client, cmd); err != nil {
		return t, err
	}
	if err := cmd.Wait(); err != nil {
		return t, fmt.Errorf("%w: %.500s", err, complained.Bytes())
	}
	if err := c.read(said.Bytes(), &t); err != nil {
		return t, fmt.Errorf("it says %.200q: %w", said.Bytes(), err)
	}
	t.Client = int(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime())
	if t.Messages == 0 || t.Client == 0 {
		return t, fmt.Errorf("nothing came back within %v", d)
	}
	return t, nil
}

// own is what an echo has cost the client, in microseconds.
func (t turn) own() float64 { return float64(t.Client) / float64(t.Messages) / 1e3 }

func clientRow(name string, turns, c, fortio []turn) string {
	of := func(others []turn) string {
		r := each(others, turn.own)
		for i, t := range turns {
			r[i] /= t.own()
		}
		return fmt.Sprintf("**%.2f** (%.2f–%.2f)", median(r), quantile(r, 0.25), quantile(r, 0.75))
	}
	remark := ""
	if median(each(turns, func(t turn) float64 { return float64(t.Client) / float64(t.Wall) })) > 0.95 {
		remark = "client"
	}
	return fmt.Sprintf("| %s | %.2f | %s | %s | %.0f | %.0f | %.0f | %s |\n", name, median(each(turns, turn.own)), of(c), of(fortio),
		median(each(turns, turn.rate)), median(each(turns, func(t turn) float64 { return t.P50 })),
		median(each(turns, func(t turn) float64 { return t.P99 })), remark)
}
