package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"yodel/engine"
	"yodel/internal/escape"
	"yodel/trace"
)

// The descriptors of a child.
const (
	socketFD  = 3
	controlFD = 4
)

// mark is the environment variable that makes a process a child.
const mark = "YODEL_PROCESS_CHILD"

// Make returns the service that a name, Config.Service, and the Settings of Options
// stand for.
type Make func(name string, settings []byte) (svc any, err error)

// Main serves and exits if this process is a child of an Engine; else it does nothing.
// A program that uses the engine calls it before all else.
func Main(make Make) {
	if os.Getenv(mark) == "" {
		return
	}
	os.Unsetenv(mark)
	keepFromChildren(socketFD, controlFD)
	control := os.NewFile(controlFD, "control")
	r := &reporter{to: json.NewEncoder(control)}
	if err := beChild(make, control, r); err != nil {
		r.send(report{Log: &logLine{
			Level: slog.LevelWarn, Message: "a child could not serve", Attrs: []string{"error", escape.String(err.Error())},
		}})
		os.Exit(1)
	}
	os.Exit(0)
}

// beChild serves the one connection.
func beChild(make Make, control *os.File, r *reporter) error {
	socket := os.NewFile(socketFD, "socket")
	nc, err := connOf(socket)
	if err != nil {
		return err
	}
	socket.Close()
	words := bufio.NewReader(control)
	line, err := words.ReadBytes('\n')
	if err != nil {
		return nil // the parent is gone
	}
	o, err := decode[order](line)
	if err != nil {
		return err
	}
	svc, err := make(o.Service, o.Settings)
	if err != nil {
		return err
	}
	cfg, err := o.config()
	if err != nil {
		return err
	}
	r.order = &o
	cfg.Sink, cfg.Log = r.sink(), slog.New(r)
	return serveOne(&named{nc, &o}, svc, cfg, words, r)
}

// named is the connection under the name, and with the client, that the parent has
// found.
type named struct {
	net.Conn
	order *order
}

// ID returns the connection's name.
func (n *named) ID() trace.ConnID { return n.order.ID }

// RemoteAddr returns the client's address.
func (n *named) RemoteAddr() net.Addr {
	if !n.order.Remote.IsValid() {
		return n.Conn.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(n.order.Remote)
}

// LocalAddr returns the address that the client called.
func (n *named) LocalAddr() net.Addr {
	if !n.order.Local.IsValid() {
		return n.Conn.LocalAddr()
	}
	return net.TCPAddrFromAddrPort(n.order.Local)
}

// NetConn returns the connection itself.
func (n *named) NetConn() net.Conn { return n.Conn }

// CloseWrite ends our direction. Both kinds of sockets that a child gets have it.
func (n *named) CloseWrite() error { return n.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// serveOne serves nc with an engine of its own, and obeys what the parent says.
func serveOne(nc net.Conn, svc any, cfg *engine.Config, words *bufio.Reader, r *reporter) error {
	var eng *engine.Blocking
	eng, err := engine.NewBlocking(svc, cfg, func(serve func()) {
		go obey(eng, words) // not before: what is refused has no last event
		serve()
	})
	if err != nil {
		return err
	}
	stopReports := r.every(reportTime, eng)
	err = eng.Serve(engine.Single(nc))
	eng.Close()
	stopReports()
	if errors.Is(err, engine.ErrClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// reportTime is how often a child reports its sums while they change.
const reportTime = 250 * time.Millisecond

// obey does what the parent says. If the parent is gone, so is the child.
func obey(eng *engine.Blocking, words *bufio.Reader) {
	for {
		word, err := words.ReadString('\n')
		switch {
		case err != nil, word == wordCut+"\n":
			eng.Close()
			return
		case word == wordDrain+"\n":
			go eng.Shutdown(context.Background()) // Close ends it
		}
	}
}

// reporter sends what happens in the child to the parent. It is the child's sink and
// its log.
type reporter struct {
	order *order

	mu   sync.Mutex
	to   *json.Encoder
	sent engine.Stats
}

func (r *reporter) send(rep report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to.Encode(rep) // fails if the parent is gone: then so are we
}

// sink returns a sink that sends the last event, that of a handshake, and all others
// if they are wanted, but for the first: the parent has said who was accepted.
func (r *reporter) sink() trace.Sink {
	var s trace.Sink = trace.Func(func(e *trace.Event) {
		if e.Op == trace.Close || e.Op == trace.Handshake || r.order.Events && e.Op != trace.Accept {
			r.send(report{Event: toWire(e)})
		}
	})
	if r.order.EachCall {
		s = trace.EachCall(s)
	}
	return s
}

// every reports the sums of eng each time d has passed, if they have changed, and for
// the last time when the returned function is called.
func (r *reporter) every(d time.Duration, eng *engine.Blocking) (stop func()) {
	t := time.NewTicker(d)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-t.C:
				r.sums(eng.Stats())
			case <-done:
				return
			}
		}
	}()
	return func() {
		t.Stop()
		close(done)
		<-ended
		r.sums(eng.Stats())
	}
}

func (r *reporter) sums(s engine.Stats) {
	if s.Active == r.sent.Active && s.BytesIn == r.sent.BytesIn && s.BytesOut == r.sent.BytesOut && len(s.Ended) == len(r.sent.Ended) {
		return
	}
	r.sent = s
	r.send(report{Stats: &s})
}

// Enabled implements slog.Handler.
func (r *reporter) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (r *reporter) Handle(_ context.Context, rec slog.Record) error {
	l := &logLine{Level: rec.Level, Message: rec.Message}
	rec.Attrs(func(a slog.Attr) bool {
		l.Attrs = append(l.Attrs, a.Key, a.Value.String())
		return true
	})
	r.send(report{Log: l})
	return nil
}

// WithAttrs implements slog.Handler. The engine does not use it.
func (r *reporter) WithAttrs([]slog.Attr) slog.Handler { return r }

// WithGroup implements slog.Handler. The engine does not use it.
func (r *reporter) WithGroup(string) slog.Handler { return r }
