package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A verdict is what the server may have said by its end.
type verdict struct {
	failedAccepts bool   // on stderr: that accept fails, at most once a second
	status        string // on stderr: what the program says as it ends
	drained       bool   // connections may have been ended by the signal
	lossy         bool   // stdout itself was hit

	reason string // how the one connection ended that the fault hit; "" if there is none
	cause  string // its error
	faults int    // lines on stderr about that
}

// judgeLog returns what is wrong with what the server has said on stderr.
func (v verdict) judgeLog(log string, took time.Duration) error {
	accepts := make(map[string]int) // by listener: each has an engine of its own
	faults := 0
	var errs []error
	for line := range strings.Lines(log) {
		switch {
		case v.failedAccepts && strings.Contains(line, " WARN accept failed; "):
			accepts[listenerOf(line)]++
		case v.reason != "" && strings.Contains(line, " WARN connection failed ") && strings.Contains(line, v.cause):
			faults++
		case v.status != "" && strings.HasPrefix(line, "yodel: ") && strings.Contains(line, v.status):
		case strings.HasPrefix(line, "yodel: stopping; "):
		default:
			errs = append(errs, fmt.Errorf("stderr has the line %q", line))
		}
	}
	for listener, n := range accepts {
		if n > 1+int(took/time.Second) {
			errs = append(errs, fmt.Errorf("%d lines on failures of accept on %s in %v", n, listener, took))
		}
	}
	if faults != v.faults {
		errs = append(errs, fmt.Errorf("%d lines about the connection that failed, want %d", faults, v.faults))
	}
	return errors.Join(errs...)
}

func listenerOf(line string) string {
	_, rest, _ := strings.Cut(line, " listener=")
	listener, _, _ := strings.Cut(rest, " ")
	return listener
}

// An entry is one event of the server's.
type entry struct {
	Type, Conn, Text, Error string
	In, Out                 int64
}

// books are the server's events, counted.
type books struct {
	accepted map[string]bool
	closed   map[string]entry
	lost     int
	listens  int
}

func readBooks(lines []string) (*books, error) {
	b := &books{accepted: make(map[string]bool), closed: make(map[string]entry)}
	for _, line := range lines {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("stdout has %q: %w", line, err)
		}
		if err := b.add(e); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *books) add(e entry) error {
	switch e.Type {
	case "listening":
		b.listens++
	case "accept":
		if b.accepted[e.Conn] {
			return fmt.Errorf("%s was accepted twice", e.Conn)
		}
		b.accepted[e.Conn] = true
	case "close":
		if _, twice := b.closed[e.Conn]; twice {
			return fmt.Errorf("%s was closed twice", e.Conn)
		}
		b.closed[e.Conn] = e
	case "lost":
		b.lost++
	default:
		return fmt.Errorf("an event of type %s: %+v", e.Type, e)
	}
	return nil
}

// pairs returns an error unless each connection has one line at its beginning and one at
// its end.
func (b *books) pairs() error {
	for conn := range b.accepted {
		if _, ok := b.closed[conn]; !ok {
			return fmt.Errorf("%s was accepted and has no end", conn)
		}
	}
	for conn := range b.closed {
		if !b.accepted[conn] {
			return fmt.Errorf("%s was closed and has no beginning", conn)
		}
	}
	return nil
}

// judgeBooks returns what is wrong with the events that the server has written.
func (r *run) judgeBooks() error {
	lines, _ := r.s.out.since(0)
	b, err := readBooks(lines)
	if err != nil {
		return err
	}
	if r.want.lossy {
		return nil
	}
	if b.lost > 0 {
		return fmt.Errorf("%d lines of type lost", b.lost)
	}
	return errors.Join(b.pairs(), r.judgeEnds(b))
}

// judgeEnds compares the ends with what the clients have seen.
func (r *run) judgeEnds(b *books) error {
	var errs []error
	var in, out, sent, got int64
	hit := 0
	for _, e := range b.closed {
		switch {
		case e.Text == "closed by peer" && e.Error == "":
			in, out = in+e.In, out+e.Out
		case r.want.drained && e.Text == "drained at shutdown":
		case e.Text == r.want.reason && strings.Contains(e.Error, r.want.cause):
			hit++
		default:
			errs = append(errs, fmt.Errorf("a connection ended so: %+v", e))
		}
	}
	for _, c := range r.talked {
		sent, got = sent+c.sent, got+c.got
	}
	if in != sent || out != got {
		errs = append(errs, fmt.Errorf("the server has counted %d bytes in and %d out, its clients %d and %d", in, out, sent, got))
	}
	if hit > 0 != (r.want.reason != "") {
		errs = append(errs, fmt.Errorf("%d connections ended with %q, %q", hit, r.want.reason, r.want.cause))
	}
	return errors.Join(errs...)
}
