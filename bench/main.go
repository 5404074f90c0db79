// Bench measures yodel's echo beside plain C and other Go libraries, and prints the
// table that README.md keeps. It needs Linux, two processors and a C compiler.
//
//	go run . [flags]            the tables: echo, clients, then examples/kv beside redis-server
//	go run . -short             less of it, in a minute
//	go run . -idle N [flags]    what N idle connections cost
//
// What it prints is Markdown, as README.md keeps it.
//
// Servers run on one processor and the client on another. A server takes turns with
// the reference, each turn a fraction of a second, and what counts is the ratio of two
// turns in a row: what else the machine does meets both alike.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settings are the flags.
type settings struct {
	rounds int
	turn   time.Duration
	only   []string // names of contestants; empty: all
	conns  []int
	sizes  []int
	depths []int
	bulk   bool
	idle   int
	engine string // of yodel, for idle

	idleTime time.Duration
	redis    bool
	echo     bool
	client   bool // measure clients too
}

func main() {
	set, err := parse(os.Args[1:])
	if err == nil {
		err = run(set, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*settings, error) {
	set := &settings{}
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.IntVar(&set.rounds, "rounds", 9, "`turns` of each server in each scenario")
	f.DurationVar(&set.turn, "turn", 150*time.Millisecond, "how long a turn is")
	only := f.String("only", "", "`names` of servers to measure, with commas; all if empty")
	f.BoolVar(&set.bulk, "bulk", true, "measure bulk too")
	f.IntVar(&set.idle, "idle", 0, "measure so many idle `connections` instead")
	f.DurationVar(&set.idleTime, "idle-time", 15*time.Minute, "how long -idle may open connections")
	f.StringVar(&set.engine, "engine", "epoll", "yodel's `engine` for -idle")
	f.BoolVar(&set.echo, "echo", true, "measure echo")
	f.BoolVar(&set.redis, "redis", true, "measure examples/kv beside redis-server")
	f.BoolVar(&set.client, "clients", true, "measure yodel load beside the C client and fortio")
	short := f.Bool("short", false, "measure yodel and the best of each kind with 100 connections only, in fewer turns")
	conns := f.String("conns", "1,100,1000,10000", "`numbers` of connections")
	sizes := f.String("sizes", "64,4096", "sizes of messages in `bytes`")
	depths := f.String("depths", "1,16", "`numbers` of messages in flight")
	f.Parse(args)
	if *short {
		set.rounds, set.redis, set.bulk, set.client = 5, false, false, false
		*only, *conns, *sizes, *depths = "C io_uring waiting,yodel epoll,yodel uring,gnet", "100", "64", "1,16"
	}
	for list, text := range map[*[]int]string{&set.conns: *conns, &set.sizes: *sizes, &set.depths: *depths} {
		if err := parseInts(list, text); err != nil {
			return nil, err
		}
	}
	if *only != "" {
		set.only = strings.Split(*only, ",")
	}
	return set, nil
}

func parseInts(list *[]int, text string) error {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		var n int
		if _, err := fmt.Sscan(word, &n); err != nil || n < 1 {
			return fmt.Errorf("%q is no number above 0", word)
		}
		*list = append(*list, n)
	}
	return nil
}

func run(set *settings, out io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	s, err := newStage(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.machine(out); err != nil {
		return err
	}
	if set.idle > 0 {
		return s.idle(set, out, os.Stderr)
	}
	fmt.Fprintf(out, "Method: %d turns of %v for each server in each scenario, after one to warm up.\n", set.rounds, set.turn)
	from := time.Now()
	if set.echo {
		if err := s.table(set, out); err != nil {
			return err
		}
	}
	if set.client {
		if err := s.clients(set, out); err != nil {
			return err
		}
	}
	if set.redis {
		if err := s.redis(set, out); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "\nAll of it took %v.\n", time.Since(from).Round(time.Second))
	return err
}
