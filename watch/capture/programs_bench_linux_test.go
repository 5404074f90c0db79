package capture

import (
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

// BenchmarkPrograms says what the programs in the kernel cost a packet, by the kernel's own
// counters, which add to it: the least of some windows, because whatever interrupts a
// program is counted, too. As root, also on a machine that is busy:
//
//	go test -run '^$' -bench Programs -benchtime 1x ./watch/capture
func BenchmarkPrograms(b *testing.B) {
	yodeltest.NeedRoot(b)
	h, _ := netns.Two(b)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	for _, network := range []string{"tcp", "udp"} {
		b.Run(network, func(b *testing.B) {
			c, server := benchPair(b, h, network)
			before := programsNow(b)
			k := benchOpen(b, h, &Config{Ports: []uint16{benchPort}, Interface: "lo", Method: ByKernel})
			defer k.Close()
			ours := programsNow(b)
			for id := range before {
				delete(ours, id)
			}
			least := map[string]float64{}
			for b.Loop() {
				for range 60 {
					was := statsOf(b, ours)
					for range 1000 {
						pass(b, c, server)
					}
					for name, now := range statsOf(b, ours) {
						runs := now.RunCount - was[name].RunCount
						if runs == 0 {
							continue
						}
						ns := float64((now.Runtime - was[name].Runtime).Nanoseconds()) / float64(runs)
						if old, ok := least[name]; !ok || ns < old {
							least[name] = ns
						}
					}
				}
			}
			for name, ns := range least {
				b.ReportMetric(ns, name+"-ns/run")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// pass sends a message one way.
func pass(b *testing.B, from, to net.Conn) {
	var said [100]byte
	if _, err := from.Write(said[:]); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(to, said[:]); err != nil {
		b.Fatal(err)
	}
}

// benchPair returns both ends of a connection on the host's loopback.
func benchPair(b *testing.B, h *netns.Host, network string) (c, server net.Conn) {
	b.Helper()
	err := h.Inside(func() (err error) {
		if network == "udp" {
			at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: benchPort}
			from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: benchPort + 1}
			if c, err = net.DialUDP("udp", from, at); err == nil {
				server, err = net.DialUDP("udp", at, from)
			}
			return err
		}
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false)
		l, err := lc.Listen(b.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", benchPort))
		if err != nil {
			return err
		}
		defer l.Close()
		if c, err = net.Dial("tcp", l.Addr().String()); err == nil {
			server, err = l.Accept()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Close()
		server.Close()
	})
	return c, server
}

// benchOpen opens a capture whose packets nobody wants.
func benchOpen(b *testing.B, h *netns.Host, cfg *Config) (c *Capture) {
	b.Helper()
	if err := h.Inside(func() (err error) {
		c, err = Open(cfg)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			if _, err := c.Next(); err != nil {
				return
			}
		}
	}()
	return c
}

// programsNow returns the numbers of the BPF programs in the kernel.
func programsNow(b *testing.B) map[ebpf.ProgramID]bool {
	b.Helper()
	all := map[ebpf.ProgramID]bool{}
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if err != nil {
			return all
		}
		all[next], id = true, next
	}
}

// statsOf returns what the programs with these numbers have cost, by name.
func statsOf(b *testing.B, ids map[ebpf.ProgramID]bool) map[string]ebpf.ProgramStats {
	b.Helper()
	all := map[string]ebpf.ProgramStats{}
	for id := range ids {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue
		}
		info, err := p.Info()
		if err == nil {
			var s *ebpf.ProgramStats
			if s, err = p.Stats(); err == nil && s.RunCount > 0 {
				all[info.Name] = *s
			}
		}
		p.Close()
		if err != nil {
			b.Fatal(err)
		}
	}
	return all
}
