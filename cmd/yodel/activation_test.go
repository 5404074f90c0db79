//go:build unix

package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/sock"
	"yodel/yodeltest"
)

// passedSocket returns a socket as if somebody had passed it: a listening one, or one
// for datagrams.
func passedSocket(t *testing.T, name, network string) sock.Passed {
	t.Helper()
	p := sock.Passed{Name: name}
	at := sock.Address{Network: network, Host: "127.0.0.1"}
	var err error
	if network == "udp" {
		p.PacketConn, err = sock.ListenPacket(t.Context(), at, nil)
	} else {
		p.Listener, err = sock.Listen(t.Context(), at, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Who gets which of the passed sockets: "name/network" words, and what comes of them.
func TestPassedSocketsFindTheirService(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args, sockets, want string
	}{
		"nothing was passed":                    {"echo time", "", "echo time"},
		"in their order":                        {"echo time", "/tcp /tcp", "echo=0 time=1"},
		"by their names":                        {"echo time", "time/tcp echo/tcp", "echo=1 time=0"},
		"by the names of their units":           {"echo time", "time.socket/tcp echo.socket/tcp", "echo=1 time=0"},
		"several for one":                       {"upper echo", "echo/tcp upper/tcp echo/udp", "upper=1 echo=0 echo=2"},
		"one by name, the other by order":       {"echo time", "yodel.socket/tcp echo/tcp", "echo=1 time=0"},
		"one each, and the last takes the rest": {"echo echo", "echo/tcp echo/tcp echo/udp", "echo=0 echo=1 echo=2"},
		"who has an address needs none":         {"echo@:7 time", "/tcp", "echo@ time=0"},
		"over TLS":                              {"echo echo@tls://", "echo/tcp echo/tcp", "echo=0 echo=1 over TLS"},
		"TLS over datagrams":                    {"echo@tls://", "echo/udp", "echo@tls://: TLS is for TCP, and the passed socket is udp://127.0.0.1:"},
		"by default":                            {"", "/tcp /tcp", "upper=0 echo=1"},
		"one too many":                          {"echo", "/tcp /tcp", "is for none of the services: name the one it is for, without an address"},
		"one for a service that is not there":   {"echo", "time/tcp", `("time") is for none of the services`},
		"none is wanted":                        {"echo@:7", "/tcp", "(no name) is for none of the services"},
		"one for a service with an address":     {"echo@:7", "echo/tcp", `("echo") is for none of the services`},
		"one too few":                           {"echo time", "/tcp", "time has no address, and no socket is left for it of those that were passed, 127.0.0.1:"},
		"one too few, by name":                  {"echo time", "time/tcp", "echo has no address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plans, err := parsePlans(strings.Fields(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			var passed []sock.Passed
			for word := range strings.FieldsSeq(tt.sockets) {
				name, network, _ := strings.Cut(word, "/")
				passed = append(passed, passedSocket(t, name, network))
			}
			if plans, err = withPassed(plans, passed); err != nil {
				if exitStatus(err) != 2 || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("status %d: %v; want %s", exitStatus(err), err, tt.want)
				}
				return
			}
			if got := whoHasWhich(plans, passed); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// whoHasWhich returns the plans, each with the number of its socket.
func whoHasWhich(plans []plan, passed []sock.Passed) string {
	var words []string
	for _, p := range plans {
		word := p.row.name
		if p.given {
			word += "@"
		}
		for i, s := range passed {
			if p.passed == s {
				word += fmt.Sprintf("=%d", i)
			}
			if overTLS := p.addr.Network == "tls"; p.passed == s && overTLS {
				word += " over TLS"
			} else if p.passed == s && p.addr != addressOfPassed(s) {
				word += " elsewhere"
			}
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// notified is a socket at which a program tells how it is (sd_notify(3)).
type notified struct {
	*net.UnixConn
	path string
}

func listenForNotes(t *testing.T) notified {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return notified{c, path}
}

// want waits for the next note.
func (n notified) want(t *testing.T, note string) {
	t.Helper()
	n.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 1000)
	size, err := n.Read(buf)
	if err != nil || string(buf[:size]) != note {
		t.Errorf("it tells %q (%v), want %q", buf[:size], err, note)
	}
}

// activate starts yodel serve --json with args by systemd's program, which opens the
// sockets of listen, and calls it.
func activate(t *testing.T, flags []string, args ...string) *started {
	t.Helper()
	path := yodeltest.NeedProgram(t, "systemd-socket-activate")
	p := start(t, path, append(append(flags, program(t), "serve", "--json"), args...)...)
	p.await(t, &p.err, `Listening on .* as 3`)
	return p
}

// knock connects until that brings the program to life, which happens at the first
// connection.
func knock(t *testing.T, network, at string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// The whole way, with systemd's own program: the sockets by their names, the client
// that has woken the server is its first, and whoever started it is told how it is.
func TestActivatedBySystemd(t *testing.T) {
	t.Parallel()
	at, path := loopbackOfTest(t), filepath.Join(t.TempDir(), "sock")
	notes := listenForNotes(t)
	p := activate(t, []string{
		"--listen=" + at + ":7001", "--listen=" + path, "--listen=" + at + ":7002", "--fdname=upper:echo:yodel.socket",
		"--setenv=NOTIFY_SOCKET=" + notes.path, "--setenv=GORACE=" + os.Getenv("GORACE"),
	}, "--engine=process", "--max-children=9", "echo", "daytime", "upper", "chargen@127.0.0.1:0")
	c := knock(t, "tcp", at+":7001")
	ask(t, c, "hello\n", "HELLO\n")
	s := &running{started: p}
	for i, want := range []listening{
		{Service: "echo", Network: "unix", Address: path, Path: path, Passed: true},
		{Service: "daytime", Network: "tcp", Address: at + ":7002", Port: 7002, Passed: true},
		{Service: "upper", Network: "tcp", Address: at + ":7001", Port: 7001, Passed: true},
		{Service: "chargen", Network: "tcp"},
	} {
		got := s.listens(t, i)
		if want.Service == "chargen" {
			want.Address, want.Port = got.Address, got.Port
		}
		want.Type, want.Time, want.Engine, want.PID = "listening", got.Time, "process", got.PID
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	notes.want(t, "READY=1")
	ask(t, knock(t, "unix", path), "hello\n", "hello\n")
	c.Close()
	p.signal(t, syscall.SIGTERM)
	notes.want(t, "STOPPING=1")
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d\n%s", status, &p.err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the path is systemd's: %v", err)
	}
}

func TestActivatedForDatagrams(t *testing.T) {
	t.Parallel()
	at := loopbackOfTest(t) + ":7001"
	p := activate(t, []string{"--datagram", "--listen=" + at}, "echo")
	c := knock(t, "udp", at)
	ask(t, c, "hello\n", "hello\n")
	if l := (&running{started: p}).listens(t, 0); l.Network != "udp" || l.Address != at || !l.Passed || l.Engine != datagrams {
		t.Errorf("%+v", l)
	}
	p.signal(t, syscall.SIGTERM)
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d\n%s", status, &p.err)
	}
}

// What systemd passes and what the command line wants must fit.
func TestActivatedWrongly(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		flags  []string
		args   []string
		status int
		want   string
	}{
		"no socket for a service": {nil, []string{"echo", "time"}, 2, "time has no address, and no socket is left for it"},
		"no service for a socket": {nil, []string{"echo@127.0.0.1:0"}, 2, `:7001 \(no name\) is for none of the services`},
		"no datagrams":            {[]string{"--datagram"}, []string{"upper"}, 2, "upper has no datagram form"},
		"a connection":            {[]string{"--accept"}, []string{"echo"}, 1, "socket activation: .* it is a connection, as units with Accept=yes pass them"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, network := loopbackOfTest(t)+":7001", "tcp"
			if name == "no datagrams" {
				network = "udp"
			}
			p := activate(t, append(tt.flags, "--listen="+at), tt.args...)
			knock(t, network, at).Write([]byte("x"))
			p.await(t, &p.err, tt.want)
			if name == "a connection" {
				p.await(t, &p.err, `died with code 1`)
				return // systemd's program goes on
			}
			if status := p.wait(t); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
		})
	}
}

// NAME@tls:// speaks TLS on the socket that is passed; where none is, on the service's own.
func TestActivatedOverTLS(t *testing.T) {
	t.Parallel()
	at := loopbackOfTest(t) + ":7001"
	p := activate(t, []string{"--listen=" + at, "--fdname=echo"}, "echo@tls://")
	c := tls.Client(knock(t, "tcp", at), &tls.Config{InsecureSkipVerify: true})
	ask(t, c, "hello\n", "hello\n")
	if l := (&running{started: p}).listens(t, 0); l.Network != "tls" || l.Address != at || !l.Passed || l.Fingerprint == "" {
		t.Errorf("%+v", l)
	}
	c.Close()
	p.signal(t, syscall.SIGTERM)
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d\n%s", status, &p.err)
	}
	plan, err := parsePlan("web@tls://")
	if err != nil || plan.given || plan.addr != (sock.Address{Network: "tls", Host: "localhost", Port: 10080}) {
		t.Errorf("%+v, %v", plan, err)
	}
}
