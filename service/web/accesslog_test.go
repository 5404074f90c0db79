package web

import (
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"
)

// common is a line of the common log format, as programs that read it take it.
var common = regexp.MustCompile(`^(\S+) - - \[(\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-)\n$`)

func TestAccessLog(t *testing.T) {
	t.Parallel()
	const stamp = "29/Feb/2020:12:30:00 +0000"
	for _, c := range []struct {
		remote string
		rec    record
		want   string
	}{
		{
			"192.0.2.1:1234",
			record{method: "GET", target: "/a", proto: "HTTP/1.1", status: 200, bytes: 5},
			`192.0.2.1 - - [29/Feb/2020:12:30:00 +0000] "GET /a HTTP/1.1" 200 5` + "\n",
		},
		{
			"[2001:db8::1]:80",
			record{method: "HEAD", target: `/"\`, proto: "HTTP/2.0", status: 304},
			`2001:db8::1 - - [29/Feb/2020:12:30:00 +0000] "HEAD /\"\\ HTTP/2.0" 304 -` + "\n",
		},
		{
			"@",
			record{line: "GET /\x1b\n\"x", status: 400, bytes: 1},
			`- - - [29/Feb/2020:12:30:00 +0000] "GET /\x1b\n\"x" 400 1` + "\n",
		},
		{"", record{status: 408}, `- - - [29/Feb/2020:12:30:00 +0000] "" 408 -` + "\n"},
	} {
		got := string(appendCommon(nil, c.remote, stamp, &c.rec))
		if got != c.want || !common.MatchString(got) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// The lines of a server are those of its requests.
func TestAccessLogOfAServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{Root: folder(t, map[string]string{"a.txt": "hello"})})
	s.want("net/http's", "/a.txt", 200, "hello")
	s.want("from memory", "/a.txt", 200, "hello")
	s.want("a part", "/a.txt?x=%22", 206, "el", "Range: bytes=1-2")
	s.want("none", "/b.txt", 404, "")
	s.do("HEAD", "/a.txt", "")
	for _, want := range []string{
		`"GET /a.txt HTTP/1.1" 200 5`, `"GET /a.txt?x=%22 HTTP/1.1" 206 2`, `"GET /b.txt HTTP/1.1" 404 37`, `"HEAD /a.txt HTTP/1.1" 200 -`,
	} {
		s.access.await(t, want+"\n")
	}
	lines := strings.SplitAfter(strings.TrimSuffix(s.access.String(), "\n"), "\n")
	if len(lines) != 5 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		m := common.FindStringSubmatch(strings.TrimSuffix(line, "\n") + "\n")
		if m == nil {
			t.Errorf("%q", line)
			continue
		}
		if when, err := time.Parse("02/Jan/2006:15:04:05 -0700", m[2]); err != nil || time.Since(when) > time.Hour {
			t.Errorf("%v, %v", when, err)
		}
	}
	if st := s.Stats(); st.Requests != 5 || st.Status != [6]int64{2: 4, 4: 1} || st.Kept != 2 {
		t.Errorf("%+v", st)
	}
}

// A log that can't be written is told of once, and stops nothing.
func TestAccessLogThatFails(t *testing.T) {
	t.Parallel()
	report := new(text)
	l := newAccessLog(failing{}, slog.New(slog.NewTextHandler(report, nil)))
	for range 3 {
		l.log("192.0.2.1:80", time.Now(), &record{status: 200})
	}
	if n := strings.Count(report.String(), "\n"); n != 1 || !strings.Contains(report.String(), "disk full") {
		t.Errorf("%s", report)
	}
	newAccessLog(nil, nil).log("", time.Now(), nil)
}

// A client that brings warnings about does not fill the log.
func TestWarningsAreBounded(t *testing.T) {
	t.Parallel()
	w := new(warnings)
	at := time.Unix(1_000_000, 0)
	for i := range 3 * warningsMax {
		n, ok := w.take(at)
		if ok != (i < warningsMax) || n != 0 {
			t.Fatalf("number %d: %v, %d left out", i, ok, n)
		}
	}
	if n, ok := w.take(at.Add(time.Second)); !ok || n != 2*warningsMax {
		t.Errorf("a second later: %v, %d left out", ok, n)
	}
	log := new(text)
	w.log, w.leftOut = slog.New(slog.NewTextHandler(log, nil)), 7
	w.say("trouble", "with", "x")
	w.say("more")
	if got := log.String(); !strings.Contains(got, "msg=trouble with=x left_out=7\n") || !strings.Contains(got, "msg=more\n") {
		t.Errorf("%s", got)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

var _ io.Writer = failing{}

// Whatever a peer sends, the log gets one line that reads back as what it was.
func FuzzAccessLog(f *testing.F) {
	f.Add("192.0.2.1:80", "GET", "/", "HTTP/1.1", 200, int64(5))
	f.Add("[fe80::1%eth0\n]:80", "GET\" 200 5\n", "\\\"\\", "\x00\u202e", 404, int64(0))
	f.Fuzz(func(t *testing.T, remote, method, target, proto string, status int, n int64) {
		rec := &record{method: method, target: target, proto: proto, status: 100 + (status%500+500)%500, bytes: max(n, 0)}
		line := string(appendCommon(nil, remote, "29/Feb/2020:12:30:00 +0000", rec))
		m := common.FindStringSubmatch(line)
		if m == nil || strings.Count(line, "\n") != 1 {
			t.Fatalf("%q", line)
		}
		for i := range len(line) - 1 {
			if c := line[i]; c < ' ' || c == 0x7f {
				t.Fatalf("a control byte in %q", line)
			}
		}
	})
}
