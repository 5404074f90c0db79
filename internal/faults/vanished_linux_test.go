package faults

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest/netns"
)

// The cable between two hosts goes down while connections are open, and nobody says so
// to either end. The server finds out: by keepalive where it waits for input, and by
// TCP_USER_TIMEOUT where its output is not acknowledged, or has no room at a peer that
// had stopped reading. Nothing is left of them, and it serves others as before.
func TestPeerVanishes(t *testing.T) {
	t.Parallel()
	program(t) // before time runs
	for _, engine := range engines {
		for _, down := range []string{"the client's end", "the server's end"} {
			t.Run(engine+"/"+down, func(t *testing.T) {
				t.Parallel()
				vanish(t, engine, down)
			})
		}
	}
}

const (
	keepAlive   = time.Second     // the least that there is
	userTimeout = 2 * time.Second // and two of that
)

// A leaver is a connection whose peer will vanish.
type leaver struct {
	service int // of the server's, in its order
	begin   func(net.Conn) error
}

// leavers are one connection for each of the server's listeners: an engine of its own,
// so that those which serve one client at a time have them all as well.
var leavers = []leaver{
	{0, hearHello},                           // it waits for input
	{1, overTLS(hearHello)},                  // below TLS too
	{2, func(net.Conn) error { return nil }}, // its output is not taken
	{3, readOn},                              // its output is on the way
}

func services(host string) []string {
	return []string{"upper@" + host + ":0", "upper@tls://" + host + ":0", "chargen@" + host + ":0", "chargen@" + host + ":0"}
}

// withoutTLS are the services and leavers for an engine that speaks none.
func withoutTLS(host string) ([]string, []leaver) {
	with, those := services(host), slices.Clone(leavers)
	with[1], those[1].begin = with[0], hearHello
	return with, those
}

// awaitLoops waits until event loops are there for so many services: each has then taken a
// descriptor of its own for its listening socket.
func (s *server) awaitLoops(ctx context.Context, t *testing.T, services int) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for sockets := 0; sockets != 2*services+1; { // and that of the admin listener
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("it has %d sockets, and does not begin to serve: %v", sockets, ctx.Err())
		}
		sockets = 0
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.descendantOrSelf()))
		for _, link := range links {
			if file, _ := os.Readlink(link); strings.HasPrefix(file, "socket:") {
				sockets++
			}
		}
	}
}

// descendantOrSelf returns the process that serves, if a command runs it.
func (s *server) descendantOrSelf() int {
	all := s.processes()
	return all[len(all)-1]
}

func vanish(t *testing.T, engine, down string) {
	here, there := netns.Two(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	admin := filepath.Join(t.TempDir(), "admin")
	with, leavers := services(here.V4.String()), leavers
	if slices.Contains(looping, engine) {
		with, leavers = withoutTLS(here.V4.String())
	}
	s, err := start(t, launch{
		prefix: []string{"ip", "netns", "exec", here.Namespace}, engine: engine,
		flags: append(with, "--admin=unix:"+admin, "--keepalive="+keepAlive.String(), "--user-timeout="+userTimeout.String()),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, ctx: ctx, s: s}
	addrs := s.listeners(ctx, t, len(leavers)+1)
	if slices.Contains(looping, engine) {
		s.awaitLoops(ctx, t, len(leavers))
	}
	s.baseline = s.resources()
	atRest := goroutines(t, admin)
	for _, v := range leavers {
		c := dialFrom(ctx, t, there, addrs[v.service])
		if err := v.begin(c); err != nil {
			t.Fatal(r.report(err))
		}
	}
	s.awaitClosedWindow(ctx, t)
	cut := map[string]*netns.Host{"the client's end": there, "the server's end": here}[down]
	cut.LinkDown()
	began := time.Now()
	ends := s.awaitCloses(ctx, t, r, len(leavers))
	for _, e := range ends {
		if e.Text != "peer vanished" || e.Error == "" {
			t.Errorf("a connection ended so: %+v", e)
		}
	}
	// Left to itself the kernel would take a quarter of an hour, and at rest two hours.
	if took := time.Since(began); took < userTimeout/2 || took > 10*userTimeout {
		t.Errorf("it was noticed after %v, and the time-out is %v", took, userTimeout)
	}
	if err := s.awaitBaseline(ctx); err != nil {
		t.Fatal(r.report(err))
	}
	awaitGoroutines(ctx, t, admin, atRest)
	if _, metrics := get(t, admin, "/metrics"); !endedAs(metrics, "peer vanished", len(leavers)) {
		t.Errorf("the metrics are\n%s", metrics)
	}
	cut.LinkUp()
	s.wantServing(ctx, t, dialFrom(ctx, t, there, addrs[0]))
}

// wantServing wants the server to answer on c, and to end well, without a word about
// anybody.
func (s *server) wantServing(ctx context.Context, t *testing.T, c net.Conn) {
	t.Helper()
	if err := hearHello(c); err != nil {
		t.Errorf("a client that comes when the cable is up again: %v", err)
	}
	s.cmd.Process.Signal(unix.SIGTERM)
	if status, err := s.awaitEnd(ctx); status != 0 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	if err := (verdict{}).judgeLog(s.stderr.String(), 0); err != nil {
		t.Error(err)
	}
}

// listeners waits until n services listen and returns their addresses.
func (s *server) listeners(ctx context.Context, t *testing.T, n int) (addrs []string) {
	t.Helper()
	for _, line := range s.awaitLines(ctx, t, "listening", n) {
		var l struct{ Address string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Address)
	}
	return addrs
}

// awaitLines waits for n lines of a type on the server's standard output.
func (s *server) awaitLines(ctx context.Context, t *testing.T, typ string, n int) []string {
	t.Helper()
	for {
		lines, grown := s.out.since(0)
		lines = slices.DeleteFunc(lines, func(line string) bool { return !strings.HasPrefix(line, `{"type":"`+typ+`"`) })
		if len(lines) >= n {
			return lines
		}
		select {
		case <-grown:
		case <-s.ended:
			t.Fatalf("the server has ended: %s", &s.stderr)
		case <-ctx.Done():
			lines, _ := s.out.since(0)
			t.Fatalf("fewer than %d lines of type %s have come:\n%s", n, typ, strings.Join(lines, "\n"))
		}
	}
}

func (s *server) awaitCloses(ctx context.Context, t *testing.T, r *run, n int) (ends []entry) {
	t.Helper()
	for _, line := range s.awaitLines(ctx, t, "close", n) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(r.report(err))
		}
		ends = append(ends, e)
	}
	return ends
}

// dialFrom connects from a host. The connection is closed at the end of the test.
func dialFrom(ctx context.Context, t *testing.T, from *netns.Host, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	err := from.Inside(func() (err error) {
		d := net.Dialer{Control: smallBuffer}
		c, err = d.DialContext(ctx, "tcp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func hearHello(c net.Conn) error {
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return err
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "HELLO\n" {
		return fmt.Errorf("the answer is %q, %v", got, err)
	}
	return nil
}

func overTLS(begin func(net.Conn) error) func(net.Conn) error {
	return func(c net.Conn) error { return begin(tls.Client(c, &tls.Config{InsecureSkipVerify: true})) }
}

// readOn reads all that comes, and returns when enough has to be sure that more will.
func readOn(c net.Conn) error {
	_, err := io.CopyN(io.Discard, c, 1<<20)
	go io.Copy(io.Discard, c)
	return err
}

// awaitClosedWindow waits until a socket of the server's has output that its peer has no
// room for: its timer in /proc/net/tcp is that of the probes for such room.
func (s *server) awaitClosedWindow(ctx context.Context, t *testing.T) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !strings.Contains(s.net(t, "tcp"), " 04:") {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("no window has closed:\n%s", s.net(t, "tcp"))
		}
	}
}

// get returns the status and body of a page of the admin listener, a Unix socket, which
// has no network namespace.
func get(t *testing.T, admin, page string) (int, string) {
	t.Helper()
	var d net.Dialer
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", admin) },
	}}
	resp, err := client.Get("http://admin" + page)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// goroutines returns how many the server has, that of this question included.
func goroutines(t *testing.T, admin string) int {
	t.Helper()
	_, body := get(t, admin, "/debug/pprof/goroutine?debug=1")
	var n int
	if _, err := fmt.Sscanf(body, "goroutine profile: total %d", &n); err != nil {
		t.Fatalf("%v: %.200s", err, body)
	}
	return n
}

// awaitGoroutines waits until the server has no more goroutines than at rest.
func awaitGoroutines(ctx context.Context, t *testing.T, admin string, atRest int) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		now := goroutines(t, admin)
		if now <= atRest {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			_, body := get(t, admin, "/debug/pprof/goroutine?debug=1")
			t.Fatalf("%d goroutines; at rest there were %d:\n%s", now, atRest, body)
		}
	}
}

// endedAs reports whether the metrics have n connections that ended so, all services
// and transports together.
func endedAs(metrics, how string, n int) bool {
	sum := 0
	for _, m := range regexp.MustCompile(`(?m)^yodel_connections_ended_total\{result="`+how+`",.*\} (\d+)$`).FindAllStringSubmatch(metrics, -1) {
		one, _ := strconv.Atoi(m[1])
		sum += one
	}
	return sum == n
}

// With the defaults a peer is gone within a minute, whatever the engine: the kernel is
// told so on each connected socket.
func TestVanishedWithinAMinuteByDefault(t *testing.T) {
	t.Parallel()
	program(t)
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			s, err := start(t, launch{engine: engine, networks: overTCP})
			if err == nil {
				err = s.awaitListening(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
			r := &run{t: t, ctx: ctx, s: s, row: row{network: "tcp"}}
			c, file, err := r.tracked(&net.Dialer{})
			if err != nil {
				t.Fatal(r.report(err))
			}
			defer c.conn.Close()
			got, err := s.deadPeerOptions(file)
			if want := (deadPeerOptions{1, 15, 15, 4, 60_000}); err != nil || got != want {
				t.Errorf("the connected socket has %+v, want %+v; %v", got, want, err)
			}
		})
	}
}

// deadPeerOptions are a socket's SO_KEEPALIVE, TCP_KEEPIDLE and TCP_KEEPINTVL in
// seconds, TCP_KEEPCNT, and TCP_USER_TIMEOUT in milliseconds.
type deadPeerOptions struct{ keepAlive, idle, interval, count, userTimeout int }

// deadPeerOptions returns those of one of the server's sockets, by its file in /proc.
func (s *server) deadPeerOptions(file string) (o deadPeerOptions, err error) {
	for _, pid := range s.processes() {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, link := range links {
			if f, _ := os.Readlink(link); f == file {
				fd, _ := strconv.Atoi(filepath.Base(link))
				return socketOptions(pid, fd)
			}
		}
	}
	return o, fmt.Errorf("the server has no %s", file)
}

func socketOptions(pid, fd int) (o deadPeerOptions, err error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return o, err
	}
	defer unix.Close(process)
	copied, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return o, err
	}
	defer unix.Close(copied)
	for _, opt := range []struct {
		level, name int
		value       *int
	}{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, &o.keepAlive},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, &o.idle},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, &o.interval},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, &o.count},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, &o.userTimeout},
	} {
		value, getErr := unix.GetsockoptInt(copied, opt.level, opt.name)
		*opt.value, err = value, errors.Join(err, getErr)
	}
	return o, err
}
