package faults

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// folder is where the program under test is built.
var folder string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "yodel-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	folder = dir
	// More than there are cores, because most of a run is waiting; -parallel overrides it.
	flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	return m.Run()
}

// build builds the real program and returns its path. It is without the race detector:
// under strace that would take seconds for each run.
var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(folder, "yodel")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "yodel/cmd/yodel")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, readSources()
})

// readSources opens what the program is made of, for the go command to see that a
// result of this test is stale when it changes.
func readSources() error {
	const list = `{{if not .Standard}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}`
	out, err := exec.Command("go", "list", "-deps", "-f", list, "yodel/cmd/yodel").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

// program returns the path of the program under test.
func program(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// output takes what a program prints on its standard output, line by line.
type output struct {
	mu    sync.Mutex
	rest  []byte
	lines []string
	grown chan struct{} // closed when lines have grown
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, p...)
	for {
		line, rest, ok := bytes.Cut(o.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		o.lines, o.rest = append(o.lines, string(line)), rest
		if o.grown != nil {
			close(o.grown)
			o.grown = nil
		}
	}
}

// since returns the lines from the n-th on, and a channel that is closed when there are
// more.
func (o *output) since(n int) ([]string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.grown == nil {
		o.grown = make(chan struct{})
	}
	return slices.Clone(o.lines[min(n, len(o.lines)):]), o.grown
}

// place is where a service listens.
type place struct{ service, address string }

// A server is a yodel under test.
type server struct {
	cmd      *exec.Cmd
	pid      int
	out      output
	stderr   bytes.Buffer     // to be read when the server has ended
	at       map[string]place // by network
	path     string           // of the Unix socket
	networks int              // how many it serves
	ended    chan struct{}    // closed when the server has ended
	began    time.Time
	baseline resources
}

// A launch says how a server is started.
type launch struct {
	prefix   []string // a command that runs it, or nil
	engine   string
	flags    []string
	networks []string // upper on TCP, echo on a Unix socket, or both
	host     string   // for TCP; "" for 127.0.0.1
}

// start starts yodel. It is killed at the end of the test if it has not ended.
func start(t *testing.T, how launch) (*server, error) {
	t.Helper()
	s := &server{at: make(map[string]place), ended: make(chan struct{}), began: time.Now()}
	s.path = filepath.Join(t.TempDir(), "s")
	args := slices.Concat(how.prefix, []string{program(t), "serve", "--json", "--engine", how.engine}, how.flags)
	service := map[string]string{
		"tcp":  "upper@" + cmp.Or(how.host, "127.0.0.1") + ":0",
		"unix": "echo@unix:" + s.path,
	}
	for _, network := range how.networks {
		args = append(args, service[network])
	}
	s.networks = len(how.networks)
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Env = append(os.Environ(), "GOTRACEBACK=all")
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.WaitDelay = &s.out, &s.stderr, time.Second
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.pid = s.cmd.Process.Pid
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.ended
	})
	return s, nil
}

// awaitListening waits until the server has said where it listens.
func (s *server) awaitListening(ctx context.Context) error {
	for {
		lines, grown := s.out.since(0)
		for _, line := range lines {
			if err := s.hear(line); err != nil {
				return err
			}
		}
		if len(s.at) == s.networks {
			s.baseline = s.resources()
			return nil
		}
		select {
		case <-grown:
		case <-s.ended:
			return fmt.Errorf("the server has ended at its start: %v\n%s", s.cmd.ProcessState, &s.stderr)
		case <-ctx.Done():
			return fmt.Errorf("the server does not say that it listens: %w", ctx.Err())
		}
	}
}

func (s *server) hear(line string) error {
	var l struct{ Type, Network, Address, Service string }
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		return fmt.Errorf("stdout has %q: %w", line, err)
	}
	if l.Type == "listening" {
		s.at[l.Network] = place{l.Service, l.Address}
	}
	return nil
}

// awaitEnd waits until the server has ended and returns its exit status, -1 if a signal
// ended it.
func (s *server) awaitEnd(ctx context.Context) (int, error) {
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("the server does not end: %w", ctx.Err())
	}
}

// dump ends a server that hangs by SIGQUIT, which makes Go print all goroutines, and
// returns what it has said.
func (s *server) dump() string {
	s.cmd.Process.Signal(unix.SIGQUIT)
	select {
	case <-s.ended:
	case <-time.After(5 * time.Second):
		s.cmd.Process.Kill()
		<-s.ended
	}
	return s.stderr.String()
}

// sockets returns the server's sockets that are bound to where it serves network, as
// /proc shows them.
func (s *server) sockets(network string) (files []string) {
	for _, pid := range s.processes() {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, link := range links {
			file, _ := os.Readlink(link)
			fd, err := strconv.Atoi(filepath.Base(link))
			if err == nil && strings.HasPrefix(file, "socket:") && boundTo(pid, fd) == s.at[network].address {
				files = append(files, file)
			}
		}
	}
	return files
}

// boundTo returns the address of a socket of another process, "" if it has none.
func boundTo(pid, fd int) string {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(process)
	copied, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(copied)
	addr, _ := unix.Getsockname(copied)
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrUnix:
		return a.Name
	}
	return ""
}

// resources are what a server holds of the system.
type resources struct{ descriptors, processes int }

func (s *server) resources() (r resources) {
	for _, pid := range s.processes() {
		if fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
			r.descriptors += len(fds)
			r.processes++
		}
	}
	return r
}

// processes returns the server's process and all below it.
func (s *server) processes() []int { return append([]int{s.pid}, descendants(s.pid)...) }

func descendants(pid int) (all []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // that thread has ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// awaitBaseline waits until the server holds no more than it did before its first
// client. Nothing tells of that from outside, so it looks again and again.
func (s *server) awaitBaseline(ctx context.Context) error {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		now := s.resources()
		if now == s.baseline {
			return nil
		}
		select {
		case <-again.C:
		case <-s.ended:
			return fmt.Errorf("the server has ended: %v", s.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("a leak: it holds %+v, and held %+v before the first client", now, s.baseline)
		}
	}
}
