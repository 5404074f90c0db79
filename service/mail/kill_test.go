package mail

import (
	"bufio"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"yodel/service/mail/spool"
)

var kills = flag.Int("kills", 6, "how often TestKill kills a server, for each format")

// D4: a server is killed at random moments while four senders send. Every message that
// got its 250 is there, once and whole, and nothing half is.
func TestKill(t *testing.T) {
	for _, f := range []spool.Format{spool.Mbox, spool.Maildir} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			dir := fastDir(t)
			r := &ledger{promised: make(map[string][]string)}
			n := *kills
			if testing.Short() {
				n = min(n, 3)
			}
			for range n {
				c := startChild(t, childConfig{dir, f})
				r.killWhileSending(c)
			}
			startChild(t, childConfig{Dir: dir}).end()
			r.check(t, dir)
		})
	}
}

// A ledger is what senders were promised.
type ledger struct {
	mu       sync.Mutex
	serial   int
	promised map[string][]string // mailboxes, by the name of the message
}

// killWhileSending kills c after a number of promises and a moment more.
func (r *ledger) killWhileSending(c *child) {
	const senders = 4
	promises, gone := make(chan bool), make(chan bool)
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for r.send(c, promises) {
			}
		})
	}
	go func() {
		all.Wait()
		close(gone)
	}()
	late := time.NewTimer(time.Hour)
	killed := false
	for promised, enough := 0, 1+rand.IntN(30); ; {
		select {
		case <-promises:
			if promised++; promised == enough {
				late.Reset(time.Duration(rand.IntN(3000)) * time.Microsecond)
			}
		case <-late.C:
			killed = true
			c.kill()
		case <-gone:
			if !killed {
				c.t.Errorf("after %d promises the senders have no server", promised)
				c.kill()
			}
			return
		}
	}
}

// send sends a few messages on one connection, and reports whether all were taken.
func (r *ledger) send(c *child, promises chan<- bool) bool {
	nc, err := net.DialTimeout("tcp", c.addr, patience)
	if err != nil {
		return false
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(nc)
	io.WriteString(nc, "EHLO x\r\n")
	for range 3 {
		id, text, boxes := r.next()
		var to string
		for _, box := range boxes {
			to += "RCPT TO:<" + box + "@example.org>\r\n"
		}
		io.WriteString(nc, "MAIL FROM:<"+id+"@example.net>\r\n"+to+"DATA\r\n"+text+".\r\n")
		if !stored(c.t, in) {
			return false
		}
		r.mu.Lock()
		r.promised[id] = boxes
		r.mu.Unlock()
		promises <- true
	}
	return true
}

// stored reads replies up to the one that promises the message.
func stored(t testing.TB, in *bufio.Reader) bool {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if strings.HasPrefix(line, "4") || strings.HasPrefix(line, "5") {
			t.Errorf("a message was not taken: %s", line)
			return false
		}
		if strings.HasPrefix(line, "250 2.0.0 stored") {
			return true
		}
	}
}

// next makes a message up, which says how it can be checked.
func (r *ledger) next() (id, text string, boxes []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serial++
	id = fmt.Sprint("m", r.serial)
	var body strings.Builder
	for body.Len() < rand.IntN(6000)+rand.IntN(10)/9*60_000 {
		body.WriteString([]string{"From here\n", ">From there\n", "\n", ".dot\n", strings.Repeat("x", rand.IntN(900)) + "\n"}[rand.IntN(5)])
	}
	boxes = [][]string{{"alice"}, {"bob"}, {"bob", "alice"}, {"alice", "carol", "bob"}}[rand.IntN(4)]
	text = fmt.Sprintf("X-Name: %s\n%s\n", id, body.String())
	text = fmt.Sprintf("X-Sum: %08x %d\n%s", crc32.ChecksumIEEE([]byte(text)), len(text), text)
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\n.", "\n.."), "\n", "\r\n")
	return id, text, boxes
}

var summed = regexp.MustCompile(`^X-Sum: ([0-9a-f]{8}) ([0-9]+)\n(X-Name: (m[0-9]+)\n)`)

// check compares what was promised with what is there.
func (r *ledger) check(t *testing.T, dir string) {
	t.Helper()
	s := &Server{cfg: Config{Dir: dir}}
	there := make(map[string]map[string]int)
	messages := 0
	for _, box := range []string{"alice", "bob", "carol"} {
		there[box] = make(map[string]int)
		for _, m := range mailbox(t, s, box) {
			messages++
			p := summed.FindStringSubmatch(m)
			if p == nil {
				t.Errorf("%s has what was never sent: %.100q", box, m)
				continue
			}
			text := m[strings.Index(m, "\n")+1:]
			if fmt.Sprintf("%08x %d", crc32.ChecksumIEEE([]byte(text)), len(text)) != p[1]+" "+p[2] {
				t.Errorf("message %s in %s is torn: %d bytes, not %s", p[4], box, len(text), p[2])
			}
			there[box][p[4]]++
			if there[box][p[4]] > 1 {
				t.Errorf("message %s is in %s twice", p[4], box)
			}
		}
	}
	for id, boxes := range r.promised {
		for _, box := range boxes {
			if there[box][id] == 0 {
				t.Errorf("message %s was promised, and is not in %s", id, box)
			}
		}
	}
	t.Logf("%d kills, %d messages promised, %d found", *kills, len(r.promised), messages)
}
