package loop

import (
	"syscall"
	"testing"
	"time"
)

// A loop apart tells of descriptors, timers, posts and what is to be told again, whether
// it waits for long or not.
func TestApart(t *testing.T) {
	t.Parallel()
	l, err := NewApart()
	if err != nil {
		t.Fatal(err)
	}
	a, b := pair(t)
	t.Cleanup(func() { Close(b) })
	if err := l.Add(a, 7, Readable|Edge); err != nil {
		t.Fatal(err)
	}
	ready, due, again, over := make(chan int32, 1), make(chan int32, 1), make(chan bool, 1), make(chan bool)
	h := &recorder{
		ready: func(key int32, e Events) {
			if e == 0 {
				again <- true
				return
			}
			ready <- key
		},
		due: func(t *Timer) { due <- t.Key },
	}
	go func() {
		l.RunApart(h)
		close(over)
	}()
	timer := &Timer{Key: 9}
	l.Post(func() { l.Start(timer, time.Now().Add(20*time.Millisecond)) }) // longer than a wait that nobody knows of
	if key := within(t, "a timer", due); key != 9 {
		t.Errorf("timer %d", key)
	}
	Send(b, []byte("x"))
	if key := within(t, "a byte", ready); key != 7 {
		t.Errorf("key %d", key)
	}
	l.Post(func() { l.Again(7) })
	within(t, "once more", again)
	l.Post(l.Stop)
	within(t, "the loop stops", over)
	l.Post(func() { t.Error("a loop that has stopped made a call") })
}

// A ring apart does the same, and tells what is sent, received, and can be written to.
func TestRingApart(t *testing.T) {
	t.Parallel()
	l := newRingLoop(t)
	a, b := pair(t)
	t.Cleanup(func() { Close(a); Close(b) })
	ready, due, sent, over := make(chan int32, 1), make(chan int32, 1), make(chan int, 1), make(chan bool)
	received := make(chan string, 4)
	h := &ringRecorder{
		ready:    func(key int32) { ready <- key },
		awaited:  func(key int32) { ready <- key },
		due:      func(t *Timer) { due <- t.Key },
		sent:     func(_ int32, n int, _ syscall.Errno) { sent <- n },
		received: func(_ int32, p []byte, _ syscall.Errno, _ bool) { received <- string(p) },
	}
	go func() {
		l.RunApart(h)
		close(over)
	}()
	timer := &Timer{Key: 9}
	l.Post(func() { l.Start(timer, time.Now().Add(30*time.Millisecond)) }) // longer than all short waits
	if key := within(t, "a timer", due); key != 9 {
		t.Errorf("timer %d", key)
	}
	l.Post(func() { l.AwaitWritable(a, 7) })
	if key := within(t, "room", ready); key != 7 {
		t.Errorf("key %d", key)
	}
	l.Post(func() {
		l.Receive(a, 7)
		l.Send(a, 7, []byte("there"))
	})
	if n := within(t, "what was sent", sent); n != 5 {
		t.Errorf("%d bytes were sent", n)
	}
	Send(b, []byte("back"))
	if p := within(t, "what was received", received); p != "back" {
		t.Errorf("%q came", p)
	}
	l.Post(func() { l.Again(8) })
	if key := within(t, "once more", ready); key != 8 {
		t.Errorf("key %d", key)
	}
	l.Post(l.Stop)
	within(t, "the loop stops", over)
}
