// Command yodel is yodel's echo server as yodel serve runs it, without the command
// around it: the service, an engine and its defaults.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"net"

	"yodel/engine"
	"yodel/engine/epoll"
	"yodel/engine/goroutine"
	"yodel/engine/kernel"
	"yodel/engine/uring"
	"yodel/service/small"
	"yodel/sock"
)

func main() {
	name := flag.String("engine", "epoll", "the engine")
	loops := flag.Int("loops", 0, "how many event loops; 0: one for each processor")
	host := flag.String("host", "0.0.0.0", "where to listen, over IPv4")
	keepAlive := flag.Duration("keepalive", 0, "how long a connection is silent before it is probed; 0: yodel's default; negative: it is not")
	flag.Parse()
	e, err := newEngine(*name, *loops)
	if err != nil {
		log.Fatal(err)
	}
	l, err := sock.Listen(context.Background(), sock.Address{Network: "tcp", Host: *host}, &sock.Options{Family: sock.V4, KeepAliveIdle: *keepAlive})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("port", l.Addr().(*net.TCPAddr).Port)
	log.Fatal(e.Serve(l.Plain()))
}

func newEngine(name string, loops int) (engine.Engine, error) {
	cfg := &engine.Config{Service: "echo", Gate: engine.NewGate(&engine.GateConfig{MaxConns: -1})}
	switch name {
	case "epoll":
		return epoll.New(small.Echo{}, cfg, &epoll.Options{Loops: loops})
	case "uring":
		return uring.New(small.Echo{}, cfg, &uring.Options{Loops: loops})
	case "kernel":
		return kernel.New(small.Echo{}, cfg, &kernel.Options{Loops: loops})
	case "goroutine":
		return goroutine.New(small.Echo{}, cfg)
	}
	return nil, fmt.Errorf("no engine %q", cmp.Or(name, "(none)"))
}
