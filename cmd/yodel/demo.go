package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"yodel/call"
	"yodel/load"
	"yodel/sock"
	"yodel/trace"
)

func newDemo(s std) *cobra.Command {
	d := &demo{io: s}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "All of it in a few seconds",
		Long: `All of it in a few seconds: a server and a client hold the lecture's conversation, then
each engine answers a burst of messages whose every byte is compared; and at the end comes
the story of the conversation, with its packets if you may see them. Nothing is canned:
what is printed is what happened.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	cmd.Flags().DurationVar(&d.burst, "burst", 700*time.Millisecond, "how long each burst lasts")
	return cmd
}

// demo is the demo command.
type demo struct {
	io    std
	burst time.Duration
}

func (d *demo) printf(format string, args ...any) { fmt.Fprintf(d.io.out, format, args...) }

func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // however the machine is
	defer cancel()
	ctx, interrupt := context.WithCancelCause(ctx)
	defer onInterrupt(func() { interrupt(call.ErrInterrupted) })() // no server is left behind
	err := d.show(ctx)
	if context.Cause(ctx) == call.ErrInterrupted {
		return call.ErrInterrupted
	}
	return err
}

func (d *demo) show(ctx context.Context) error {
	told := newDemoStory(d.io)
	defer told.close()
	if err := d.conversation(ctx, told); err != nil {
		return err
	}
	if err := d.bursts(ctx); err != nil {
		return err
	}
	if err := told.show(d.io.out); err != nil {
		return err
	}
	d.printf(`
Try next:
  yodel serve                     the same servers, for you
  yodel call localhost 15213      and a line of your own; telnet localhost 15213 will do, too
  yodel name localhost            hosts as sets of addresses
`)
	return nil
}

// conversation holds the lecture's conversation with a server that is a process of
// its own, and shows what that server saw.
func (d *demo) conversation(ctx context.Context, told *demoStory) error {
	dir, err := os.MkdirTemp("", "yodel-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "server.jsonl")
	server, err := startServe(ctx, "--engine", "goroutine", "--names", "--trace", file, "--each-call", "upper@127.0.0.1:0") // whose calls are the lecture's
	if err != nil {
		return err
	}
	d.printf("A server that answers in capitals listens on %s. A client calls it:\n\n", server.at)
	pair, err := d.call(ctx, server.at, told.sink())
	if stopErr := server.stop(); err == nil {
		err = stopErr
	}
	if err != nil {
		return err
	}
	d.printf("\nThe connection was the socket pair %v, and the server saw:\n\n", pair)
	if err := d.showServerSide(file); err != nil {
		return err
	}
	return told.finish(ctx, file)
}

// call is the client's side of the conversation.
func (d *demo) call(ctx context.Context, at sock.Address, sink trace.Sink) (sock.Pair, error) {
	conn, err := sock.Dial(ctx, at, &sock.Options{Sink: sink})
	if err != nil {
		return sock.Pair{}, err
	}
	defer conn.Close()
	typed := typedAloud{d, call.NewLines(strings.NewReader("hello there\n"))}
	err = call.Prompt(ctx, conn, typed, d.io.out, &call.Config{Timeout: 10 * time.Second})
	d.printf("Connection closed\n")
	return conn.Pair(), err
}

// typedAloud shows what is typed, as a terminal would.
type typedAloud struct {
	d *demo
	call.Lines
}

// ReadLine implements call.Lines.
func (t typedAloud) ReadLine() (string, error) {
	line, err := t.Lines.ReadLine()
	if line != "" {
		t.d.printf("%s\n", line)
	}
	return line, err
}

// showServerSide prints what the lecture's server would have printed, from the
// trace of ours.
func (d *demo) showServerSide(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	log := trace.NewLectureLog(d.io.out)
	for r := trace.NewReader(f); ; {
		e, err := r.Next()
		if err != nil {
			return errors.Join(log.Close(), notEOF(err))
		}
		log.Emit(&e)
	}
}

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// errInChildren says that a server's CPU time tells little of what it costs.
var errInChildren = errors.New("it is spent by the server's children")

// burst is one row of the table.
type burst struct {
	engine string
	conns  int
	report *load.Report
	cpu    time.Duration // of the server
	cpuErr error

	machine    time.Duration // of all processes and the kernel
	machineErr error
}

// bursts pushes verified traffic at each engine, and prints the table.
func (d *demo) bursts(ctx context.Context) error {
	d.printf("\nNow a burst of echoes at each engine, every byte compared (%v each) …\n\n", d.burst)
	var rows []burst
	for _, e := range engines.here() {
		for _, conns := range []int{1, 16} {
			if e.oneAtATime && conns > 1 {
				continue
			}
			row, err := d.oneBurst(ctx, e.name, conns)
			if err != nil {
				return fmt.Errorf("engine %s: %w", e.name, err)
			}
			if e.children {
				row.cpuErr = errInChildren
			}
			rows = append(rows, row)
		}
	}
	d.table(rows)
	d.printf(`
How it was measured: each server is a process of its own on 127.0.0.1, with %d CPUs for it and for
this client together; messages of 64 bytes, one at a time on each connection. CPU is per echo: what the
server's process used from the first to the last, and what the whole machine was busy, client,
kernel and all that ran beside them. The rates are what both ends reached here together: no limit
of the server's.
`, runtime.NumCPU())
	return nil
}

func (d *demo) oneBurst(ctx context.Context, engine string, conns int) (burst, error) {
	row := burst{engine: engine, conns: conns}
	server, err := startServe(ctx, "--engine", engine, "echo@127.0.0.1:0")
	if err != nil {
		return row, err
	}
	pid := server.cmd.Process.Pid
	before, err := cpuTime(pid)
	row.cpuErr = err
	machine, err := machineTime()
	row.machineErr = err
	row.report, err = load.Run(ctx, load.Plan{Target: server.at, Conns: conns, Duration: d.burst})
	if err == nil && row.cpuErr == nil {
		var after time.Duration
		after, row.cpuErr = cpuTime(pid)
		row.cpu = after - before
	}
	if err == nil && row.machineErr == nil {
		var after time.Duration
		after, row.machineErr = machineTime()
		row.machine = after - machine
	}
	if stopErr := server.stop(); err == nil {
		err = stopErr
	}
	if err == nil {
		err = row.report.FirstError()
	}
	if err == nil && row.report.Verified == 0 {
		err = errors.New("not one echo came back")
	}
	return row, err
}

func (d *demo) table(rows []burst) {
	w := tabwriter.NewWriter(d.io.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "engine\tconnections\techoes verified\tlost\twrong\techoes/s\tp50\tp99\tserver CPU\tmachine CPU\t")
	for _, r := range rows {
		rep := r.report
		cpu, machine := "not known here", "not known here"
		switch r.cpuErr {
		case nil:
			cpu = micros(r.cpu / time.Duration(rep.Verified))
		case errInChildren:
			cpu = "its children's"
		}
		if r.machineErr == nil {
			machine = micros(r.machine / time.Duration(rep.Verified))
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%.0f\t%s\t%s\t%s\t%s\t\n", r.engine, r.conns, rep.Verified, rep.Lost,
			rep.Corrupt, rep.Rate(), micros(rep.Quantile(50)), micros(rep.Quantile(99)), cpu, machine)
	}
	w.Flush()
}

// micros prints d in microseconds.
func micros(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Microsecond), 'f', 1, 64) + " µs"
}
