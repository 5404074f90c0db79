package faults

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What follows is about the judges: they must see what they are there to see.

func TestTableRefusesLies(t *testing.T) {
	t.Parallel()
	rows := table()
	for what, more := range map[string][]row{
		"in the table twice": {rows[0]},
		"without a lie":      {{engine: "x", scene: visits, fault: fault{"close", unix.EIO, "1"}}},
		"without a lie, too": {{engine: "x", scene: visits, fault: fault{"read", unix.EAGAIN, "1"}}},
	} {
		what, _, _ = strings.Cut(what, ",")
		if err := checkTable(append(slices.Clone(rows), more...)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("wanted an error with %q, got %v", what, err)
		}
	}
	if err := checkTable(sample(rows)); err != nil {
		t.Errorf("the sample: %v", err)
	}
	if err := checkTable(rows[:leastRuns-1]); err == nil {
		t.Error("a table of too few rows was accepted")
	}
}

// The sample has every kind of row, and every column of a call that fails in five ways: no
// call has more columns.
func TestSampleIsFair(t *testing.T) {
	t.Parallel()
	rows := table()
	kinds, columns := make(map[row]bool), make(map[row]bool)
	column := func(r row) row {
		r.fault.errno = 0
		return r
	}
	for _, r := range sample(rows) {
		kinds[r.kind()], columns[column(r)] = true, true
	}
	errnos := make(map[row]map[unix.Errno]bool) // by column
	for _, r := range rows {
		if c := column(r); errnos[c] == nil {
			errnos[c] = make(map[unix.Errno]bool)
		}
		errnos[column(r)][r.fault.errno] = true
	}
	for _, r := range rows {
		if !kinds[r.kind()] {
			t.Errorf("%s is missing with any column", r.name())
		}
		if !columns[column(r)] && len(errnos[column(r)]) >= 5 {
			t.Errorf("%s is missing with any error", r.name())
		}
	}
}

func TestFaultAsStraceTakesIt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault fault
		want  string
		times int
	}{
		{fault{"accept4", unix.EMFILE, "2"}, "accept4:error=EMFILE:when=2", 1},
		{fault{"accept4", unix.EOPNOTSUPP, "1+2"}, "accept4:error=EOPNOTSUPP:when=1+2", 3},
		{fault{"write", unix.EPIPE, ""}, "write:error=EPIPE", 3},
	} {
		if got := tt.fault.String(); got != tt.want || tt.fault.times() != tt.times {
			t.Errorf("%s, %d times; want %s, %d", got, tt.fault.times(), tt.want, tt.times)
		}
	}
}

func TestLogIsJudged(t *testing.T) {
	t.Parallel()
	const (
		failed = "2025/06/01 12:00:00 WARN accept failed; waiting clients stay listener=127.0.0.1:7\n"
		broken = "2025/06/01 12:00:00 WARN connection failed conn=1 error=\"read: input/output error\"\n"
	)
	passing := verdict{failedAccepts: true}
	hit := verdict{reason: "fault", cause: "input/output error", faults: 1}
	for _, tt := range []struct {
		what    string
		verdict verdict
		log     string
		good    bool
	}{
		{"silence", verdict{}, "", true},
		{"one line a second on accept", passing, failed + failed, true},
		{"and on another listener", passing, failed + strings.Replace(failed, "7", "8", 1) + failed, true},
		{"a storm of them", passing, strings.Repeat(failed, 3), false},
		{"one where accept has not failed", verdict{}, failed, false},
		{"a connection that failed", hit, broken, true},
		{"of which nothing is said", hit, "", false},
		{"of which it is said twice", hit, broken + broken, false},
		{"one that was not hit", verdict{}, broken, false},
		{"a panic", passing, "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\n", false},
		{"the runtime", passing, "fatal error: runtime: netpoll failed\n", false},
		{"a data race", passing, "WARNING: DATA RACE\n", false},
	} {
		if err := tt.verdict.judgeLog(tt.log, 1500*time.Millisecond); (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}

func TestBooksAreJudged(t *testing.T) {
	t.Parallel()
	const (
		accept = `{"type":"accept","conn":"0f31c9aa-1"}`
		ended  = `{"type":"close","conn":"0f31c9aa-1","in":5,"out":5,"text":"closed by peer"}`
		reset  = `{"type":"close","conn":"0f31c9aa-1","in":5,"out":5,"text":"reset by peer","error":"read: connection reset by peer"}`
	)
	hit := verdict{reason: "reset by peer", cause: "connection reset by peer"}
	for _, tt := range []struct {
		what    string
		verdict verdict
		lines   []string
		good    bool
	}{
		{"one connection", verdict{}, []string{accept, ended}, true},
		{"without an end", verdict{}, []string{accept}, false},
		{"without a beginning", verdict{}, []string{ended}, false},
		{"accepted twice", verdict{}, []string{accept, accept, ended}, false},
		{"closed twice", verdict{}, []string{accept, ended, ended}, false},
		{"half a line", verdict{}, []string{accept, ended[:20]}, false},
		{"lines lost", verdict{}, []string{accept, ended, `{"type":"lost"}`}, false},
		{"a refusal", verdict{}, []string{accept, ended, `{"type":"refuse"}`}, false},
		{"a byte lost", verdict{}, []string{accept, strings.Replace(ended, `"out":5`, `"out":4`, 1)}, false},
		{"a reset of nobody's", verdict{}, []string{accept, reset}, false},
		{"the reset", hit, []string{accept, reset}, true},
		{"no reset", hit, []string{accept, ended}, false},
	} {
		r := &run{s: &server{}, want: tt.verdict}
		if strings.Contains(strings.Join(tt.lines, ""), "closed by peer") {
			r.talked = []*client{{sent: 5, got: 5}}
		}
		for _, line := range tt.lines {
			r.s.out.Write([]byte(line + "\n"))
		}
		if err := r.judgeBooks(); (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}

// The client against a peer that answers as each row says.
func TestClientComparesEveryByte(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what   string
		answer func(line []byte) []byte // what the peer makes of the second line, before it closes
		want   string                   // a part of the error
	}{
		{"right", bytes.ToUpper, "EOF"},
		{"not turned", bytes.Clone, "wrong bytes"},
		{"cut", func(b []byte) []byte { return bytes.ToUpper(b[:len(b)-1]) }, errEnded.Error()},
		{"cut and wrong", func(b []byte) []byte { return []byte("\x00") }, "wrong bytes"},
		{"none", func([]byte) []byte { return nil }, errEnded.Error()},
		{"twice", func(b []byte) []byte { return bytes.Repeat(bytes.ToUpper(b), 2) }, "nobody had asked for"},
	} {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			in := bufio.NewReader(far)
			for _, answer := range []func([]byte) []byte{bytes.ToUpper, tt.answer} {
				line, _ := in.ReadBytes('\n')
				far.Write(answer(line))
			}
		}()
		c := newClient(near, bytes.ToUpper)
		if err := c.say(); err != nil {
			t.Errorf("%s: the first line: %v", tt.what, err)
		}
		err := c.say()
		if err == nil {
			err = c.wantEnd()
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.what, err, tt.want)
		}
		near.Close()
	}
}

func TestLinesOfStrace(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		`7 write(8, "abc"..., 65536) = 65536`:                                                 false,
		`7 write(8, "abc"..., 65536) = 12345`:                                                 true,
		`7 write(8, "= 3"..., 65536) = -1 EAGAIN (Resource temporarily unavailable)`:          true,
		`7 write(8, "abc"..., 65536) = -1 EINTR (Interrupted system call) (INJECTED)`:         false,
		`7 sendto(8, "abc"..., 65536, MSG_NOSIGNAL, NULL, 0) = 65536`:                         false,
		`7 sendto(8, "abc"..., 65536, MSG_NOSIGNAL, NULL, 0) = 12345`:                         true,
		`7 accept4(7, 0x1, [112], SOCK_CLOEXEC) = -1 EMFILE (Too many open files) (INJECTED)`: false,
	} {
		if got := isShort(line); got != want {
			t.Errorf("short: %v, want %v: %s", got, want, line)
		}
	}
	if !isEnd(&net.OpError{Op: "read", Err: unix.ECONNRESET}) || isEnd(errors.New("another")) {
		t.Error("isEnd takes the wrong errors for an end")
	}
}
