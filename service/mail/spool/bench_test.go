package spool

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// Ten senders, messages of 4 KiB, each durable before the next.
func BenchmarkCommit(b *testing.B) {
	text := bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890\n"), 66)
	for _, format := range []Format{Mbox, Maildir} {
		for _, boxes := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/%d", format, boxes), func(b *testing.B) {
				s, err := Open(&Config{Dir: b.TempDir(), Format: format})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				b.SetParallelism(5) // times GOMAXPROCS
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						d := s.Begin(Envelope{From: "a@example.org", Boxes: []string{fmt.Sprint("bob", i%boxes)}, Time: time.Now()})
						d.Write(text)
						if err := d.Commit(); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}
