package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine says where and with what this is measured.
func (s *stage) machine(out io.Writer) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return os.NewSyscallError("uname", err)
	}
	memory, err := memory("MemTotal:")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Machine: %s, %d processors, %d GiB; Linux %s; %s; %s; %s. The servers run on processor %d, the client on %d.\n",
		processor(), runtime.NumCPU(), (memory+1<<29)>>30, unix.ByteSliceToString(u.Release[:]), runtime.Version(),
		s.firstLine("cc", "--version"), time.Now().UTC().Format(time.DateOnly), s.server, s.client)
	fmt.Fprintf(out, "Measured: yodel %s; %s.\n", s.firstLine("git", "describe", "--tags", "--always", "--dirty"), s.peers())
	return nil
}

// processor returns the name of the processors.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, _ := strings.Cut(string(text), "model name\t: ")
	name, _, _ := strings.Cut(rest, "\n")
	if name == "" {
		return runtime.GOARCH
	}
	return name
}

// firstLine returns the first line that a program prints, or its name if it can't run.
func (s *stage) firstLine(program string, args ...string) string {
	text, err := exec.CommandContext(s.ctx, program, args...).Output()
	if err != nil {
		return program
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// peers returns the versions of the libraries that go.mod names.
func (s *stage) peers() string {
	text, _ := exec.CommandContext(s.ctx, "go", "list", "-m", "-f", "{{if not (or .Indirect .Main .Replace)}}{{.Path}} {{.Version}}{{end}}", "all").Output()
	var list []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "golang.org/") {
			list = append(list, line)
		}
	}
	return strings.Join(list, ", ")
}

// busyTime returns how long all processors together have been busy, in nanoseconds; it counts
// in ticks of 10 ms: proc_stat(5).
func busyTime() (ns int, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var user, nice, system, idle, wait, irq, softirq, steal int
	_, err = fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal)
	return (user + nice + system + irq + softirq + steal) * 10_000_000, err
}
