package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"yodel"
	"yodel/engine"
	"yodel/engine/epoll"
	"yodel/engine/goroutine"
	"yodel/engine/iterative"
	"yodel/engine/uring"
	"yodel/sock"
	"yodel/trace"
)

// engineRow is one engine that can run kv.
type engineRow struct {
	name string
	make func(s yodel.Service, c *engine.Config, loops int) (engine.Engine, error)
}

// engines are those whose connections share this process's memory, the default first.
// An engine that gives each connection a process of its own would give each client a
// store of its own.
var engines = []engineRow{
	{"goroutine", func(s yodel.Service, c *engine.Config, _ int) (engine.Engine, error) { return goroutine.New(s, c) }},
	{"iterative", func(s yodel.Service, c *engine.Config, _ int) (engine.Engine, error) { return iterative.New(s, c) }},
	{"epoll", func(s yodel.Service, c *engine.Config, loops int) (engine.Engine, error) {
		return epoll.New(s, c, &epoll.Options{Loops: loops})
	}},
	{"uring", func(s yodel.Service, c *engine.Config, loops int) (engine.Engine, error) {
		return uring.New(s, c, &uring.Options{Loops: loops})
	}},
}

func engineNamed(name string) (engineRow, error) {
	var names []string
	for _, e := range engines {
		if e.name == name {
			return e, nil
		}
		names = append(names, e.name)
	}
	return engineRow{}, fmt.Errorf("--engine %q: the engines are %s", name, strings.Join(names, ", "))
}

// settings are what the command line says.
type settings struct {
	address sock.Address
	engine  engineRow
	loops   int
	limits  limits
	conns   int
	idle    time.Duration
	grace   time.Duration
	trace   string // path; empty: no trace
}

// mostValue is the greatest --max-value in bytes: Redis's own bound, 512 MiB.
const mostValue = 512 << 20

func parseSettings(args []string, errs io.Writer) (*settings, error) {
	set := &settings{}
	fs := flag.NewFlagSet("kv", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // the caller prints the error
	fs.Usage = func() {}
	name := fs.String("engine", engines[0].name, "how connections are served: goroutine, iterative; epoll and uring on Linux")
	fs.IntVar(&set.loops, "loops", 0, "event loops of epoll and uring (0: one for each processor)")
	fs.IntVar(&set.limits.maxKeys, "max-keys", 1_000_000, "keys at once; then writes are answered -OOM")
	fs.IntVar(&set.limits.maxValue, "max-value", 1<<20, "bytes of a key or a value; a longer one ends the connection")
	fs.Int64Var(&set.limits.maxBytes, "max-bytes", 256<<20, "bytes of all keys and values and what it costs to keep them; then writes are answered -OOM")
	fs.IntVar(&set.conns, "max-conns", 0, "connections at once; further ones wait (0: what the descriptor limit allows)")
	fs.DurationVar(&set.idle, "idle", 0, "end a connection on which nothing moves for so long (0: 10 minutes; negative: never)")
	fs.DurationVar(&set.grace, "grace", 10*time.Second, "how long connections may finish after the first signal")
	fs.StringVar(&set.trace, "trace", "", "write what happens to each connection to this `file`")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printUsage(fs, errs)
		}
		return nil, err
	}
	return set, set.complete(*name, fs.Args())
}

func printUsage(fs *flag.FlagSet, w io.Writer) {
	fmt.Fprint(w, "usage: kv [flags] [ADDRESS]\n\nADDRESS: PORT (loopback, 6379 without one), HOST:PORT, :PORT (all interfaces), unix:PATH\n\n")
	fs.SetOutput(w)
	fs.PrintDefaults()
}

// complete checks what the flags have set and adds the engine and the address.
func (set *settings) complete(engine string, words []string) (err error) {
	if set.engine, err = engineNamed(engine); err != nil {
		return err
	}
	if len(words) == 0 {
		words = []string{"6379"}
	}
	if set.address, err = sock.ParseAddress(words...); err != nil {
		return err
	}
	if !slices.Contains([]string{"tcp", "unix"}, set.address.Network) {
		return fmt.Errorf("address %v: kv serves tcp and unix, not %s", set.address, set.address.Network)
	}
	return set.limits.check()
}

func (l limits) check() error {
	switch {
	case l.maxKeys < 1:
		return fmt.Errorf("--max-keys %d: it must be at least 1", l.maxKeys)
	case l.maxValue < 1 || l.maxValue > mostValue:
		return fmt.Errorf("--max-value %d: it must be from 1 to %d", l.maxValue, mostValue)
	case l.maxBytes < 1:
		return fmt.Errorf("--max-bytes %d: it must be at least 1", l.maxBytes)
	}
	return nil
}

func (set *settings) config(sink trace.Sink) *engine.Config {
	return &engine.Config{
		Service: "kv", Idle: set.idle, Sink: sink,
		Gate: engine.NewGate(&engine.GateConfig{MaxConns: set.conns}),
	}
}
