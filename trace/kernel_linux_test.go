//go:build !386 && !s390x

package trace_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"yodel/trace"
)

// A connection that waits in the accept queue is accepted with the time it has waited;
// one for which a program waits, without.
func TestListenerTellsTheAcceptQueue(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	events := newRecorder()
	l := trace.Listener(inner, events)

	began := time.Now()
	c, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	connected := time.Now()
	<-time.After(150 * time.Millisecond)
	least := time.Since(connected)
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	most := time.Since(began)
	const tick = 10 * time.Millisecond // of the slowest kernel
	e := events.wait(t, trace.Accept)
	if e.Queued < least-tick || e.Queued > most+tick {
		t.Errorf("it waited between %v and %v, and the kernel says %v", least, most, e.Queued)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s.Read(make([]byte, 1))
	s.Write([]byte("y"))
	c.Read(make([]byte, 1))
	s.Close()
	if sum := events.wait(t, trace.Close).TCP; sum == nil || sum.RTT <= 0 || sum.MinRTT <= 0 || sum.Resent != 0 {
		t.Errorf("at the end the kernel knew %+v", sum)
	}
}

// A queue that is full lets nobody in; each one that comes out of it says how long it
// was in it.
func TestFullAcceptQueue(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	shorten(t, inner)
	events := newRecorder()
	l := trace.Listener(inner, events)

	arrived := make(chan time.Time, 3)
	for range 3 { // a backlog of 1 holds 2: the third is let in when there is room
		go func() {
			c, err := net.DialTimeout("tcp", inner.Addr().String(), 20*time.Second)
			arrived <- time.Now()
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { c.Close() })
		}()
	}
	<-arrived
	last := <-arrived
	<-time.After(200 * time.Millisecond)
	least := time.Since(last)
	for range 2 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for _, e := range events.all() {
		if e.Op == trace.Accept && e.Queued < least-20*time.Millisecond {
			t.Errorf("it was in the queue for %v at least, and the kernel says %v", least, e.Queued)
		}
	}
	third, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	<-arrived
}

// shorten makes a listener's queue one that holds two connections.
func shorten(t *testing.T, l net.Listener) {
	t.Helper()
	raw, err := l.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 1) })
	if err != nil {
		t.Fatal(err)
	}
}
