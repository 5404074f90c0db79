// Hello is a web server of package net/http on the connection door.
//
//	usage: hello ADDRESS
//
// docs/write-a-service.md explains it.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/sock"
)

func newWeb() *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello, %q", r.URL.Path)
		}),
		ReadHeaderTimeout: 10 * time.Second, // what a header is, only net/http knows
	}
}

func main() {
	address, err := sock.ParseAddress(os.Args[1:]...)
	if err != nil {
		log.Fatal(err)
	}
	l, err := sock.Listen(context.Background(), address, nil)
	if err != nil {
		log.Fatal(err)
	}
	server, err := goroutine.New(newWeb(), &engine.Config{Service: "hello", Idle: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("hello listening on", l.Address())
	log.Fatal(server.Serve(l.Plain()))
}
