// Command evio is an echo server on evio, after its own example.
package main

import (
	"flag"
	"fmt"
	"log"

	"github.com/tidwall/evio"
)

func main() {
	port := flag.Int("port", 0, "where to listen")
	loops := flag.Int("loops", 1, "how many event loops")
	flag.Parse()
	var events evio.Events
	events.NumLoops = *loops
	events.Serving = func(evio.Server) (action evio.Action) {
		fmt.Println("port", *port)
		return
	}
	events.Data = func(_ evio.Conn, in []byte) (out []byte, action evio.Action) { return in, evio.None }
	log.Fatal(evio.Serve(events, fmt.Sprintf("tcp://:%d", *port)))
}
