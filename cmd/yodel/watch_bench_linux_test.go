package main

import (
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

var (
	benchPairs = flag.Int("watch.pairs", 5, "how many pairs of runs a comparison takes")
	benchTime  = flag.Duration("watch.time", 5*time.Second, "how long each run takes")
	benchRate  = flag.Int("watch.rate", 30, "datagrams a millisecond, of the load of datagrams")
)

// cpuOf returns the CPU time of a process, user and system, by its clock: exact, where
// rusage counts ticks.
func cpuOf(t testing.TB, pid int) time.Duration {
	t.Helper()
	used, err := cpuTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	if len(all) == 0 {
		return 0
	}
	return (all[len(all)/2] + all[(len(all)-1)/2]) / 2
}

// A writer is a program that writes a capture of one port to a file.
type writer struct {
	args func(file string) []string
	sums *regexp.Regexp // packets written, packets dropped
}

const benchPort = "10007"

func writers(b *testing.B) map[string]writer {
	return map[string]writer{
		"yodel": {
			args: func(file string) []string {
				return []string{publicProgram(b), "watch", benchPort, "--interface=lo", "--write=" + file, "--quiet"}
			},
			sums: regexp.MustCompile(`(\d+) packets written, (\d+) dropped`),
		},
		"tcpdump": {
			args: func(file string) []string {
				return []string{yodeltest.NeedProgram(b, "tcpdump"), "-i", "lo", "-Z", "root", "-B", "16384", "-w", file, "port " + benchPort}
			},
			sums: regexp.MustCompile(`(?s)(\d+) packets captured.*?(\d+) packets dropped by kernel`),
		},
	}
}

// written is what it has cost to write a capture.
type written struct {
	packets, dropped float64
	cpu              time.Duration
}

// write has a program capture while load runs. What it takes to begin is left out.
func (w writer) write(b *testing.B, h *netns.Host, load func()) written {
	file := filepath.Join(b.TempDir(), "file")
	args := w.args(file)
	p := startOn(b, h, nil, args[0], args[1:]...)
	for info := os.FileInfo(nil); ; { // both create the file when they have opened the capture
		var err error
		if info, err = os.Stat(file); err == nil && info != nil {
			break
		}
		select {
		case <-p.ended:
			b.Fatalf("%q has ended: %s", args, &p.err)
		default:
		}
	}
	pid := p.cmd.Process.Pid
	waitUntilIdle(b, pid)
	before := cpuOf(b, pid)
	load()
	waitUntilIdle(b, pid)
	cost := written{cpu: cpuOf(b, pid) - before}
	p.signal(b, os.Interrupt)
	p.wait(b)
	m := w.sums.FindStringSubmatch(p.err.String())
	if m == nil {
		b.Fatalf("%q says %s", args, &p.err)
	}
	cost.packets, _ = strconv.ParseFloat(m[1], 64)
	cost.dropped, _ = strconv.ParseFloat("0"+m[2], 64)
	return cost
}

// waitUntilIdle waits until a process has used next to no CPU for 200 ms.
func waitUntilIdle(b *testing.B, pid int) {
	b.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for last := time.Duration(-1); ; {
		now := cpuOf(b, pid)
		if last >= 0 && now-last < 4*time.Millisecond {
			return
		}
		last = now
		<-tick.C
	}
}

// What it costs to write packets to a file, compared with tcpdump: pairs of runs, who is
// first changes. For a quiet machine, as root:
//
//	go test -run '^$' -bench WatchWrite -benchtime 1x -timeout 20m ./cmd/yodel -watch.pairs=15
func BenchmarkWatchWrite(b *testing.B) {
	h, _ := netns.Two(b)
	for name, load := range map[string]func(*testing.B, *netns.Host){"datagrams": sendDatagrams, "echoes": sendEchoes} {
		b.Run(name, func(b *testing.B) {
			all := writers(b)
			per, ratio := map[string][]float64{}, []float64(nil)
			dropped := map[string]float64{}
			for b.Loop() {
				for i := range *benchPairs {
					order := []string{"yodel", "tcpdump"}
					if i%2 == 1 {
						slices.Reverse(order)
					}
					pair := map[string]float64{}
					for _, who := range order {
						cost := all[who].write(b, h, func() { load(b, h) })
						pair[who] = float64(cost.cpu.Nanoseconds()) / cost.packets
						per[who] = append(per[who], pair[who])
						dropped[who] += cost.dropped
						b.Logf("%s: %.0f packets, %.0f dropped, %.0f ns CPU a packet", who, cost.packets, cost.dropped, pair[who])
					}
					ratio = append(ratio, pair["yodel"]/pair["tcpdump"])
				}
			}
			for who, costs := range per {
				b.ReportMetric(median(costs), who+"-cpu-ns/packet")
				b.ReportMetric(dropped[who], who+"-dropped")
			}
			b.ReportMetric(median(ratio), "yodel/tcpdump")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// sendDatagrams sends datagrams of 200 bytes at a rate.
func sendDatagrams(b *testing.B, h *netns.Host) {
	var p net.PacketConn
	var c net.Conn
	if err := h.Inside(func() (err error) {
		if p, err = net.ListenPacket("udp", "127.0.0.1:"+benchPort); err == nil {
			c, err = net.Dial("udp", "127.0.0.1:"+benchPort)
		}
		return err
	}); err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	defer c.Close()
	go func() {
		for buf := make([]byte, 2000); ; {
			if _, _, err := p.ReadFrom(buf); err != nil {
				return
			}
		}
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	said := make([]byte, 200)
	for end := time.Now().Add(*benchTime); time.Now().Before(end); <-tick.C {
		for range *benchRate {
			c.Write(said)
		}
	}
}

// sendEchoes is one client of an echo server, which waits for each answer.
func sendEchoes(b *testing.B, h *netns.Host) {
	var l net.Listener
	if err := h.Inside(func() (err error) {
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false)
		l, err = lc.Listen(b.Context(), "tcp", "127.0.0.1:"+benchPort)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		if s, err := l.Accept(); err == nil {
			io.Copy(struct{ io.Writer }{s}, s)
			s.Close()
		}
	}()
	echoFor(b, h, l.Addr().String())
}

// echoFor talks with an echo server for the time of a run, and returns how many answers
// came.
func echoFor(b *testing.B, h *netns.Host, at string) (echoes int) {
	var c net.Conn
	if err := h.Inside(func() (err error) {
		c, err = net.Dial("tcp", at)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	said := make([]byte, 100)
	for end := time.Now().Add(*benchTime); time.Now().Before(end); {
		for range 100 {
			c.Write(said)
			if _, err := io.ReadFull(c, said); err != nil {
				b.Fatal(err)
			}
			echoes++
		}
	}
	return echoes
}
