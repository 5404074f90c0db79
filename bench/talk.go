package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// A load is what the client does.
type load struct {
	conns, size, depth int
}

// inFlight returns bytes.
func (l load) inFlight() int { return l.conns * l.size * l.depth }

func (l load) String() string {
	if l.size > 1<<16 {
		return fmt.Sprintf("### Bulk: %d connections, %d KiB in flight each", l.conns, l.size*l.depth>>10)
	}
	return fmt.Sprintf("### %d connections, %d bytes, %d in flight each", l.conns, l.size, l.depth)
}

// A turn is what the client says of one.
type turn struct {
	Messages int     `json:"messages"`
	Wall     int     `json:"wall_ns"`
	CPU      int     `json:"cpu_ns"`    // of the server
	Client   int     `json:"client_ns"` // of the client
	Waited   int     `json:"waited_ns"` // for a processor, both
	Machine  int     `json:"-"`         // of all that ran, the kernel included
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	P999     float64 `json:"p999_us"`
}

// cost returns the microseconds of processor time for each message.
func (t turn) cost() float64 { return float64(t.CPU) / float64(t.Messages) / 1e3 }

// all returns the same of the whole machine.
func (t turn) all() float64 { return float64(t.Machine) / float64(t.Messages) / 1e3 }

// rate returns messages a second.
func (t turn) rate() float64 { return float64(t.Messages) / float64(t.Wall) * 1e9 }

// A client is connected to one server.
type client struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (s *stage) dial(v *server, l load, d time.Duration) (*client, error) {
	program, err := s.build("c/client.c")
	if err != nil {
		return nil, err
	}
	c := &client{cmd: exec.CommandContext(s.ctx, program,
		"-n", strconv.Itoa(l.conns), "-s", strconv.Itoa(l.size), "-d", strconv.Itoa(l.depth),
		"-t", strconv.Itoa(int(d.Milliseconds())), fmt.Sprintf("%d:%d", v.port, v.cmd.Process.Pid))}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := s.start(s.client, c.cmd); err != nil {
		return nil, err
	}
	if line, err := c.out.ReadString('\n'); err != nil || line != "ready\n" {
		c.stop()
		return nil, fmt.Errorf("the client of %s did not connect: %w", v.name, err)
	}
	return c, nil
}

// talk takes one turn.
func (c *client) talk() (t turn, err error) {
	before, err := busyTime()
	if err != nil {
		return t, err
	}
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		return t, err
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return t, fmt.Errorf("the client has failed: %w", err)
	}
	if err := json.Unmarshal(line, &t); err != nil {
		return t, fmt.Errorf("the client says %q: %w", line, err)
	}
	after, err := busyTime()
	if err != nil {
		return t, err
	}
	t.Machine = after - before
	if t.Messages == 0 {
		return t, fmt.Errorf("no message came back within a turn: make it longer")
	}
	return t, nil
}

func (c *client) stop() {
	c.in.Close()
	c.cmd.Process.Kill()
	c.cmd.Wait()
}
