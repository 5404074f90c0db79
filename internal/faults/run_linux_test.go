package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest/programs"
)

// patience bounds a run. One takes a fraction of a second; a machine may be busy.
const patience = 60 * time.Second

// A run is one row of the table being played.
type run struct {
	t   *testing.T
	row row
	ctx context.Context
	s   *server
	tr  *programs.Tracer

	bystanders []*client // whom no fault may reach
	talked     []*client // whose conversation has come to its proper end
	unaccepted int       // connections that ended before the server had them
	want       verdict
}

// playRow plays one row, fails the test with all that is known if it goes wrong, and
// returns how many calls have failed.
func playRow(t *testing.T, row row) (hits int) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r := &run{t: t, row: row, ctx: ctx}
	err := row.scene.play(r)
	if r.tr != nil {
		r.tr.Detach()
		hits = r.tr.Failed()
	}
	if err != nil {
		t.Error(r.report(err))
	}
	return hits
}

// report returns what is known of a run that has failed; the server's goroutines if it
// hangs.
func (r *run) report(err error) string {
	var b strings.Builder
	fmt.Fprintln(&b, err)
	if r.s != nil {
		fmt.Fprintf(&b, "the server has said:\n%s", r.s.dump())
		lines, _ := r.s.out.since(0)
		fmt.Fprintf(&b, "its last events:\n%s\n", strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
	if r.tr != nil {
		fmt.Fprintf(&b, "the last calls that strace saw:\n%s\n", r.tr.Last())
	}
	return b.String()
}

// begin starts the server and the bystanders: one on the other network, which has an
// engine of its own, and one beside the fault where the engine serves more than one at
// a time.
func (r *run) begin() error {
	var err error
	if r.s, err = start(r.t, launch{engine: r.row.engine, networks: both}); err != nil {
		return err
	}
	if err := r.s.awaitListening(r.ctx); err != nil {
		return err
	}
	if r.row.loops() {
		if err := r.awaitLoops(); err != nil {
			return err
		}
	}
	networks := slices.Clone(both)
	if r.row.engine == "iterative" {
		networks = slices.DeleteFunc(networks, func(n string) bool { return n == r.row.network })
	}
	for _, network := range networks {
		c, err := r.s.dial(r.ctx, network)
		if err != nil {
			return err
		}
		r.bystanders = append(r.bystanders, c)
	}
	return r.bystand()
}

// awaitLoops waits until the event loops are there, which are made when serving begins:
// they have descriptors. A visitor of each network is gone when the listening socket is alone
// again.
func (r *run) awaitLoops() error {
	for _, network := range both {
		c, err := r.s.visit(r.ctx, network)
		if err != nil {
			return err
		}
		r.talked = append(r.talked, c)
		alone := func() bool {
			files := r.s.sockets(network)
			return len(slices.Compact(slices.Sorted(slices.Values(files)))) == 1
		}
		again := time.NewTicker(5 * time.Millisecond)
		defer again.Stop()
		for !alone() {
			select {
			case <-again.C:
			case <-r.ctx.Done():
				return fmt.Errorf("a visitor is not let go: %w", r.ctx.Err())
			}
		}
	}
	r.s.baseline = r.s.resources()
	return nil
}

// bystand lets the bystanders say a line each.
func (r *run) bystand() error {
	for _, c := range r.bystanders {
		if err := c.say(); err != nil {
			return fmt.Errorf("a bystander: %w", err)
		}
	}
	return nil
}

// inject makes the row's fault happen from now on: only on the file of that name, if it
// is not empty. Without a call in the fault nothing fails, and the calls of watch are
// written down.
func (r *run) inject(only string, watch ...string) (err error) {
	calls := programs.Calls{Watch: watch}
	if r.row.fault.call != "" {
		calls.Fail = []string{r.row.fault.String()}
	}
	if only != "" {
		calls.Paths = []string{only}
	}
	r.tr, err = programs.Attach(r.ctx, calls, r.s.processes()...)
	return err
}

// enough reports whether the row's fault has happened as often as it must.
func (r *run) enough() bool { return r.tr.Failed() >= r.row.fault.times() }

// repeat does step until the row's fault has happened as often as it must.
func (r *run) repeat(step func() error) error {
	for !r.enough() {
		if err := step(); err != nil {
			return err
		}
		if err := r.bystand(); err != nil {
			return err
		}
		if r.ctx.Err() != nil {
			return fmt.Errorf("the fault has come %d times, not %d", r.tr.Failed(), r.row.fault.times())
		}
	}
	return nil
}

// visit lets n clients come at once. Those that the fault may turn away are counted.
func (r *run) visit(n int) error {
	type result struct {
		c   *client
		err error
	}
	results := make(chan result)
	for range n {
		go func() {
			c, err := r.s.visit(r.ctx, r.row.network)
			results <- result{c, err}
		}()
	}
	var errs []error
	for range n {
		switch v := <-results; {
		case v.err == nil:
			r.talked = append(r.talked, v.c)
		case v.err == errEnded && v.c.got == 0 && r.row.fault.call == "epoll_ctl":
			r.unaccepted++ // accepted by the kernel, and then of no use to the server
		default:
			errs = append(errs, fmt.Errorf("a visitor: %w", v.err))
		}
	}
	return errors.Join(errs...)
}

// finish wants the server to be as good as before the faults, and ends it. strace stays
// until then: a call that it is about to fail when it leaves fails with ENOSYS.
func (r *run) finish() error {
	if err := r.tr.Await(r.ctx, max(r.row.fault.times(), r.unaccepted), programs.Injected); err != nil {
		return fmt.Errorf("%d clients were turned away: %w", r.unaccepted, err)
	}
	for served := len(r.talked); len(r.talked) == served; {
		if err := r.visit(1); err != nil {
			return fmt.Errorf("when the faults are over: %w", err)
		}
	}
	if r.row.fault.call == "epoll_ctl" && r.row.loops() { // each was served, and failed
		r.want.reason, r.want.cause, r.want.faults = "fault", r.row.fault.errno.Error(), r.unaccepted
	}
	for _, c := range r.bystanders {
		if err := errors.Join(c.say(), c.end()); err != nil {
			return fmt.Errorf("a bystander at the end: %w", err)
		}
		r.talked = append(r.talked, c)
	}
	if err := r.s.awaitBaseline(r.ctx); err != nil {
		return err
	}
	return r.stop()
}

// stop ends the server by a signal, under which the connections of open must come to
// their end, and judges what it has said.
func (r *run) stop(open ...*client) error {
	r.s.cmd.Process.Signal(unix.SIGTERM)
	for _, c := range open {
		if err := ended(c); err != nil {
			return fmt.Errorf("a client whose server stops: %w", err)
		}
	}
	status, err := r.s.awaitEnd(r.ctx)
	if err != nil {
		return err
	}
	if status != 0 {
		return fmt.Errorf("the server has ended with %v", r.s.cmd.ProcessState)
	}
	return errors.Join(r.want.judgeLog(r.s.stderr.String(), time.Since(r.s.began)), r.judgeBooks())
}

// ended wants c's connection to be at its end, by a FIN or a reset, with no more bytes.
func ended(c *client) error {
	defer c.conn.Close()
	if err := c.wantEnd(); err != io.EOF && !isEnd(err) {
		return err
	}
	return nil
}
