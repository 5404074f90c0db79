package enginetest

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"yodel/engine"
	"yodel/trace"
)

// patience is how long anything may take that must happen, on a machine that has much
// else to do. No row waits for it to pass, unless it fails.
const patience = 60 * time.Second

// events is a Sink that keeps what it is told.
type events struct {
	fewer    bool          // only the first read and write of a connection are wanted
	patience time.Duration // how long await waits; 0: patience

	mu   sync.Mutex
	list []trace.Event
	news chan struct{} // closed at the next event
}

// EachCall makes engines tell of each read and write.
func (r *events) EachCall() bool { return !r.fewer }

// Emit implements trace.Sink.
func (r *events) Emit(e *trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, *e)
	if r.news != nil {
		close(r.news)
		r.news = nil
	}
}

// look returns all events so far, and a channel that is closed at the next one.
func (r *events) look() ([]trace.Event, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.news == nil {
		r.news = make(chan struct{})
	}
	return r.list[:len(r.list):len(r.list)], r.news
}

// await waits until cond holds of the events so far.
func (r *events) await(t testing.TB, why string, cond func([]trace.Event) bool) {
	t.Helper()
	late := time.NewTimer(cmp.Or(r.patience, patience))
	defer late.Stop()
	for {
		list, news := r.look()
		if cond(list) {
			return
		}
		select {
		case <-news:
		case <-late.C:
			t.Fatalf("%s: that has not happened; the events are:\n%s", why, describe(list))
		}
	}
}

func describe(list []trace.Event) string {
	var b strings.Builder
	for _, e := range list[max(0, len(list)-20):] {
		fmt.Fprintf(&b, "%v %s bytes=%d in=%d out=%d %q %v\n", e.Conn, e.Op, e.Bytes, e.In, e.Out, e.Text, e.Err)
	}
	return b.String()
}

// count returns how many of list are op with that text; "" is any.
func count(list []trace.Event, op trace.Op, text string) (n int) {
	for _, e := range list {
		if e.Op == op && (text == "" || e.Text == text) {
			n++
		}
	}
	return n
}

// logs takes the log of an engine, as lines of JSON: unlike slog's text, they show
// whether what comes from a peer was made safe before.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// text returns what was logged so far.
func (l *logs) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// audit checks the books of an engine that is closed.
func audit(t testing.TB, list []trace.Event, s engine.Stats) {
	t.Helper()
	byConn := make(map[trace.ConnID][]trace.Event)
	for _, e := range list {
		byConn[e.Conn] = append(byConn[e.Conn], e)
	}
	var in, out, refused int64
	ended := make(map[string]int64)
	for _, life := range byConn {
		last := life[len(life)-1]
		if last.Op == trace.Refuse && len(life) == 1 {
			refused++
		} else if err := checkLife(life); err != nil {
			t.Errorf("%v:\n%s", err, describe(life))
		}
		ended[last.Text]++
		in, out = in+last.In, out+last.Out
	}
	want := engine.Stats{
		Accepted: int64(len(byConn)), BytesIn: in, BytesOut: out,
		Messages: int64(count(list, trace.Message, "")), Unread: s.Unread, Unsent: s.Unsent, AcceptErrors: s.AcceptErrors,
	}
	if got := fmt.Sprint(sums(s)); got != fmt.Sprint(sums(want)) {
		t.Errorf("the sums are   %v\nand the events %v", got, fmt.Sprint(sums(want)))
	}
	for reason, n := range s.Ended {
		if ended[reason.String()] != n {
			t.Errorf("%d connections ended as %q, and by the events %d", n, reason, ended[reason.String()])
		}
		delete(ended, reason.String())
	}
	if len(ended) > 0 {
		t.Errorf("the sums lack %v", ended)
	}
}

// sums are the sums that events tell too.
func sums(s engine.Stats) []int64 {
	return []int64{s.Accepted, s.Active, s.BytesIn, s.BytesOut, s.Messages}
}

// checkLife checks the events of one connection that was served.
func checkLife(life []trace.Event) error {
	first, last := life[0], life[len(life)-1]
	switch {
	case first.Op != trace.Accept || count(life, trace.Accept, "") != 1:
		return fmt.Errorf("accept is not the first event, or there are several")
	case last.Op != trace.Close || count(life, trace.Close, "") != 1:
		return fmt.Errorf("close is not the last event, or there are several")
	case first.Network == "" || last.Network != first.Network || last.Remote != first.Remote || last.Service == "":
		return fmt.Errorf("accept or close does not say whose it is")
	case last.Took <= 0:
		return fmt.Errorf("close does not say how long the connection lived")
	case count(life, trace.EOF, "") > 1 || count(life, trace.Shutdown, "") > 1:
		return fmt.Errorf("a direction has ended twice")
	}
	return checkSums(life)
}

// checkSums checks that the events of one connection are in order and add up.
func checkSums(life []trace.Event) error {
	var in, out int64
	for i, e := range life {
		switch e.Op {
		case trace.Read:
			in += int64(e.Bytes)
		case trace.Write:
			out += int64(e.Bytes)
		}
		if e.Time.Before(life[0].Time) || e.Time.After(life[len(life)-1].Time) {
			return fmt.Errorf("event %d is not between the first and the last", i)
		}
	}
	if last := life[len(life)-1]; in != last.In || out != last.Out {
		return fmt.Errorf("read %d and wrote %d bytes, and close says %d and %d", in, out, last.In, last.Out)
	}
	return nil
}

// wantOps checks the events of the only connection there was.
func wantOps(t testing.TB, list []trace.Event, want ...trace.Op) {
	t.Helper()
	var got []trace.Op
	for _, e := range list {
		got = append(got, e.Op)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the events are %v, wanted %v", got, want)
	}
}
