package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"yodel"
	"yodel/internal/await"
	"yodel/internal/lograte"
	"yodel/trace"
)

// DatagramConfig is what a user of Datagrams may set. The zero value, and nil, mean
// the documented defaults.
type DatagramConfig struct {
	// Service is the service's name in events, logs and statistics.
	Service string

	// Amplify lets answers be longer than their requests. Without it, an answer
	// that is longer than the request and than 18 bytes is not sent: whoever
	// forges the source address of a request could else make us send more to that
	// address than was sent to us. Peers on loopback are exempt.
	Amplify bool

	// Guard decides who is answered and how often. Datagrams that share a process
	// share a Guard. If nil, they have a Guard of their own with the defaults.
	Guard *Guard

	// Gate holds the addresses that are served and those that are not; the rest of
	// it is about connections. If nil, everyone is served.
	Gate *Gate

	// Sink takes an event for each datagram read, answered or refused, if it wants
	// each call; else those of at most ten datagrams a second. All events of one
	// socket have the socket's ConnID and its sums, and the last is a Note.
	Sink trace.Sink

	// Log takes what an operator must know: refusals, failures to send, panics; of
	// each kind at most one line a second. If nil, slog.Default().
	Log *slog.Logger

	// PoisonLent overwrites lent memory after each Reply. For tests: a service
	// that kept a piece of a request or an answer then holds junk.
	PoisonLent bool
}

func (c *DatagramConfig) log() *slog.Logger {
	if c.Log == nil {
		return slog.Default()
	}
	return c.Log
}

// Datagrams answers datagrams: it reads one, asks its service, and sends the answer
// from the address that was asked. There is one such loop for each socket, the same
// whatever engine serves the connections.
//
// Whom it does not answer is the Guard's: no server's port, no one that is many, no
// socket of this process, no one too often. What else is never answered: more than
// was asked, see DatagramConfig.Amplify. Each datagram is counted, in
// Stats.DatagramsOut or, by why, in Stats.Dropped.
//
// Where a datagram was sent to is known on Linux alone: other systems choose the
// answer's source address, which may be another one where the socket is bound to all
// addresses of a host that has several, and broadcasts are known there by their
// source only.
//
// Nothing a peer can do stops the loop: neither a panic of the service nor what
// comes back for an answer to a port that nobody listens on.
type Datagrams struct {
	svc   yodel.Replier
	cfg   DatagramConfig
	guard *Guard
	count Counters
	lines [numberOfReasons]lograte.Lines

	readFailures lograte.Lines

	stopping atomic.Bool
	stopped  chan struct{}

	mu    sync.Mutex
	socks map[*net.PacketConn]bool // by pointer: not every PacketConn can be a key
	loops sync.WaitGroup           // one for each Serve
}

// NewDatagrams returns Datagrams for svc. cfg may be nil.
func NewDatagrams(svc yodel.Replier, cfg *DatagramConfig) *Datagrams {
	if cfg == nil {
		cfg = &DatagramConfig{}
	}
	d := &Datagrams{
		svc: svc, cfg: *cfg, guard: cfg.Guard,
		stopped: make(chan struct{}), socks: make(map[*net.PacketConn]bool),
	}
	if d.guard == nil {
		d.guard = NewGuard(nil)
	}
	return d
}

// Stats returns the sums so far. It may be called at any time.
func (d *Datagrams) Stats() Stats { return d.count.Read() }

// Serve answers the datagrams of pc until Shutdown or Close; then it returns
// ErrClosed. It closes pc. Any other error means that pc can't be served: it wraps
// ErrUnfit if pc is no UDP socket, or is connected to one peer. Serve may be called
// for several sockets.
func (d *Datagrams) Serve(pc net.PacketConn) error {
	if !d.add(&pc) {
		pc.Close()
		return ErrClosed
	}
	defer d.remove(&pc)
	sock, err := newUDPSocket(pc)
	if err != nil {
		return err
	}
	d.guard.enter(sock.bound)
	defer d.guard.leave(sock.bound)
	l := newDatagramLoop(d, sock)
	defer l.finish()
	return l.run()
}

func (d *Datagrams) add(pc *net.PacketConn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping.Load() {
		return false
	}
	(*pc).SetReadDeadline(time.Time{}) // from here on it is ours
	d.socks[pc] = true
	d.loops.Add(1)
	return true
}

func (d *Datagrams) remove(pc *net.PacketConn) {
	(*pc).Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.socks, pc)
	d.loops.Done()
}

// stop makes each loop end when it has answered what it has read, and calls also
// for each socket. It is safe to call again.
func (d *Datagrams) stop(also func(net.PacketConn)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopping.Swap(true) {
		close(d.stopped)
	}
	for pc := range d.socks {
		also(*pc)
	}
}

// Shutdown stops reading, lets what was read be answered, and returns nil when all
// sockets are closed. If ctx ends first its error is returned.
func (d *Datagrams) Shutdown(ctx context.Context) error {
	d.stop(func(pc net.PacketConn) { pc.SetReadDeadline(time.Unix(1, 0)) })
	return await.Done(ctx, d.loops.Wait)
}

// Close closes all sockets at once and waits for the loops to end.
func (d *Datagrams) Close() error {
	d.stop(func(pc net.PacketConn) { pc.Close() })
	d.loops.Wait()
	return nil
}

// pause waits for d, or less if the loops are to end.
func (d *Datagrams) pause(wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.stopped:
	}
}

// readFailed is told of each failure to read that may pass.
func (d *Datagrams) readFailed(bound net.Addr, err error) {
	d.count.readErrors.Add(1)
	if n, ok := d.readFailures.Take(time.Now()); ok {
		d.cfg.log().Warn("reading a datagram failed; going on", "service", d.cfg.Service, "socket", bound, "error", err, "times", n)
	}
}

// dropped counts a datagram of peer that got no answer, and logs what an operator
// should know. err may be nil.
func (d *Datagrams) dropped(peer yodel.Peer, why Reason, err error, now time.Time) {
	d.count.dropped[why].Add(1)
	if why == Silent {
		return
	}
	n, ok := d.lines[why].Take(now)
	if !ok {
		return
	}
	log := d.cfg.log().With("service", d.cfg.Service, "peer", peer.String(), "why", why.String(), "times", n)
	var p *PanicError
	switch {
	case errors.As(err, &p):
		log.Error("handler panicked", "panic", p.Value, "stack", string(p.Stack))
	case err != nil:
		log.Warn("datagram not answered", "error", err)
	default:
		log.Warn("datagram not answered")
	}
}

// fatalRead completes an error that ends a loop.
func fatalRead(bound net.Addr, err error) error {
	return fmt.Errorf("read datagrams on %v: %w", bound, err)
}
