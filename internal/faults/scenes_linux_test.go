package faults

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest/programs"
)

// The scenes.
var (
	visits       = &scene{"visits", playVisits}
	outage       = &scene{"outage", playOutage}
	stopInOutage = &scene{"stop in outage", playStopInOutage}
	deaf         = &scene{"deaf listener", playDeaf}
	victim       = &scene{"victim", playVictim}
	halfClose    = &scene{"half-close", playHalfClose}
	pressed      = &scene{"pressed", playPressed}
	mute         = &scene{"mute", playMute}
	refusedStart = &scene{"refused start", playRefusedStart}
)

// playVisits lets clients come and go while calls fail that passing troubles fail: all
// are served.
func playVisits(r *run) error {
	if err := r.begin(); err != nil {
		return err
	}
	r.want.failedAccepts = r.row.fault.call == "accept4" || r.row.fault.call == "epoll_ctl" && !r.row.loops()
	if err := r.inject(""); err != nil {
		return err
	}
	err := r.repeat(func() error { return errors.Join(r.visit(1), r.visit(3)) })
	if err != nil {
		return err
	}
	return r.finish()
}

// playOutage fails every accept for a while: clients wait in the accept queue, those
// that are connected do not notice, and when it is over the waiting are served soon.
func playOutage(r *run) error {
	waiting, err := r.suffer()
	if err != nil {
		return err
	}
	r.tr.Detach()
	from := time.Now()
	for _, c := range waiting {
		if err := errors.Join(c.say(), c.end()); err != nil {
			return fmt.Errorf("a client that had waited: %w", err)
		}
		r.talked = append(r.talked, c)
	}
	if took := time.Since(from); took > 5*time.Second { // 100 ms on a machine at rest
		return fmt.Errorf("the waiting clients were served after %v", took)
	}
	return r.finish()
}

// suffer begins an outage of accept and returns clients that wait for its end.
func (r *run) suffer() (waiting []*client, err error) {
	if err := r.begin(); err != nil {
		return nil, err
	}
	r.want.failedAccepts = true
	if err := r.inject(""); err != nil {
		return nil, err
	}
	from := time.Now() // what is seen of the first failure may be seen late
	for range 3 {
		c, err := r.s.dial(r.ctx, r.row.network)
		if err != nil {
			return nil, err
		}
		waiting = append(waiting, c)
	}
	if err := r.tr.Await(r.ctx, 1, programs.Injected); err != nil {
		return nil, err
	}
	if err := errors.Join(r.bystand(), r.tr.Await(r.ctx, 6, programs.Injected), r.bystand()); err != nil {
		return nil, err
	}
	if took := time.Since(from); took < 50*time.Millisecond {
		return nil, fmt.Errorf("accept was called 6 times in %v: the server does not back off", took)
	}
	return waiting, nil
}

// playStopInOutage ends the server while no accept succeeds.
func playStopInOutage(r *run) error {
	waiting, err := r.suffer()
	if err != nil {
		return err
	}
	r.want.drained = true
	return r.stop(slices.Concat(r.bystanders, waiting)...)
}

// playDeaf fails accept with what says that the listening socket is none any more. The
// server can't serve: it says so and ends.
func playDeaf(r *run) error {
	if err := r.begin(); err != nil {
		return err
	}
	r.want = verdict{status: "accept", drained: true, reason: "cut at shutdown"}
	if err := r.inject(""); err != nil {
		return err
	}
	for !r.enough() && r.ctx.Err() == nil {
		r.s.visit(r.ctx, r.row.network)
	}
	status, err := r.s.awaitEnd(r.ctx)
	if err != nil {
		return err
	}
	for _, c := range r.bystanders {
		if err := ended(c); err != nil {
			return fmt.Errorf("a bystander: %w", err)
		}
	}
	said := r.s.stderr.String()
	if status != 1 || !strings.Contains(said, "accept on ") || !strings.Contains(said, r.row.fault.errno.Error()) {
		return fmt.Errorf("the server has ended with %v", r.s.cmd.ProcessState)
	}
	return nil
}

// reasons is how a connection ends on which a call fails so; others are faults.
var reasons = map[unix.Errno]string{
	unix.ECONNRESET: "reset by peer", unix.EPIPE: "reset by peer",
	unix.ETIMEDOUT: "peer vanished", unix.EHOSTUNREACH: "peer vanished", unix.ENETUNREACH: "peer vanished",
	unix.EHOSTDOWN: "peer vanished", unix.ENETDOWN: "peer vanished", unix.ENONET: "peer vanished", unix.EPROTO: "peer vanished",
}

// playVictim fails the calls of one connection. It ends, with the right reason, and
// nobody else's; or does not notice, if the call was only interrupted.
func playVictim(r *run) error {
	if err := r.begin(); err != nil {
		return err
	}
	c, file, err := r.tracked(&net.Dialer{})
	if err != nil {
		return err
	}
	if err := r.inject(file); err != nil {
		return err
	}
	if r.row.fault.errno == unix.EINTR {
		if err := r.repeat(c.say); err != nil {
			return err
		}
		r.talked = append(r.talked, c)
		return errors.Join(c.say(), c.end(), r.finish())
	}
	r.want.cause = r.row.fault.errno.Error()
	if r.want.reason = reasons[r.row.fault.errno]; r.want.reason == "" {
		r.want.reason, r.want.faults = "fault", 1
	}
	for err == nil {
		if err := r.bystand(); err != nil {
			return err
		}
		err = c.say()
	}
	if err == errEnded {
		err = ended(c)
	}
	if err != nil {
		return fmt.Errorf("the victim: %w", err)
	}
	return r.finish()
}

// tracked opens a connection on which a line has been said, and returns the file that
// the server's end of it is, as /proc shows it.
func (r *run) tracked(d *net.Dialer) (c *client, file string, err error) {
	before := r.s.sockets(r.row.network)
	if c, err = r.s.dialWith(r.ctx, d, r.row.network); err != nil {
		return nil, "", err
	}
	if err := c.say(); err != nil {
		return nil, "", err
	}
	for _, file := range r.s.sockets(r.row.network) {
		if !slices.Contains(before, file) {
			return c, file, nil
		}
	}
	return nil, "", errors.New("the server's end of a connection is not among its descriptors")
}

// playHalfClose fails the half-close of a connection at rest when the server is stopped,
// as if its peer had left just then.
func playHalfClose(r *run) error {
	if err := r.begin(); err != nil {
		return err
	}
	c, _, err := r.tracked(&net.Dialer{})
	if err != nil {
		return err
	}
	if err := r.inject(""); err != nil {
		return err
	}
	r.want.drained = true
	if err := r.stop(append(r.bystanders, c)...); err != nil {
		return err
	}
	return r.tr.Await(r.ctx, 1, programs.Injected)
}

// wroteSome matches a write of fewer bytes than were offered, or of none at all.
var wroteSome = regexp.MustCompile(`(?:write|sendto)\(\d+, .*?, (\d+)(?:, \w+, NULL, 0)?\) += (-1 EAGAIN|\d+)`)

func isShort(line string) bool {
	m := wroteSome.FindStringSubmatch(line)
	return m != nil && m[1] != m[2]
}

// playPressed has a peer that reads late and little, for the kernel to make real short
// writes, and interrupts calls meanwhile.
func playPressed(r *run) error {
	if err := r.begin(); err != nil {
		return err
	}
	c, file, err := r.tracked(&net.Dialer{Control: smallBuffer})
	if err != nil {
		return err
	}
	if err := r.inject(file, "write", "sendto"); err != nil {
		return err
	}
	if err := r.press(c); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	r.talked = append(r.talked, c)
	return r.finish()
}

// press sends much on c, and reads the answers only when the server has found that it
// can't write them all.
func (r *run) press(c *client) error {
	var asked bytes.Buffer
	for range 2000 {
		asked.Write(c.line(997))
	}
	sending := make(chan error, 1)
	go func() {
		n, err := c.conn.Write(asked.Bytes())
		c.sent += int64(n)
		sending <- err
	}()
	if err := r.tr.Await(r.ctx, 1, isShort); err != nil {
		return err
	}
	for answer := range slices.Chunk(c.turn(asked.Bytes()), 10_000) {
		if err := c.want(answer); err != nil {
			return err
		}
	}
	return <-sending
}

// smallBuffer is the control function of a dialler whose sockets take little.
func smallBuffer(_, _ string, raw syscall.RawConn) error {
	var err error
	ctlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
	return errors.Join(ctlErr, err)
}

// playMute fails the writing of events. Nobody who is served notices.
func playMute(r *run) error {
	if err := r.begin(); err != nil {
		return err
	}
	stdout, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/1", r.s.pid))
	if err != nil {
		return err
	}
	if err := r.inject(stdout); err != nil {
		return err
	}
	r.want.lossy = r.row.fault.errno != unix.EINTR
	r.want.status = "lost"
	if err := r.repeat(func() error { return r.visit(1) }); err != nil {
		return err
	}
	return r.finish()
}

// playRefusedStart fails a call that the server can't do without. It must say what was
// tried and what happened, and leave nothing behind.
func playRefusedStart(r *run) error {
	calls := r.t.TempDir() + "/calls"
	strace := []string{
		"strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", "signal=none", "-o", calls,
		"-e", "trace=" + r.row.fault.call, "-e", "inject=" + r.row.fault.String(),
	}
	var err error
	if r.s, err = start(r.t, launch{prefix: strace, engine: r.row.engine, networks: []string{r.row.network}}); err != nil {
		return err
	}
	if r.s.awaitListening(r.ctx) == nil {
		return errors.New("it serves all the same")
	}
	status, err := r.s.awaitEnd(r.ctx)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(calls)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), "(INJECTED)") {
		return fmt.Errorf("%s was not called", r.row.fault.call)
	}
	return r.judgeRefusal(status)
}

func (r *run) judgeRefusal(status int) error {
	said := r.s.stderr.String()
	lines, _ := r.s.out.since(0)
	_, statErr := os.Lstat(r.s.path)
	switch {
	case status != 1:
		return fmt.Errorf("the server has ended with %v, want exit status 1", r.s.cmd.ProcessState)
	case len(lines) > 0:
		return errors.New("it has said that it listens")
	case !strings.HasPrefix(said, "yodel: listen on ") || strings.Count(said, "\n") != 1:
		return errors.New("it has not said, in one line, what was tried")
	case !strings.Contains(said, ": "+r.row.fault.call+": "):
		return fmt.Errorf("it has not said that %s failed", r.row.fault.call)
	case r.row.fault.call != "getsockname" && !strings.Contains(said, r.row.fault.errno.Error()): // package net keeps that to itself
		return fmt.Errorf("it has not said %q", r.row.fault.errno)
	case statErr == nil:
		return fmt.Errorf("%s is left over", r.s.path)
	}
	return nil
}
