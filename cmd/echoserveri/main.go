// Echoserveri is the lecture's iterative echo server: it serves one client at a
// time, says who calls, and answers each line in upper case.
//
//	usage: echoserveri PORT
package main

import (
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
	signal.Ignore(syscall.SIGPIPE) // a closed standard output must not end a server
	port, err := strconv.Atoi(os.Args[1])
	if err == nil {
		err = serve(port)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "echoserveri: %v\n", err)
		os.Exit(1)
	}
}

func serve(port int) error {
	listenfd, err := sock.OpenListenFD(port)
	if err != nil {
		return err
	}
	upper := small.Upper{LineMax: rio.MaxLine - 1} // C keeps one byte for its NUL
	server, err := iterative.New(upper, &engine.Config{
		Idle: -1, HeaderTimeout: -1, MinRate: -1, // the lecture's server has no timers
		Sink: &trace.Namer{Next: trace.NewLectureLog(os.Stdout), Lookup: new(sock.Resolver).HostName},
	})
	if err != nil {
		return err
	}
	return server.Serve(listenfd)
}
