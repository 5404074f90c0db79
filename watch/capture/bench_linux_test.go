package capture

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

// A tally is what a capture that writes to a file has cost.
type tally struct {
	Packets, Dropped uint64
	CPU              time.Duration
}

// playWriter captures with the Config that comes in and writes a capture file, as tcpdump
// -w does, until the input ends.
func playWriter() int {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var cfg Config
	if in.Decode(&cfg) != nil {
		return 2
	}
	c, err := Open(&cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer c.Close()
	file, err := os.Create(os.Args[1])
	if err != nil {
		return 1
	}
	defer file.Close()
	out.Encode("ready")
	began := ownCPU()
	go func() {
		io.Copy(io.Discard, in.Buffered())
		io.Copy(io.Discard, os.Stdin)
		c.Stop()
	}()
	w := bufio.NewWriterSize(file, 1<<16)
	if err := writePcap(w, c); !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s := c.Stats()
	out.Encode(tally{Packets: s.Delivered, Dropped: s.Dropped + s.Unproved, CPU: ownCPU() - began})
	return 0
}

// ownCPU leaves out what it takes to load the programs, once.
func ownCPU() time.Duration { return clock(unix.CLOCK_PROCESS_CPUTIME_ID) }

// cpuOf reads the clock of another process: exact, where rusage counts ticks.
func cpuOf(pid int) time.Duration { return clock(int32(^pid<<3 | 2)) }

func clock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// writePcap writes the oldest of the formats: a header, and 16 bytes before each packet.
func writePcap(w *bufio.Writer, c *Capture) error {
	header := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d) // nanoseconds
	header = append(header, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0)
	w.Write(header)
	var record [16]byte
	for {
		packets, err := c.Next()
		if err != nil {
			w.Flush()
			return err
		}
		for i := range packets {
			p := &packets[i]
			binary.LittleEndian.PutUint32(record[0:], uint32(p.Time/1e9))
			binary.LittleEndian.PutUint32(record[4:], uint32(p.Time%1e9))
			binary.LittleEndian.PutUint32(record[8:], uint32(len(p.Data)))
			binary.LittleEndian.PutUint32(record[12:], uint32(p.Length))
			w.Write(record[:])
			w.Write(p.Data)
		}
	}
}

// A load sends on loopback until it is told to stop, at a rate, and returns how many.
type load func(b *testing.B, h *netns.Host) (packets int)

const (
	benchPort = 10007
	benchTime = 2 * time.Second
)

// BenchmarkWrite compares what it costs to write packets to a file: our capture ByKernel
// and ByPort, and tcpdump with the same filter. It reports CPU nanoseconds a packet of the
// capturing process, user and system together, and what was dropped. One load is enough:
//
//	go test -run '^$' -bench Write -benchtime 1x ./watch/capture
func BenchmarkWrite(b *testing.B) {
	for name, send := range map[string]load{"datagrams": sendDatagrams, "echo": sendEchoes} {
		for _, tool := range []struct {
			name string
			run  func(b *testing.B, h *netns.Host, file string) (stop func() tally)
		}{
			{"nothing", func(*testing.B, *netns.Host, string) func() tally { return func() tally { return tally{} } }},
			{"tcpdump", runTcpdump},
			{"kernel", runWriter(&Config{Delay: 100 * time.Millisecond, Ports: []uint16{benchPort}, Interface: "lo"})},
			{"port", runWriter(&Config{Ports: []uint16{benchPort}, Interface: "lo", Method: ByPort})},
			{"everyone", runWriter(&Config{Delay: 100 * time.Millisecond, Ports: []uint16{benchPort}, Interface: "lo", AllUsers: true})},
		} {
			b.Run(name+"/"+tool.name, func(b *testing.B) {
				yodeltest.NeedRoot(b)
				h, _ := netns.Two(b)
				for b.Loop() {
					stop := tool.run(b, h, filepath.Join(b.TempDir(), "file"))
					began := time.Now()
					sent := send(b, h)
					b.ReportMetric(float64(sent)/time.Since(began).Seconds(), "packets/s")
					sum := stop()
					if sum.Packets > 0 {
						b.ReportMetric(float64(sum.CPU.Nanoseconds())/float64(sum.Packets), "cpu-ns/packet")
					}
					b.ReportMetric(float64(sum.Dropped), "dropped")
					b.ReportMetric(float64(sum.Packets), "packets")
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func sendDatagrams(b *testing.B, h *netns.Host) (sent int) {
	var p net.PacketConn
	var c net.Conn
	addr := fmt.Sprintf("127.0.0.1:%d", benchPort)
	if err := h.Inside(func() (err error) {
		if p, err = net.ListenPacket("udp", addr); err == nil {
			c, err = net.Dial("udp", addr)
		}
		return err
	}); err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	defer c.Close()
	go func() {
		buf := make([]byte, 2000)
		for {
			if _, _, err := p.ReadFrom(buf); err != nil {
				return
			}
		}
	}()
	const rate = 60 // a millisecond
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	said := make([]byte, 200)
	for end := time.Now().Add(benchTime); time.Now().Before(end); <-tick.C {
		for range rate {
			c.Write(said)
			sent++
		}
	}
	return sent
}

// sendEchoes is one client, which waits for each answer.
func sendEchoes(b *testing.B, h *netns.Host) (packets int) {
	var l net.Listener
	var c net.Conn
	if err := h.Inside(func() (err error) {
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false)
		if l, err = lc.Listen(b.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", benchPort)); err == nil {
			c, err = net.Dial("tcp", l.Addr().String())
		}
		return err
	}); err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	defer c.Close()
	go func() {
		s, err := l.Accept()
		if err == nil {
			io.Copy(struct{ io.Writer }{s}, s)
			s.Close()
		}
	}()
	said := make([]byte, 100)
	for end := time.Now().Add(benchTime); time.Now().Before(end); {
		for range 100 {
			c.Write(said)
			io.ReadFull(c, said)
			packets += 3 // there, back, and an acknowledgement now and then
		}
	}
	return packets
}

func runWriter(cfg *Config) func(b *testing.B, h *netns.Host, file string) func() tally {
	return func(b *testing.B, h *netns.Host, file string) func() tally {
		cmd := exec.Command("/proc/self/exe", file)
		cmd.Env = append(os.Environ(), playVar+"=writer")
		cmd.Stderr = os.Stderr
		in, err1 := cmd.StdinPipe()
		out, err2 := cmd.StdoutPipe()
		if err := errors.Join(err1, err2, h.Inside(cmd.Start)); err != nil {
			b.Fatal(err)
		}
		results := json.NewDecoder(out)
		var ready string
		if err := errors.Join(json.NewEncoder(in).Encode(cfg), results.Decode(&ready)); err != nil {
			b.Fatal(err)
		}
		return func() (sum tally) {
			in.Close()
			if err := errors.Join(results.Decode(&sum), cmd.Wait()); err != nil {
				b.Fatal(err)
			}
			return sum
		}
	}
}

func runTcpdump(b *testing.B, h *netns.Host, file string) func() tally {
	program := yodeltest.NeedProgram(b, "tcpdump")
	cmd := exec.Command(program, "-i", "lo", "-w", file, "-Z", "root", "-B", "16384", fmt.Sprintf("port %d", benchPort))
	stderr, err := cmd.StderrPipe()
	if err := errors.Join(err, h.Inside(cmd.Start)); err != nil {
		b.Fatal(err)
	}
	said := bufio.NewReader(stderr)
	for line := ""; !strings.Contains(line, "listening on"); {
		if line, err = said.ReadString('\n'); err != nil {
			b.Fatal(err)
		}
	}
	return func() (sum tally) {
		cmd.Process.Signal(syscall.SIGINT)
		rest, _ := io.ReadAll(said)
		if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			b.Fatal(err)
		}
		sum.CPU = cpuOf(cmd.Process.Pid)
		if err := cmd.Wait(); err != nil {
			b.Fatalf("%v: %s", err, rest)
		}
		for line := range strings.Lines(string(rest)) {
			number, what, _ := strings.Cut(strings.TrimSpace(line), " packets ")
			n, _ := strconv.ParseUint(number, 10, 64)
			switch what {
			case "captured":
				sum.Packets = n
			case "dropped by kernel":
				sum.Dropped = n
			}
		}
		return sum
	}
}
