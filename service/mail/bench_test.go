package mail

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"yodel/engine"
	"yodel/service/mail/spool"
)

// Ten senders on real sockets, messages of 4 KiB, each durable before its 250.
func BenchmarkDurable(b *testing.B) {
	text := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 51) + ".\r\n"
	for _, f := range []spool.Format{spool.Mbox, spool.Maildir} {
		b.Run(string(f), func(b *testing.B) {
			s := serve(b, newServer(b, func(c *Config) { c.Dir, c.Format = b.TempDir(), f }), engine.Config{})
			b.SetParallelism(5) // times GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				nc, err := net.Dial("tcp", s.addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer nc.Close()
				nc.SetDeadline(time.Now().Add(time.Minute))
				in := bufio.NewReader(nc)
				io.WriteString(nc, "EHLO x\r\n")
				for pb.Next() {
					io.WriteString(nc, envelope+text)
					if !stored(b, in) {
						b.Error("a message was not stored")
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
