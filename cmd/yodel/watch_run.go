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

// A tail ends a capture when what is watched is over: a command, a call. Its connections
// are watched until they have ended, too, for a second at most: the kernel finishes them.
// It is a View, to know which have not.
type tail struct {
	source *liveSource
	over   chan struct{} // closed when it is over
	since  time.Time     // when tick has seen that
	open   map[int64]*flow.Flow
}

const (
	tailLeast = 60 * time.Millisecond // what was captured has come by then
	tailMost  = time.Second
	tailTick  = 20 * time.Millisecond
)

func newTail(source *liveSource) *tail {
	return &tail{source: source, over: make(chan struct{}), open: map[int64]*flow.Flow{}}
}

// end says that it is over.
func (t *tail) end() {
	t.source.clock.Reset(tailTick)
	close(t.over)
}

// Show implements watch.View.
func (t *tail) Show(e *watch.Event) error {
	switch e.Type {
	case watch.Segment:
		t.open[e.Flow.Number] = e.Flow
	case watch.FlowEnded:
		delete(t.open, e.Flow.Number)
	}
	return nil
}

// tick ends the capture when it is time.
func (t *tail) tick(now time.Time) error {
	select {
	case <-t.over:
	default:
		return nil
	}
	if t.since.IsZero() {
		t.since = now
	}
	for number, f := range t.open {
		if f.State.Ended() {
			delete(t.open, number)
		}
	}
	if waited := now.Sub(t.since); waited >= tailMost || waited >= tailLeast && len(t.open) == 0 {
		return t.source.stop()
	}
	return nil
}

// A watchedChild is the command of --run.
type watchedChild struct {
	*tail
	cmd *exec.Cmd
	err error // what Wait has said; after over
}

// startChild starts the command, as the user who has called sudo. Its standard input,
// output and error are ours.
func startChild(command []string, user privilege.Credentials, source *liveSource) (*watchedChild, error) {
	c := &watchedChild{tail: newTail(source), cmd: exec.Command(command[0], command[1:]...)}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if user.UID != 0 {
		runAsUser(c.cmd, user)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("--run: %w", err)
	}
	go func() {
		c.err = c.cmd.Wait()
		c.end()
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
	<-c.over
	return err
}

// wait waits for the command and returns its exit status as an error; nil is 0.
func (c *watchedChild) wait() error {
	<-c.over
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
