package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"yodel/sock"
	"yodel/trace"
)

// serveLogs are where the events of a server go: to the output, a line for who comes
// and how it ended, and all of them to the trace file.
type serveLogs struct {
	sink    trace.Sink // of connections
	file    *traceFile
	closers []func() error // in the order in which they are called
}

// traceFile is the file of --trace. A nil traceFile takes nothing.
type traceFile struct {
	file  *os.File
	lines *trace.Writer
}

func createTrace(path string) (*traceFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--trace: %w", err)
	}
	return &traceFile{f, trace.NewWriter(f)}, nil
}

// events returns the sink that takes every event; nil for a nil traceFile.
func (t *traceFile) events(eachCall bool) trace.Sink {
	switch {
	case t == nil:
		return nil
	case eachCall:
		return trace.EachCall(t.lines)
	}
	return t.lines
}

func (t *traceFile) close() error {
	if t == nil {
		return nil
	}
	return errors.Join(t.lines.Close(), t.file.Close())
}

// openLogs opens what f asks for.
func openLogs(io std, f *serveFlags) (*serveLogs, error) {
	l := &serveLogs{}
	out := l.output(io.out, f.json)
	if f.trace != "" {
		var err error
		if l.file, err = createTrace(f.trace); err != nil {
			return nil, err
		}
		l.closers = append(l.closers, l.file.close)
	}
	kept := openRecorder(f.noRecord)
	l.closers = append(l.closers, kept.close)
	l.sink = trace.Tee(out, l.file.events(f.eachCall), kept.sink())
	if f.names {
		n := &trace.Namer{Next: l.sink, Lookup: confirmedName(&sock.Resolver{})}
		l.sink = n
		l.closers = append([]func() error{n.Close}, l.closers...)
	}
	return l, nil
}

// output returns the sink that shows a connection's coming and going on w.
func (l *serveLogs) output(w io.Writer, json bool) trace.Sink {
	if !json {
		log := trace.NewLog(w)
		l.closers = append(l.closers, log.Close)
		return log
	}
	lines := trace.NewLines(w)
	l.closers = append(l.closers, lines.Close)
	return trace.Func(func(e *trace.Event) {
		switch e.Op {
		case trace.Accept, trace.Refuse, trace.Close, trace.Note:
			lines.Emit(e)
		}
	})
}

func (l *serveLogs) close() error {
	var errs []error
	for _, c := range l.closers {
		errs = append(errs, c())
	}
	l.closers = nil
	return errors.Join(errs...)
}

// confirmedName returns names that lead back to their address, and no others: what a
// stranger claims is not shown as if it were so.
func confirmedName(r *sock.Resolver) func(context.Context, netip.Addr) string {
	return func(ctx context.Context, addr netip.Addr) string {
		if n := r.Reverse(ctx, addr); n.Confirmed {
			return n.Name
		}
		return ""
	}
}
