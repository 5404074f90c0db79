package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/sock"
)

// The engine admits, counts, limits and ends the connections of an http.Server.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l, err := sock.Listen(ctx, sock.Address{Network: "tcp", Host: "127.0.0.1"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := goroutine.New(newWeb(), &engine.Config{Service: "hello"})
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(l.Plain())

	reply, err := http.Get("http://" + l.Address().HostPort() + "/there")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, err := io.ReadAll(reply.Body)
	reply.Body.Close()
	fmt.Println(string(body), err)
	fmt.Println("shutdown:", server.Shutdown(ctx), "- served:", server.Stats().Accepted)
	// Output:
	// hello, "/there" <nil>
	// shutdown: <nil> - served: 1
}
