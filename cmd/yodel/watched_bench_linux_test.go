package main

import (
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

// What it costs an echo server to be watched: runs alone, watched by yodel watch --write
// --quiet on loopback alone and everywhere, and by tcpdump -w, in turns of which who is first changes. Of each turn there are the
// ratios of the server's CPU time for an echo, and of the time that one takes; reported are
// the medians and quartiles. The server is kept on the first processor, the client on the
// second, and who watches goes where it likes. For a quiet machine, as root:
//
//	go test -run '^$' -bench WatchedServer -benchtime 1x -timeout 20m ./cmd/yodel -watch.pairs=100 -watch.time=300ms
func BenchmarkWatchedServer(b *testing.B) {
	if runtime.NumCPU() < 2 {
		yodeltest.Skip(b, "server and client need a processor each", "run it on a machine with two")
	}
	h, _ := netns.Two(b)
	taskset := yodeltest.NeedProgram(b, "taskset")
	srv := startOn(b, h, nil, taskset, "-c", "0", publicProgram(b), "serve", "--json", "--no-record", "echo@127.0.0.1:"+benchPort)
	srv.await(b, &srv.out, `"listening"`)
	m := measured{b: b, h: h, pid: srv.cmd.Process.Pid, all: writers(b)}
	m.all["everywhere"] = writer{sums: m.all["yodel"].sums, args: func(file string) []string {
		return slices.DeleteFunc(m.all["yodel"].args(file), func(arg string) bool { return arg == "--interface=lo" })
	}}
	order := []string{"alone", "yodel", "everywhere", "tcpdump"}
	costs := map[string][]cost{}
	for b.Loop() {
		for i := range *benchPairs {
			for j := range order {
				who := order[(i+j)%len(order)]
				c := m.run(who)
				costs[who] = append(costs[who], c)
				b.Logf("%-10s %.0f ns of the server's CPU, %.0f ns for an echo", who, c.cpu, c.wall)
			}
		}
	}
	for _, who := range order[1:] {
		var cpu, wall []float64
		for i, alone := range costs["alone"] {
			cpu = append(cpu, costs[who][i].cpu/alone.cpu)
			wall = append(wall, costs[who][i].wall/alone.wall)
		}
		reportQuartiles(b, who+"/alone-cpu", cpu)
		reportQuartiles(b, who+"/alone-time", wall)
	}
	for who, all := range costs {
		var cpu, wall []float64
		for _, c := range all {
			cpu, wall = append(cpu, c.cpu), append(wall, c.wall)
		}
		b.ReportMetric(median(cpu), who+"-cpu-ns/echo")
		b.ReportMetric(median(wall), who+"-ns/echo")
	}
	b.ReportMetric(0, "ns/op")
}

func reportQuartiles(b *testing.B, name string, all []float64) {
	all = slices.Sorted(slices.Values(all))
	b.ReportMetric(all[len(all)/4], name+"-q1")
	b.ReportMetric(median(all), name)
	b.ReportMetric(all[len(all)*3/4], name+"-q3")
}

// A cost is what an echo has cost, in nanoseconds.
type cost struct{ cpu, wall float64 }

// measured is a server that is watched now and then.
type measured struct {
	b   *testing.B
	h   *netns.Host
	pid int
	all map[string]writer
}

// run talks with the server for the time of a run while somebody, or nobody, watches.
func (m *measured) run(who string) (c cost) {
	load := func() {
		before, began := cpuOf(m.b, m.pid), time.Now()
		n := float64(m.echoes())
		c = cost{float64((cpuOf(m.b, m.pid) - before).Nanoseconds()) / n, float64(time.Since(began).Nanoseconds()) / n}
	}
	w, watches := m.all[who]
	if !watches {
		load()
		return c
	}
	if done := w.write(m.b, m.h, load); done.dropped > 0 {
		m.b.Errorf("%s has dropped %.0f packets", who, done.dropped)
	}
	return c
}

// echoes is a client of which nothing is Go's but the calls: it waits in the kernel, on a
// processor of its own.
func (m *measured) echoes() (n int) {
	var c net.Conn
	err := m.h.Inside(func() (err error) {
		c, err = net.Dial("tcp", "127.0.0.1:"+benchPort)
		return err
	})
	if err != nil {
		m.b.Fatal(err)
	}
	defer c.Close()
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		m.b.Fatal(err)
	}
	defer file.Close()
	if err := unix.SetNonblock(int(file.Fd()), false); err != nil {
		m.b.Fatal(err)
	}
	done := make(chan error)
	go func() { // on a thread that ends with it
		runtime.LockOSThread()
		var second unix.CPUSet
		second.Set(1)
		err := os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &second))
		for end := time.Now().Add(*benchTime); err == nil && time.Now().Before(end); n++ {
			err = echoOnce(int(file.Fd()))
		}
		done <- err
	}()
	if err := <-done; err != nil {
		m.b.Fatal(err)
	}
	return n
}

func echoOnce(fd int) error {
	var said [100]byte
	if _, err := unix.Write(fd, said[:]); err != nil {
		return err
	}
	for got := 0; got < len(said); {
		n, err := unix.Read(fd, said[got:])
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.ECONNRESET
		}
		got += n
	}
	return nil
}
