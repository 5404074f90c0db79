package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"yodel/internal/privilege"
	"yodel/watch"
	"yodel/watch/flow"
)

// After a command has ended its connections are watched until they have ended, too: the
// kernel finishes them.
const (
	childLeast = 60 * time.Millisecond // what was captured has come by then
	childMost  = time.Second
	childTick  = 20 * time.Millisecond
)

// A watchedChild is the command of --run. It is a View, to know which of its connections
// have not ended.
type watchedChild struct {
	cmd    *exec.Cmd
	source *liveSource
	ended  chan struct{} // closed when it has ended
	err    error         // what Wait has said; after ended
	since  time.Time     // when tick has seen the end
	open   map[int64]*flow.Flow
}

// startChild starts the command, as the user who has called sudo. Its standard input,
// output and error are ours.
func startChild(command []string, user privilege.Credentials, source *liveSource) (*watchedChild, error) {
	c := &watchedChild{cmd: exec.Command(command[0], command[1:]...), source: source, ended: make(chan struct{}), open: map[int64]*flow.Flow{}}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if user.UID != 0 {
		runAsUser(c.cmd, user)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("--run: %w", err)
	}
	go func() {
		c.err = c.cmd.Wait()
		source.clock.Reset(childTick)
		close(c.ended)
	}()
	return c, nil
}

// environmentOf returns what a program of the user's finds in its environment: that of
// sudo, but for what says whose it is.
func environmentOf(environ []string, name, home string) []string {
	kept := slices.DeleteFunc(slices.Clone(environ), func(pair string) bool {
		return strings.HasPrefix(pair, "HOME=") || strings.HasPrefix(pair, "USER=") || strings.HasPrefix(pair, "LOGNAME=") || strings.HasPrefix(pair, "SUDO_")
	})
	return append(kept, "HOME="+home, "USER="+name, "LOGNAME="+name)
}

// Show implements watch.View.
func (c *watchedChild) Show(e *watch.Event) error {
	switch e.Type {
	case watch.Segment:
		c.open[e.Flow.Number] = e.Flow
	case watch.FlowEnded:
		delete(c.open, e.Flow.Number)
	}
	return nil
}

// tick ends the capture a little after the command has.
func (c *watchedChild) tick(now time.Time) error {
	select {
	case <-c.ended:
	default:
		return nil
	}
	if c.since.IsZero() {
		c.since = now
	}
	for number, f := range c.open {
		if f.State.Ended() {
			delete(c.open, number)
		}
	}
	if waited := now.Sub(c.since); waited >= childMost || waited >= childLeast && len(c.open) == 0 {
		return c.source.stop()
	}
	return nil
}

// onSignal passes SIGTERM on to the command; SIGINT comes to it from the terminal, as to
// us. With the second signal we end without it.
func (c *watchedChild) onSignal() (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for range 2 {
			select {
			case s := <-signals:
				if s == syscall.SIGTERM {
					c.cmd.Process.Signal(s)
				}
			case <-done:
				return
			}
		}
		signal.Stop(signals)
		c.source.stop()
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// kill ends the command. It is safe on nil.
func (c *watchedChild) kill() error {
	if c == nil {
		return nil
	}
	err := c.cmd.Process.Kill()
	<-c.ended
	return err
}

// wait waits for the command and returns its exit status as an error; nil is 0.
func (c *watchedChild) wait() error {
	<-c.ended
	exit, ok := errors.AsType[*exec.ExitError](c.err)
	switch {
	case c.err == nil:
		return nil
	case !ok:
		return fmt.Errorf("--run: %w", c.err)
	}
	status := exit.ExitCode()
	if s, ok := exit.Sys().(interface{ Signal() syscall.Signal }); ok && status < 0 {
		status = 128 + int(s.Signal())
	}
	return silentError{childStatus(status)}
}

// childStatus is the exit status of a command.
type childStatus int

func (s childStatus) Error() string   { return fmt.Sprintf("the command ended with status %d", int(s)) }
func (s childStatus) ExitStatus() int { return int(s) }
