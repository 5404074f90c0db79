package loop

import (
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
