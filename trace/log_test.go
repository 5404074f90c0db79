package trace_test

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"yodel/trace"
)

// logged returns what a Log makes of one event, without the newline.
func logged(t *testing.T, e trace.Event) string {
	t.Helper()
	var to sinkhole
	l := trace.NewLog(&to)
	l.Emit(&e)
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	got := to.String()
	if got != "" && (!strings.HasSuffix(got, "\n") || strings.Count(got, "\n") != 1) {
		t.Errorf("not one line: %q", got)
	}
	return strings.TrimSuffix(got, "\n")
}

func TestLogLines(t *testing.T) {
	t.Parallel()
	id := trace.ConnID{Run: 0x0f31c9aa, Seq: 3}
	four := netip.MustParseAddrPort("127.0.0.1:51234")
	six := netip.MustParseAddrPort("[fe80::1%eth0\x1b]:51234")
	for _, c := range []struct {
		name string
		e    trace.Event
		want string
	}{
		{
			"accept, with a name",
			trace.Event{Conn: id, Op: trace.Accept, Service: "echo", Network: "tcp", Remote: four, Name: "localhost"},
			"0f31c9aa-3 echo connected from localhost (127.0.0.1), port 51234",
		},
		{
			"accept, without a name",
			trace.Event{Conn: id, Op: trace.Accept, Service: "echo", Network: "tcp", Remote: four},
			"0f31c9aa-3 echo connected from 127.0.0.1, port 51234",
		},
		{
			"accept, no service, a zone that is hostile",
			trace.Event{Conn: id, Op: trace.Accept, Network: "tcp", Remote: six},
			`0f31c9aa-3 connected from fe80::1%eth0\x1b, port 51234`,
		},
		{
			"accept, a name that poses as more",
			trace.Event{Conn: id, Op: trace.Accept, Remote: four, Name: "evil (10.0.0.1), port 22\r\n\x1b[2J\u202e\xff"},
			`0f31c9aa-3 connected from evil\x20(10.0.0.1),\x20port\x2022\r\n\x1b[2J\u202e\xff (127.0.0.1), port 51234`,
		},
		{
			"accept on a Unix socket",
			trace.Event{Conn: id, Op: trace.Accept, Service: "echo", Network: "unix", Path: "/run/echo\n.sock"},
			`0f31c9aa-3 echo connected on unix:/run/echo\n.sock`,
		},
		{
			"accept on who knows what",
			trace.Event{Conn: id, Op: trace.Accept, Service: "echo", Network: "pipe"},
			"0f31c9aa-3 echo connected on pipe",
		},
		{
			"accept that failed",
			trace.Event{Op: trace.Accept, Service: "echo", Err: syscall.EMFILE},
			"echo accept failed: too many open files",
		},
		{
			"close",
			trace.Event{Conn: id, Op: trace.Close, Service: "echo", Text: trace.EndPeer, In: 12, Out: 12, Took: 1234 * time.Millisecond},
			"0f31c9aa-3 echo closed by peer: 12 bytes in, 12 out, 1.2 s",
		},
		{
			"close, with an error",
			trace.Event{Conn: id, Op: trace.Close, Service: "echo", Text: trace.EndFault, In: 12, Took: 35 * time.Millisecond, Err: errors.New("odd\x1b")},
			`0f31c9aa-3 echo fault: 12 bytes in, 0 out, 35 ms: odd\x1b`,
		},
		{
			"close by a reset: that says it all",
			trace.Event{Conn: id, Op: trace.Close, Service: "echo", Text: trace.EndReset, Err: syscall.ECONNRESET},
			"0f31c9aa-3 echo reset by peer: 0 bytes in, 0 out, 0.0 ms",
		},
		{
			"refuse",
			trace.Event{Conn: id, Op: trace.Refuse, Service: "echo", Remote: four, Text: "address denied"},
			"0f31c9aa-3 echo refused 127.0.0.1, port 51234: address denied",
		},
		{
			"refuse on a Unix socket",
			trace.Event{Conn: id, Op: trace.Refuse, Service: "echo", Network: "unix", Path: "@echo", Text: "too many"},
			"0f31c9aa-3 echo refused unix:@echo: too many",
		},
		{
			"note",
			trace.Event{Conn: id, Op: trace.Note, Service: "echo", Text: "a\nb"},
			`0f31c9aa-3 echo note: a\nb`,
		},
		{
			"a long text is cut",
			trace.Event{Op: trace.Note, Text: strings.Repeat("x", 9999)},
			"note: " + strings.Repeat("x", 512) + "…",
		},
		{"read has no line", trace.Event{Conn: id, Op: trace.Read, Bytes: 12}, ""},
		{"connect has no line", trace.Event{Conn: id, Op: trace.Connect, Remote: four}, ""},
	} {
		check(t, c.name, logged(t, c.e), c.want)
	}
}

func TestLogTimes(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0:                       "0.0 ms",
		999 * time.Microsecond:  "0.9 ms",
		9999 * time.Microsecond: "9.9 ms",
		10 * time.Millisecond:   "10 ms",
		time.Second - 1:         "999 ms",
		time.Second:             "1.0 s",
		time.Minute - 1:         "59.9 s",
		time.Minute:             "1 min 0 s",
		125 * time.Second:       "2 min 5 s",
		time.Hour - 1:           "59 min 59 s",
		time.Hour:               "1 h 0 min",
		100*time.Hour + 20*time.Minute + 59999999: "100 h 20 min",
	} {
		line := logged(t, trace.Event{Op: trace.Close, Text: "idle", Took: d})
		check(t, d.String(), line, "idle: 0 bytes in, 0 out, "+want)
	}
}

// TestLogSamples: a flood of refusals is one line a second, and all are counted.
func TestLogSamples(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		e     trace.Event
		first string
		rest  func(n string) string
	}{
		{
			"refusals",
			trace.Event{Op: trace.Refuse, Network: "unix", Text: "full"},
			"refused unix: full",
			func(n string) string { return "refused " + n + " more" },
		},
		{
			"failures",
			trace.Event{Op: trace.Accept, Err: syscall.EMFILE},
			"accept failed: too many open files",
			func(n string) string { return "accept failed " + n + " times more" },
		},
		{
			"notes",
			trace.Event{Op: trace.Note, Text: "hm"},
			"note: hm",
			func(n string) string { return n + " more notes" },
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			var to sinkhole
			l := trace.NewLog(&to)
			flood := func(n int) {
				for range n {
					e := c.e
					l.Emit(&e)
				}
				synctest.Wait()
			}
			want := func(when string, lines ...string) {
				t.Helper()
				check(t, c.name+" "+when, strings.Split(strings.TrimSpace(to.String()), "\n")[0], lines[0])
				check(t, c.name+" "+when, to.String(), strings.Join(lines, "\n")+"\n")
			}
			flood(312)
			want("at once", c.first)
			time.Sleep(time.Second)
			synctest.Wait()
			want("after a second", c.first, c.rest("311"))
			flood(2)
			want("in the next second", c.first, c.rest("311"))
			time.Sleep(time.Second)
			synctest.Wait()
			want("after two seconds", c.first, c.rest("311"), c.rest("2"))
			time.Sleep(time.Second)
			synctest.Wait()
			flood(1)
			want("after a second of peace", c.first, c.rest("311"), c.rest("2"), c.first)
			flood(5)
			l.Close()
			want("at the end", c.first, c.rest("311"), c.rest("2"), c.first, c.rest("5"))
			time.Sleep(time.Hour)
			check(t, c.name+" lost", l.Lost(), 0)
		})
	}
}

func TestLogIsWrittenAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var to sinkhole
		l := trace.NewLog(&to)
		l.Emit(&trace.Event{Op: trace.Close, Text: "idle"})
		synctest.Wait() // no time passes
		check(t, "lines", strings.Count(to.String(), "\n"), 1)
		check(t, "flush", l.Flush(), nil)
	})
}

// TestLogWithoutReader: whoever read the log has gone. Nothing comes of it but a count.
func TestLogWithoutReader(t *testing.T) {
	t.Parallel()
	var to sinkhole
	to.set(func([]byte) (int, error) { return 0, syscall.EPIPE })
	l := trace.NewLog(&to)
	for range 3 {
		l.Emit(&trace.Event{Op: trace.Close, Text: "idle"})
	}
	if err := l.Flush(); !errors.Is(err, syscall.EPIPE) || l.Lost() != 3 {
		t.Errorf("flush: %v, %d lost", err, l.Lost())
	}
	to.set(nil)
	l.Emit(&trace.Event{Op: trace.Close, Text: "idle"})
	if err := l.Close(); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("close: %v", err)
	}
	check(t, "log", to.String(), "3 events lost: broken pipe\nidle: 0 bytes in, 0 out, 0.0 ms\n")
}
