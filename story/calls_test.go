package story_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"yodel/story"
	"yodel/trace"
)

// The server's trace alone tells the accept queue, which its kernel has measured, from the
// handler, where that is the most of it.
func TestServersTraceAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		queued, handle time.Duration
		more           int64 // bytes that were read before the answer
		want           story.Verdict
		part           func(story.Parts) time.Duration
	}{
		{"it waited to be accepted", ms(300), ms(1), 0, story.AcceptQueue, func(p story.Parts) time.Duration { return p.AcceptQueue }},
		{"the program takes its time", ms(1), ms(300), 0, story.Handler, nil},
		{"the program takes its time, but the client may have, too", 0, ms(300), 7, story.CannotTell, nil},
		{"nobody waited", ms(1), ms(1), 0, story.ClosedByClient, nil},
	} {
		one := of(t, tell(t, serversTrace(t, test.queued, test.handle, test.more)))
		if one.Verdict != test.want || one.Evidence != story.ServerOnly {
			t.Errorf("%s: verdict %q (%s), %q, %+v", test.name, one.Verdict, one.Why, one.Evidence, one.Parts)
		}
		if test.part != nil && abs(test.part(one.Parts)-test.queued) > ms(1) {
			t.Errorf("%s: the part is %v", test.name, one.Parts)
		}
		whole(t, one)
	}
}

func serversTrace(t *testing.T, queued, handle time.Duration, more int64) []byte {
	t.Helper()
	var file bytes.Buffer
	w := trace.NewWriter(&file)
	base := trace.Event{
		Conn: trace.NewID(), Side: trace.Server, Network: "tcp",
		Local: netip.MustParseAddrPort("192.0.2.2:80"), Remote: netip.MustParseAddrPort("192.0.2.1:40000"),
	}
	at := time.Unix(0, int64(epoch)).Add(queued)
	emit := func(op trace.Op, after time.Duration, set func(*trace.Event)) {
		at = at.Add(after)
		e := base
		e.Op, e.Time = op, at
		if set != nil {
			set(&e)
		}
		w.Emit(&e)
	}
	emit(trace.Accept, 0, func(e *trace.Event) { e.Queued = queued })
	emit(trace.Read, ms(0.1), func(e *trace.Event) { e.Bytes, e.In = 10, 10 })
	emit(trace.Write, handle, func(e *trace.Event) { e.Bytes, e.In, e.Out = 20, 10+more, 20 })
	emit(trace.EOF, ms(0.1), nil)
	emit(trace.Close, ms(0.1), func(e *trace.Event) { e.Text = trace.EndPeer })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// TestClientsTraceAlone: what a client's calls show without any packet, in words that are true.
func TestClientsTraceAlone(t *testing.T) {
	t.Parallel()
	refused := header + `{"type":"connect","time":"2027-01-15T08:00:00.102030000Z","conn":"00000001-1","side":"client","fd":3,"network":"tcp","remote":"192.0.2.2:80","took_us":167,"error":"connection refused"}
`
	short := header + `{"type":"connect","time":"2027-01-15T08:00:00.102030000Z","conn":"00000001-1","side":"client","fd":3,"network":"tcp","local":"192.0.2.1:40000","remote":"192.0.2.2:80","took_us":167}
{"type":"close","time":"2027-01-15T08:00:00.107000000Z","conn":"00000001-1","side":"client","fd":3,"in":20,"out":10,"text":"closed here"}
`
	for _, test := range []struct{ name, file, why string }{
		{"refused", refused, "connect() has failed (connection refused)"},
		{"short", short, "who closed first"},
		{"long", strings.ReplaceAll(short, ":00.107", ":09.107"), "not for whom"},
	} {
		told := tell(t, []byte(test.file))
		if len(told) != 1 || told[0].Verdict != story.CannotTell || !strings.Contains(told[0].Why, test.why) {
			t.Errorf("%s: %q (%s)", test.name, told[0].Verdict, told[0].Why)
		}
	}
}
