package engine

import (
	"context"
	"net"
	"sync"
	"time"
)

// serveDoor lets a service accept for itself, from a listener that hands out only
// what the engine has admitted.
func (b *Blocking) serveDoor(s ListenerServer, l net.Listener) error {
	d := &doorListener{b: b, l: l, ready: make(chan net.Conn), done: make(chan struct{})}
	failed := make(chan error, 1)
	b.handlers.Add(1) // serveDoor's own Serve holds one, so this is never from zero
	go func() {
		defer b.handlers.Done()
		failed <- d.feed()
	}()
	err := s.Serve(d)
	d.Close()
	if feedErr := <-failed; feedErr != ErrClosed {
		return feedErr
	}
	if b.stopping.Load() {
		return ErrClosed
	}
	return err
}

// ownShutdown reports whether the service knows how to end its connections.
func (b *Blocking) ownShutdown() bool {
	_, ok := b.svc.(interface{ Shutdown(context.Context) error })
	return ok
}

// doorListener is the listener that a ListenerServer is given.
type doorListener struct {
	b     *Blocking
	l     net.Listener
	ready chan net.Conn
	once  sync.Once
	done  chan struct{} // closed by Close
}

// feed admits connections and offers them to Accept, on the goroutine that the
// engine chooses for each, until the listener is closed.
func (d *doorListener) feed() error {
	for {
		c, err := d.b.next(d.l)
		if err != nil {
			d.once.Do(func() { close(d.done) })
			return err
		}
		d.b.run(func() { d.offer(c) })
	}
}

// offer hands c out and returns when it is closed.
func (d *doorListener) offer(c *conn) {
	b := d.b
	closed := make(chan struct{})
	dc := b.newDoorConn(c, func() { close(closed) })
	go dc.watch(closed)
	nc, err := b.secure(c, dc)
	if err != nil {
		dc.note(handshakeReason(err))
		dc.Close()
	} else {
		select {
		case d.ready <- nc:
		case <-d.done:
			dc.note(Cut)
			dc.Close()
		}
	}
	<-closed
	e := dc.last()
	e.Err, e.Time = err, time.Now()
	b.finish(c, e)
}

// Accept implements net.Listener.
func (d *doorListener) Accept() (net.Conn, error) {
	select {
	case nc := <-d.ready:
		return nc, nil
	case <-d.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (d *doorListener) Close() error {
	d.once.Do(func() { close(d.done) })
	return d.l.Close()
}

// Addr implements net.Listener.
func (d *doorListener) Addr() net.Addr { return d.l.Addr() }
