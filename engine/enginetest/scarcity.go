package enginetest

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// tryFlood: when descriptors have run out, those who are served do not notice, the
// others wait in the accept queue and are served when there is room again, and waiting
// costs next to nothing.
func tryFlood(k *kit, t *testing.T) {
	const limit, crowd = 40, 100
	p := k.start(t, "echo")
	p.tell(order{Limit: limit})
	live := p.dial()
	live.ask("before the flood", "x", "x")
	answered := make(chan *client, crowd)
	for range crowd {
		c := p.dial()
		go func() {
			if err := c.say("hi", "hi"); err != nil {
				t.Errorf("a client who waits: %v", err)
			}
			answered <- c
		}()
	}
	during := p.wantCheap()
	live.ask("during the flood", "y", "y")
	served := int(during.Stats.Active) - 1
	if served < 1 || served > limit {
		t.Errorf("%d of %d are served with %d descriptors", served, crowd, limit)
	}
	for range served {
		(<-answered).Close()
	}
	left := time.Now()
	for range crowd - served {
		(<-answered).Close()
	}
	t.Logf("%d waited, and were served in %v once there was room", crowd-served, time.Since(left))
	live.ask("after the flood", "z", "z")
}

// wantCheap lets accept fail twenty times, and checks that a server which waits for
// descriptors costs less than 5 % of a processor (under the race detector, 20 %) and a line in the log each second.
func (p *process) wantCheap() report {
	p.t.Helper()
	before := p.tell(order{AcceptErrors: 1})
	from := time.Now()
	after := p.tell(order{AcceptErrors: 21})
	took, cpu := time.Since(from), after.CPU-before.CPU
	p.t.Logf("%d accept errors in %v: %v of a processor", after.Stats.AcceptErrors, took, cpu)
	most := took / 20
	if raceDetector {
		most = took / 5
	}
	if after.Stats.AcceptErrors < 21 || cpu > most {
		p.t.Errorf("%d accept errors, %v of a processor in %v", after.Stats.AcceptErrors, cpu, took)
	}
	if n := strings.Count(after.Log, "accept failed"); n < 1 || n > 2+int(took.Seconds()) {
		p.t.Errorf("in %v was logged:\n%s", took, after.Log)
	}
	return after
}

// tryNoDescriptors: the same where something else than connections has taken all
// descriptors; once they are free again, accepting goes on within 100 ms.
func tryNoDescriptors(k *kit, t *testing.T) {
	p := k.start(t, "echo")
	if r := p.tell(order{Limit: 40, Hog: true}); r.Opened == 0 {
		t.Fatal("nothing was opened")
	}
	c := p.dial()
	c.send("x")
	p.wantCheap()
	p.tell(order{Release: true})
	free := time.Now()
	c.want("there is room again", "x")
	d := time.Since(free)
	t.Logf("accepted %v after there was room", d)
	if d > 100*time.Millisecond+slack {
		t.Errorf("it took %v", d)
	}
}

// slack is what a busy machine may add.
const slack = 2 * time.Second

// tryEndlessLine: a line without an end passes through in pieces, and memory does not
// grow.
func tryEndlessLine(k *kit, t *testing.T) {
	size := 1 << 30
	if raceDetector || testing.Short() {
		size = 32 << 20
	}
	for _, service := range []string{"echo", "upper"} {
		if k.traits.EchoOnly && service != "echo" {
			return
		}
		p := k.start(t, service)
		c := p.dial()
		const first = 8 << 20
		p.endless(c, first) // buffers have grown to what they will be
		p.tell(order{BytesOut: first})
		before := p.tell(order{})
		p.endless(c, size)
		after := p.tell(order{BytesOut: first + size})
		t.Logf("%s: %d MiB took %d KiB of heap, %d KiB of the system, %d KiB at most", service, size>>20,
			(after.Heap-before.Heap)>>10, (after.Sys-before.Sys)>>10, (after.Peak-before.Peak)>>10)
		const most, arena = 1 << 20, 4 << 20 // what the Go runtime takes of the system at a time
		if after.Heap-before.Heap > most || after.Sys-before.Sys > most+arena || !raceDetector && after.Peak-before.Peak > most {
			t.Errorf("%s: memory has grown: before %+v, after %+v", service, before, after)
		}
		if n := after.Stats.BytesOut; n != int64(first+size) {
			t.Errorf("%s: %d bytes came back", service, n)
		}
	}
	p := k.start(t, "dialogue")
	c := p.dial()
	c.ask("commands before it are answered", "say 3\nhello you\n", "220 hello\n\x00\x01\x02250 hello you\n")
	before := p.tell(order{})
	if err := c.repeat("A", size/4); err != nil {
		t.Fatal(err)
	}
	c.ask("it is refused once", "\nquit\n", "500 line too long\n221 bye you\n")
	if after := p.tell(order{}); after.Heap-before.Heap > 1<<20 || after.Sys-before.Sys > 1<<20+4<<20 {
		t.Errorf("dialogue: memory has grown: before %+v, after %+v", before, after)
	}
}

// repeat sends n bytes that are all the same.
func (c *client) repeat(char string, n int) error {
	c.SetDeadline(time.Now().Add(2 * patience))
	piece := bytes.Repeat([]byte(char), 64<<10)
	for at := 0; at < n; at += len(piece) {
		if _, err := c.Write(piece); err != nil {
			return fmt.Errorf("after %d bytes: %w", at, err)
		}
	}
	return nil
}

// endless sends n bytes without a newline and reads them back.
func (p *process) endless(c *client, n int) {
	p.t.Helper()
	sent := make(chan error, 1)
	go func() { sent <- c.repeat("A", n) }()
	piece := bytes.Repeat([]byte("A"), 64<<10)
	got := make([]byte, len(piece))
	for at := 0; at < n; at += len(got) {
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, piece) {
			p.t.Fatalf("after %d bytes: %v", at, err)
		}
	}
	if err := <-sent; err != nil {
		p.t.Fatal(err)
	}
}

// heap returns how many bytes are reached, and how many the runtime has of the system.
func heap() (reached, sys int) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc), int(m.Sys)
}
