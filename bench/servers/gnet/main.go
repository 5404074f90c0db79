// Command gnet is an echo server on gnet, after its own example.
package main

import (
	"flag"
	"fmt"
	"log"
	"time"

	"github.com/panjf2000/gnet/v2"
)

type server struct {
	gnet.BuiltinEventEngine
	port int
}

func (s *server) OnBoot(gnet.Engine) gnet.Action {
	fmt.Println("port", s.port)
	return gnet.None
}

func (s *server) OnTraffic(c gnet.Conn) gnet.Action {
	buf, _ := c.Next(-1)
	c.Write(buf)
	return gnet.None
}

func main() {
	port := flag.Int("port", 0, "where to listen")
	loops := flag.Int("loops", 1, "how many event loops")
	flag.Parse()
	s := &server{port: *port}
	log.Fatal(gnet.Run(s, fmt.Sprintf("tcp4://:%d", *port), gnet.WithNumEventLoop(*loops), gnet.WithTCPKeepAlive(15*time.Second)))
}
