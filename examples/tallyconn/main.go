// Tallyconn is tally with I/O of its own, on the connection door: it adds up the numbers
// that it is told.
//
//	usage: tallyconn ADDRESS
//
// docs/write-a-service.md explains it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/sock"
)

func main() {
	address, err := sock.ParseAddress(os.Args[1:]...)
	if err != nil {
		log.Fatal(err)
	}
	l, err := sock.Listen(context.Background(), address, nil)
	if err != nil {
		log.Fatal(err)
	}
	server, err := goroutine.New(tally{}, &engine.Config{Service: "tallyconn"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("tallyconn listening on", l.Address())
	log.Fatal(server.Serve(l.Plain()))
}
