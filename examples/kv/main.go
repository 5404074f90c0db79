// Kv keeps keys and values in memory and speaks Redis's protocol (RESP2), so that
// redis-cli, redis-benchmark and the client libraries can talk to it.
//
//	usage: kv [flags] [ADDRESS]
//
// ADDRESS is PORT (loopback), HOST:PORT, :PORT (all interfaces), HOST PORT, unix:PATH
// or unix:@NAME; without one it is 6379. Port 0 takes a free one. What is bound is
// printed. There are no passwords: who reaches the address may read and change all.
//
// It is a program as a user of yodel's packages could have written it. The session
// (session.go) is a state machine that is told what came in and says what goes out;
// engines run it. All sessions share one store, and one command is carried out at a
// time, as in Redis.
//
// What peers can make it hold is bounded: the store by --max-keys and --max-bytes, at
// which writes are answered -OOM, and each connection by --max-value: one unfinished
// command of at most --max-value and 64 KiB, and as much unsent output. Nothing is
// written to a disk.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"yodel/engine"
	"yodel/sock"
	"yodel/trace"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // a closed standard output must not end a server
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, stop))
}

// Exit statuses.
const (
	exitDone   = 0 // also when it was stopped by a signal and all was drained
	exitFailed = 1
	exitUsage  = 2
)

// run is the program: it returns its exit status when a signal has come on stop and all
// is drained, or when it can't serve.
func run(args []string, out, errs io.Writer, stop <-chan os.Signal) int {
	set, err := parseSettings(args, errs)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		fmt.Fprintf(errs, "kv: %v\n", err)
		return exitUsage
	}
	if err := serve(set, out, stop); err != nil {
		fmt.Fprintf(errs, "kv: %v\n", err)
		return exitFailed
	}
	return exitDone
}

// serve serves until a signal comes or the listener fails.
func serve(set *settings, out io.Writer, stop <-chan os.Signal) (err error) {
	record, err := createRecord(set.trace)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.close()) }()
	eng, err := set.engine.make(newService(set.limits), set.config(record.sink()), set.loops)
	if err != nil {
		return err
	}
	// What a peer does not read is not to fill the kernel either.
	opts := &sock.Options{NotSentLowat: 128 << 10, Sink: record.sink()}
	l, err := sock.Listen(context.Background(), set.address, opts)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "kv listening on %v, engine %s\n", l.Address(), set.engine.name)
	failed := make(chan error, 1)
	go func() { failed <- eng.Serve(l.Plain()) }()
	select {
	case err := <-failed:
		eng.Close()
		return err
	case <-stop:
		return drain(eng, set.grace, stop)
	}
}

// drain lets connections finish for the time of grace; a second signal cuts it short.
func drain(eng engine.Engine, grace time.Duration, stop <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	if eng.Shutdown(ctx) == nil {
		return nil
	}
	left := eng.Stats().Active
	eng.Close()
	return fmt.Errorf("%d connections had not finished within %v (--grace) and were cut", left, grace)
}

// record is the file of --trace. A nil record takes nothing.
type record struct {
	file  *os.File
	lines *trace.Writer
}

// createRecord returns nil if path is empty.
func createRecord(path string) (*record, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--trace: %w", err)
	}
	return &record{f, trace.NewWriter(f)}, nil
}

// sink returns nil for a nil record: events then cost nothing.
func (r *record) sink() trace.Sink {
	if r == nil {
		return nil
	}
	return r.lines
}

func (r *record) close() error {
	if r == nil {
		return nil
	}
	return errors.Join(r.lines.Close(), r.file.Close())
}
