package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A stage is where programs are built and run: the servers on one processor, the
// clients on another.
type stage struct {
	ctx            context.Context
	dir            string // of the programs
	server, client int    // processors
}

func newStage(ctx context.Context) (*stage, error) {
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		return nil, os.NewSyscallError("sched_getaffinity", err)
	}
	var list []int
	for cpu := range 1024 {
		if cpus.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	if len(list) < 2 {
		return nil, fmt.Errorf("two processors are needed, one for the server and one for the client; this process may use %d", len(list))
	}
	dir, err := os.MkdirTemp("", "yodel-bench")
	return &stage{ctx: ctx, dir: dir, client: list[0], server: list[len(list)-1]}, err
}

func (s *stage) close() { os.RemoveAll(s.dir) }

// build builds a program once and returns its path.
func (s *stage) build(source string) (string, error) {
	program := filepath.Join(s.dir, strings.TrimSuffix(filepath.Base(source), ".c")+"-"+filepath.Base(filepath.Dir(source)))
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	cmd := exec.CommandContext(s.ctx, "go", "build", "-o", program, source)
	if ours, ok := strings.CutPrefix(source, "../"); ok { // of another module, whose go.mod counts
		cmd = exec.CommandContext(s.ctx, "go", "build", "-C", "..", "-o", program, "./"+ours)
	}
	if strings.HasSuffix(source, ".c") {
		cmd = exec.CommandContext(s.ctx, "cc", "-O2", "-Wall", "-Wextra", "-o", program, source)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", source, err, out)
	}
	return program, nil
}

// start starts a program on a processor.
func (s *stage) start(cpu int, cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil { // the child inherits it
		return os.NewSyscallError("sched_setaffinity", err)
	}
	defer unix.SchedSetaffinity(0, &before)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	// Others are to disturb less, if we may say so: sched(7), autogroups.
	os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", cmd.Process.Pid), []byte("-20"), 0)
	return nil
}

// A server is a contestant that runs.
type server struct {
	contestant
	cmd  *exec.Cmd
	port int
}

// serve starts a contestant and returns when it listens.
func (s *stage) serve(c contestant) (*server, error) {
	program, err := c.program, error(nil)
	if program == "" {
		program, err = s.build(c.source)
	}
	if err != nil {
		return nil, err
	}
	port := 0 // the server's own choice
	args := make([]string, len(c.args))
	for i, a := range c.args {
		if args[i] = a; a == freePort {
			if port, err = anyFreePort(); err != nil {
				return nil, err
			}
			args[i] = strconv.Itoa(port)
		}
	}
	v := &server{contestant: c, port: port, cmd: exec.CommandContext(s.ctx, program, args...)}
	stdout, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.start(s.server, v.cmd); err != nil {
		return nil, err
	}
	if port == 0 {
		v.port, err = readPort(bufio.NewReader(stdout))
	} else {
		go io.Copy(io.Discard, stdout)
		err = s.untilItListens(port)
	}
	if err != nil {
		v.stop()
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return v, nil
}

// readPort reads what a server says until it names its port, and drops what it says
// after that.
func readPort(said *bufio.Reader) (port int, err error) {
	for {
		line, err := said.ReadString('\n')
		if err != nil {
			return 0, fmt.Errorf("it does not say its port: %w", err)
		}
		if _, err := fmt.Sscanf(line, "port %d", &port); err == nil {
			go io.Copy(io.Discard, said)
			return port, nil
		}
	}
}

// anyFreePort returns a port for servers that can't say which one they were given.
func anyFreePort() (int, error) {
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// untilItListens waits until somebody listens on a port.
func (s *stage) untilItListens(port int) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for from := time.Now(); ; <-again.C {
		nc, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return nc.Close()
		}
		if time.Since(from) > 10*time.Second || s.ctx.Err() != nil {
			return fmt.Errorf("it does not listen: %w", err)
		}
	}
}

func (v *server) stop() {
	v.cmd.Process.Kill()
	v.cmd.Wait()
}

// resident returns the server's resident memory in bytes.
func (v *server) resident() (int, error) {
	return kibOf(fmt.Sprintf("/proc/%d/status", v.cmd.Process.Pid), "VmRSS:")
}
