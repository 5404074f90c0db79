package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"yodel/rio"
	"yodel/sock"
)

// child is a "yodel serve" that runs as a process of its own.
type child struct {
	cmd    *exec.Cmd
	errOut rio.Head     // its first words
	at     sock.Address // of its first service
}

// startServe runs "yodel serve --json" with args and waits until it listens.
func startServe(ctx context.Context, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, append([]string{"serve", "--json"}, args...)...), errOut: rio.Head{Max: 2000}}
	c.cmd.Stderr = &c.errOut
	c.cmd.WaitDelay = time.Second
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if err := c.listens(out); err != nil {
		c.cmd.Process.Kill()
		c.cmd.Wait()
		return nil, fmt.Errorf("yodel serve did not start: %w: %s", err, &c.errOut)
	}
	go io.Copy(io.Discard, out) // its other lines: the pipe must not fill
	return c, nil
}

func (c *child) listens(out io.Reader) error {
	line, err := bufio.NewReaderSize(out, 16).ReadBytes('\n')
	if err != nil {
		return err
	}
	var l listening
	if err := json.Unmarshal(line, &l); err != nil {
		return err
	}
	c.at, err = sock.ParseAddress(l.Address)
	return err
}

// stop ends the process as an operator would, and waits for it.
func (c *child) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.cmd.Process.Kill() // a system without that signal
	}
	err := c.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() != -1 {
		return fmt.Errorf("yodel serve ended with status %d: %s", exit.ExitCode(), &c.errOut)
	}
	return nil
}
