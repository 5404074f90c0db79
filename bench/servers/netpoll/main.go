// Command netpoll is an echo server on netpoll, after its own example.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"

	"github.com/cloudwego/netpoll"
)

func main() {
	loops := flag.Int("loops", 1, "how many event loops")
	flag.Parse()
	if err := netpoll.Configure(netpoll.Config{PollerNum: *loops}); err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("port", l.Addr().(*net.TCPAddr).Port)
	e, err := netpoll.NewEventLoop(echo)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(e.Serve(l))
}

func echo(_ context.Context, c netpoll.Connection) error {
	in, out := c.Reader(), c.Writer()
	buf, err := in.Next(in.Len())
	if err != nil {
		return err
	}
	out.WriteBinary(buf)
	if err := out.Flush(); err != nil {
		return err
	}
	return in.Release()
}
