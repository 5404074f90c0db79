package main

import (
	"context"
	"fmt"
	"io"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/engine/iterative"
	"yodel/sock"
)

var engines = []struct {
	name string
	make func(svc any, cfg *engine.Config) (engine.Engine, error)
}{
	{"goroutine", func(svc any, cfg *engine.Config) (engine.Engine, error) { return goroutine.New(svc, cfg) }},
	{"iterative", func(svc any, cfg *engine.Config) (engine.Engine, error) { return iterative.New(svc, cfg) }},
}

// The same service on every engine, over real sockets.
func Example() {
	for _, e := range engines {
		server, err := e.make(tally{}, &engine.Config{Service: "tally"})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %q\n", e.name, ask(server, "1\n20\n-300\nfour\n"))
		server.Close()
	}
	// Output:
	// goroutine: "1\n21\n-279\nthat is no number\n"
	// iterative: "1\n21\n-279\nthat is no number\n"
}

// ask lets server serve on a free port, and returns what it answers to lines.
func ask(server engine.Engine, lines string) string {
	ctx := context.Background()
	l, err := sock.Listen(ctx, sock.Address{Network: "tcp", Host: "127.0.0.1"}, nil)
	if err != nil {
		return err.Error()
	}
	go server.Serve(l.Plain())
	c, err := sock.Dial(ctx, l.Address(), nil)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	fmt.Fprint(c, lines)
	c.CloseWrite() // and still reads: a half-close
	answers, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(answers)
}
