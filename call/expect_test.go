package call

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"yodel/yodeltest"
)

func mustScript(t *testing.T, lines ...string) *Script {
	t.Helper()
	s, err := ParseScript("talk", strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExpectPlaysAMailDialogue(t *testing.T) {
	t.Parallel()
	s := mustScript(t,
		`expect /^220 /`,
		`send "EHLO client.example\r\n"`,
		`expect /^250 /      # the last line of several`,
		`send "QUIT\r\n"`,
		`next "221 bye"`,
		`next "\r\n"`,
		`close`,
		`next eof`,
	)
	peer := script(t, "<banner\r\n220 server.example\r\n", "EHLO client.example\r\n",
		"<250-server.example\r\n250-SIZE\r\n250 HELP\r\n", "QUIT\r\n", "<221 bye\r\n")
	var out bytes.Buffer
	if err := Expect(within(t), pair(t, onMemory(peer)), s, &out, nil); err != nil {
		t.Fatal(err)
	}
	if want := "banner\r\n220 server.example\r\n250-server.example\r\n250-SIZE\r\n250 HELP\r\n221 bye\r\n"; out.String() != want {
		t.Errorf("out %q", out.String())
	}
}

// What a script does must not depend on how the peer's bytes are cut.
func TestExpectFramingDoesNotShow(t *testing.T) {
	t.Parallel()
	const says = "one\r\ntwo ababac\nthree\rx\nlast"
	tests := []struct {
		script string
		want   string // "" for success, or part of the error
	}{
		{`expect "abac"` + "\n" + `next "\n"`, ""},
		{`expect "one\r\ntwo"`, ""},
		{"expect /^t/\nnext /^three\\rx$/\nnext /^last$/\nnext eof", ""},
		{"next /^one$/\nnext \"two\"\nexpect /ac$/\nexpect eof", ""},
		{"expect /t$/\nnext eof", ""},
		{"expect eof\nexpect eof\nnext eof", ""},
		{`next "one\n"`, `talk:1: next "one\n": wrong answer: byte at offset 3 is 0x0d, expected 0x0a`},
		{"expect \"two\"\nnext \" abaX\"", "byte at offset 12 is 0x62 (b), expected 0x58 (X)"},
		{"next /^two/", `wrong answer: the line "one" does not match /^two/`},
		{"expect /last/\nnext \"more\"", "talk:2: next \"more\": closed by peer"},
		{"expect /nothing/", "talk:1: expect /nothing/: closed by peer; heard last:"},
		{"expect \"abad\"", "closed by peer"},
		{"expect \"three\"\nnext eof", "wrong answer: unexpected bytes at offset 21: "},
	}
	for _, test := range tests {
		s := mustScript(t, test.script)
		for cut, parts := range yodeltest.Cuts(says) {
			err := Expect(within(t), pieces(parts), s, io.Discard, nil)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%q, %s: %v, wanted %s", test.script, cut, err, test.want)
			}
		}
	}
}

// pieces is a connection on which each Read returns one of parts.
func pieces(parts []string) net.Conn {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		for _, p := range parts {
			if _, err := io.WriteString(server, p); err != nil {
				return
			}
		}
	}()
	return client
}

func TestExpectErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		script string
		peer   func(net.Conn)
		status int
		want   string
	}{
		"wrong line": {
			`next /^250/`, script(t, "<550 \x1b[31mno\r\n"), StatusWrong,
			`talk:1: next /^250/: wrong answer: the line "550 \x1b[31mno" does not match /^250/; heard last: "550 \x1b[31mno\r\n"`,
		},
		"closed": {
			"send \"hello\"\nexpect \"world\"", script(t, "hello", "<wor"), StatusBroken,
			`talk:2: expect "world": closed by peer; heard last: "wor"`,
		},
		"reset": {
			`expect "x"`, func(c net.Conn) { c.(*yodeltest.Conn).Reset() }, StatusBroken,
			`talk:1: expect "x": connection broken: read: connection reset by peer; 0 bytes sent`,
		},
		"reset before the end": {
			`expect eof`, func(c net.Conn) { c.(*yodeltest.Conn).Reset() }, StatusBroken,
			`talk:1: expect eof: connection broken: read: connection reset by peer; 0 bytes sent`,
		},
		"reset in place of the end": {
			`next eof`, func(c net.Conn) { c.(*yodeltest.Conn).Reset() }, StatusBroken,
			`talk:1: next eof: connection broken: read: connection reset by peer; 0 bytes sent`,
		},
		"more than the end": {
			`next eof`, script(t, "<more"), StatusWrong,
			`talk:1: next eof: wrong answer: unexpected bytes at offset 0: "more"; heard last: "more"`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Expect(within(t), pair(t, onMemory(test.peer)), mustScript(t, test.script), io.Discard, nil)
			if err == nil || err.Error() != test.want {
				t.Errorf("error  %v\nwanted %s", err, test.want)
			}
			wantStatus[*StepError](t, err, test.status)
		})
	}
}

func TestExpectTimesOut(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		script string
		cfg    *Config
		peer   string
		after  time.Duration
		want   string
	}{
		"by default": {`expect "x"`, nil, "", 10 * time.Second, `talk:1: expect "x": timed out after 10s`},
		"by Config":  {`expect "x"`, &Config{Timeout: time.Minute}, "", time.Minute, `timed out after 1m0s`},
		"by script":  {"timeout 3s\nexpect \"x\"", &Config{Timeout: time.Minute}, "", 3 * time.Second, `timed out after 3s`},
		"prompt without newline": {
			"timeout 3s\nexpect /login/", nil, "login: ", 3 * time.Second,
			`talk:2: expect /login/: timed out after 3s; heard last: "login: "`,
		},
		"each step has its own": {
			"timeout 3s\nexpect \"in\"\ntimeout 2s\nexpect \"x\"", nil, "login: ", 2 * time.Second, `talk:4: expect "x": timed out after 2s`,
		},
		"sending": {`send "` + strings.Repeat("x", 60_000) + "\"\nsend \"" + strings.Repeat("x", 60_000) + `"`, nil, "", 10 * time.Second, `timed out after 10s`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, server := new(yodeltest.Net).Pipe()
				defer server.Close()
				io.WriteString(server, test.peer)
				began := time.Now()
				err := Expect(t.Context(), client, mustScript(t, test.script), io.Discard, test.cfg)
				wantStatus[*TimeoutError](t, err, StatusTimedOut)
				if took := time.Since(began); took != test.after || !strings.Contains(err.Error(), test.want) {
					t.Errorf("after %v: %v\nwanted after %v: %s", took, err, test.after, test.want)
				}
			})
		})
	}
}

func TestExpectDripDoesNotPutATimeoutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := new(yodeltest.Net).Pipe()
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for {
				time.Sleep(time.Second)
				if _, err := io.WriteString(server, "."); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		err := Expect(t.Context(), client, mustScript(t, `expect "x"`), io.Discard, nil)
		wantStatus[*TimeoutError](t, err, StatusTimedOut)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("after %v", took)
		}
		<-stop
	})
}

func TestExpectWithoutTimeout(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]*Config{"timeout 0": nil, "": {Timeout: -1}} {
		synctest.Test(t, func(t *testing.T) {
			client, server := new(yodeltest.Net).Pipe()
			defer server.Close()
			go func() {
				time.Sleep(100 * time.Hour)
				io.WriteString(server, "at last")
			}()
			if err := Expect(t.Context(), client, mustScript(t, name, `expect "at last"`), io.Discard, cfg); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestExpectIsCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	conn := pair(t, func(c *yodeltest.Conn) {
		io.ReadFull(c, make([]byte, 2))
		cancel()
		io.ReadAll(c)
	})
	err := Expect(ctx, conn, mustScript(t, `send "go"`, `expect "x"`), io.Discard, nil)
	if err != context.Canceled {
		t.Errorf("error %v", err)
	}
	// Cancelled before it began: the deadlines of a step must not undo that.
	err = Expect(ctx, pair(t, func(c *yodeltest.Conn) { io.ReadAll(c) }), mustScript(t, `expect "x"`), io.Discard, nil)
	if err != context.Canceled {
		t.Errorf("error %v", err)
	}
}

func TestExpectOutputFails(t *testing.T) {
	t.Parallel()
	conn := pair(t, onMemory(script(t, "<hello\n")))
	err := Expect(within(t), conn, mustScript(t, `expect "hello"`), &failAfter{2}, nil)
	if wantStatus[*OutputError](t, err, StatusFailed); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

func TestExpectHugeAnswers(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 1<<20)
	conn := serve(t, func(c *net.TCPConn) {
		fmt.Fprintf(c, "%sneedle%s\nlast line\n", big, big)
		io.ReadAll(c)
	})
	err := Expect(within(t), conn, mustScript(t, `timeout 1m`, `expect "xneedlex"`, `expect /^last/`, `close`, `next eof`), io.Discard, nil)
	if err != nil {
		t.Error(err)
	}
}

func TestExpectKeepsTheEndOfWhatItHeard(t *testing.T) {
	t.Parallel()
	for _, part := range []int{1, 7, heardBytes - 1, heardBytes, heardBytes + 1, 3 * heardBytes} {
		var p performance
		text := allBytes(1000)
		for at := 0; at < len(text); at += part {
			p.keep(text[at:min(at+part, len(text))])
		}
		if !bytes.Equal(p.heard, text[len(text)-heardBytes:]) {
			t.Errorf("in parts of %d: the last %d bytes are wrong", part, len(p.heard))
		}
	}
}

func TestExpectOverDatagrams(t *testing.T) {
	t.Parallel()
	conn := udpPeer(t, func(r []byte) [][]byte { return [][]byte{bytes.ToUpper(r), bytes.Repeat([]byte("z"), 50_000)} })
	s := mustScript(t, `send "ping\n"`, `next "PING\n"`, `next "`+strings.Repeat("z", 50_000)+`"`)
	if err := Expect(within(t), conn, s, io.Discard, nil); err != nil {
		t.Error(err)
	}
}
