package engine

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// serveDoor lets a service accept for itself, from a listener that hands out only
// what the engine has admitted.
func (b *Blocking) serveDoor(s ListenerServer, l net.Listener) error {
	d := &doorListener{b: b, l: l, ready: make(chan net.Conn), done: make(chan struct{})}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		d.feed()
	}()
	err := s.Serve(d)
	d.Close()
	<-fed
	switch {
	case b.stopping.Load():
		return ErrClosed
	case d.err != nil:
		return d.err
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
	done  chan struct{} // closed by end
	err   error         // set before that: why accepting failed; nil if Close ended it
}

func (d *doorListener) end(err error) {
	d.once.Do(func() {
		d.err = err
		close(d.done)
	})
}

// feed admits connections and offers them to Accept, on the goroutine that the
// engine chooses for each, until the listener is closed.
func (d *doorListener) feed() {
	for {
		c, err := d.b.next(d.l)
		if err != nil {
			d.end(err)
			return
		}
		d.b.run(func() { d.offer(c) })
	}
}

// offer hands c out and returns when it is closed.
func (d *doorListener) offer(c *conn) {
	b := d.b
	if !b.introduce(c) {
		return
	}
	closed := make(chan struct{})
	dc := b.newDoorConn(c, func() { close(closed) })
	go dc.watch(closed)
	nc, err := b.secure(c, dc)
	if err != nil {
		dc.set(b.handshakeReason(err))
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

// Close implements net.Listener. The engine may have closed the listener below.
func (d *doorListener) Close() error {
	d.end(nil)
	if err := d.l.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Addr implements net.Listener.
func (d *doorListener) Addr() net.Addr { return d.l.Addr() }
