package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/sock"
	"yodel/yodeltest"
)

// asServer is set in the environment of a copy of this program that serves a folder, so
// that its processor time is its own.
const asServer = "YODEL_TEST_WEB_ROOT"

func TestMain(m *testing.M) {
	if root := os.Getenv(asServer); root != "" {
		if err := serveFolder(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveFolder serves as yodel serve does, until it is killed.
func serveFolder(root string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	s, err := New(&Config{Root: root, Log: log})
	if err != nil {
		return err
	}
	e, err := goroutine.New(s, &engine.Config{Service: "web", Log: log})
	if err != nil {
		return err
	}
	l, err := sock.Listen(context.Background(), sock.Address{Network: "tcp", Host: "127.0.0.1"}, &sock.Options{NotSentLowat: 128 << 10})
	if err != nil {
		return err
	}
	fmt.Println(l.Address().HostPort())
	return e.Serve(l.Plain())
}

// beside is a server in a process of its own.
type beside struct {
	name, addr string
	pid        int
}

// processTime returns how long the process has had a processor.
func (s *beside) processTime(b *testing.B) time.Duration {
	b.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^s.pid<<3|2), &ts); err != nil { // clock_getcpuclockid(3)
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

func start(b *testing.B, name string, cmd *exec.Cmd) (*beside, io.Reader) {
	b.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &beside{name: name, pid: cmd.Process.Pid}, out
}

func startYodel(b *testing.B, root string) *beside {
	b.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asServer+"="+root)
	s, out := start(b, "yodel", cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	s.addr = strings.TrimSpace(line)
	return s
}

func startNginx(b *testing.B, root string) *beside {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dir := b.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	put(b, conf, fmt.Sprintf(`daemon off; master_process off; worker_processes 1; pid %[1]s/pid; error_log stderr;
events { worker_connections 1024; }
http {
	access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; default_type application/octet-stream;
	client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	server { listen %[2]s; root %[3]s; }
}
`, dir, addr, root), 0o644)
	s, _ := start(b, "nginx", exec.Command(yodeltest.NeedProgram(b, "nginx"), "-c", conf, "-p", dir))
	s.addr = addr
	for end := time.Now().Add(patience); ; <-time.After(5 * time.Millisecond) {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			nc.Close()
			return s
		}
		if time.Now().After(end) {
			b.Fatal(err)
		}
	}
}

// pair runs work on both servers in turn, and reports what each does in a second of its
// processor time, and ours as a part of nginx's: the median of the pairs.
func pair(b *testing.B, what string, root string, work func(*beside) float64) {
	servers := []*beside{startNginx(b, root), startYodel(b, root)}
	var rates [2][]float64
	var parts []float64
	for _, s := range servers {
		work(s) // once, so that all is warm
	}
	for b.Loop() {
		for i, s := range servers {
			from := s.processTime(b)
			did := work(s)
			rates[i] = append(rates[i], did/(s.processTime(b)-from).Seconds())
		}
		last := len(rates[0]) - 1
		parts = append(parts, rates[1][last]/rates[0][last])
	}
	b.ReportMetric(median(rates[0]), "nginx-"+what+"/cpu-s")
	b.ReportMetric(median(rates[1]), "yodel-"+what+"/cpu-s")
	b.ReportMetric(median(parts), "of-nginx")
	b.ReportMetric(slices.Min(parts), "least-of-nginx")
	b.ReportMetric(slices.Max(parts), "most-of-nginx")
	b.ReportMetric(0, "ns/op")
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// A file of 1 KiB, 100 connections that stay. Run it with -benchtime=3x.
func BenchmarkSmallFileBesideNginx(b *testing.B) {
	root := folder(b, map[string]string{"1k": strings.Repeat("0123456789abcdef", 64)})
	wrk := yodeltest.NeedProgram(b, "wrk")
	pair(b, "requests", root, func(s *beside) float64 {
		out, err := exec.Command(wrk, "-t", "1", "-c", "100", "-d", "2s", "http://"+s.addr+"/1k").Output()
		m := answered.FindSubmatch(out)
		if err != nil || m == nil || strings.Contains(string(out), "Non-2xx") {
			b.Fatalf("%s: %v\n%s", s.name, err, out)
		}
		n, _ := strconv.ParseFloat(string(m[1]), 64)
		return n
	})
}

// A file of 100 MiB, got five times.
func BenchmarkLargeFileBesideNginx(b *testing.B) {
	root := folder(b, nil)
	const size = 100 << 20
	f, err := os.Create(filepath.Join(root, "100m"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	piece := []byte(strings.Repeat("0123456789abcdef", 1<<16))
	for range size >> 20 {
		if _, err := f.Write(piece); err != nil {
			b.Fatal(err)
		}
	}
	buf := make([]byte, 256<<10)
	pair(b, "bytes", root, func(s *beside) float64 {
		for range 5 {
			nc, err := net.Dial("tcp", s.addr)
			if err != nil {
				b.Fatal(err)
			}
			io.WriteString(nc, "GET /100m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{nc}, buf)
			nc.Close()
			if n < size || err != nil {
				b.Fatalf("%s: %d bytes, %v", s.name, n, err)
			}
		}
		return 5 * size
	})
}
