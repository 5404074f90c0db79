// Echoserveri is the lecture's iterative echo server: it serves one client at a time,
// says who calls, and answers each line in upper case.
//
//	usage: echoserveri PORT
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"yodel/engine"
	"yodel/engine/iterative"
	"yodel/rio"
	"yodel/service/small"
	"yodel/sock"
	"yodel/trace"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintf(os.Stderr, "usage: %s PORT\n", os.Args[0])
		os.Exit(2)
	}
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "echoserveri: %v\n", err)
		os.Exit(1)
	}
}

func serve(arg string) error {
	port, err := strconv.Atoi(arg)
	if err != nil {
		return fmt.Errorf("%q is not a port number", arg)
	}
	listenfd, err := sock.OpenListenFD(port)
	if err != nil {
		return err
	}
	upper := small.Upper{LineMax: rio.MaxLine - 1} // C keeps one byte for its NUL
	log := trace.NewLectureLog(os.Stdout)
	names := &trace.Namer{Next: log, Lookup: new(sock.Resolver).HostName}
	config := engine.Config{Idle: -1, HeaderTimeout: -1, MinRate: -1, Sink: names} // no timers, as in the lecture
	server, err := iterative.New(upper, &config)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // a closed standard output must not end a server
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		names.Close() // the lines that wait for a name come first
		log.Close()
		os.Exit(0)
	})
	return server.Serve(listenfd)
}
