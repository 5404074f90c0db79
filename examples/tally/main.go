// Tally is a service of one's own on the contract: it adds up the numbers that it is
// told.
//
//	usage: tally ADDRESS
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
	server, err := goroutine.New(tally{}, &engine.Config{Service: "tally"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("tally listening on", l.Address())
	log.Fatal(server.Serve(l.Plain()))
}
