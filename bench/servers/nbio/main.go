// Command nbio is an echo server on nbio, after its own example.
package main

import (
	"flag"
	"fmt"
	"log"

	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"
)

func main() {
	port := flag.Int("port", 0, "where to listen")
	loops := flag.Int("loops", 1, "how many event loops")
	flag.Parse()
	logging.SetLevel(logging.LevelNone)
	e := nbio.NewEngine(nbio.Config{
		Network: "tcp4", Addrs: []string{fmt.Sprintf(":%d", *port)}, NPoller: *loops, MaxWriteBufferSize: 16 << 20,
	})
	e.OnData(func(c *nbio.Conn, data []byte) { c.Write(data) })
	if err := e.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("port", *port)
	select {}
}
