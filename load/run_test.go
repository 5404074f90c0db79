package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yodel/sock"
	"yodel/yodeltest"
)

// serveAt runs handle for each connection to an address of the network.
func serveAt(t *testing.T, at sock.Address, handle func(net.Conn)) sock.Address {
	t.Helper()
	l, err := sock.Listen(t.Context(), at, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return l.Address()
}

func serve(t *testing.T, handle func(net.Conn)) sock.Address {
	t.Helper()
	return serveAt(t, sock.Address{Network: "tcp", Host: "127.0.0.1"}, handle)
}

func echo(c net.Conn) { io.Copy(c, c) }

func upper(c net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		c.Write(bytes.ToUpper(buf[:n]))
	}
}

// A way is a network, and what moves its bytes.
type way struct{ network, driver string }

func (w way) String() string {
	if w.driver == "" {
		return w.network
	}
	return w.network + " by " + w.driver
}

// ways returns networks, each by what is the first choice; and where that may be another
// than epoll, by epoll.
func ways(networks ...string) (list []way) {
	for _, n := range networks {
		list = append(list, way{n, ""})
		if n != "tls" && haveLoops {
			list = append(list, way{n, Epoll})
		}
	}
	return list
}

func mustRun(t *testing.T, p Plan) *Report {
	t.Helper()
	r, err := Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	adds(t, r)
	return r
}

// adds holds a report to what the documentation of Counts promises.
func adds(t *testing.T, r *Report) {
	t.Helper()
	if r.Sent != r.Received+r.Lost+r.Unfinished || r.Received != r.Verified+r.Unverified+r.Corrupt || r.Due != r.Sent+r.Unsent {
		t.Errorf("the counts do not add up: %+v", r.Counts)
	}
	if n := r.Latency.TotalCount(); n > r.Answered() || n+r.Late < r.Answered() {
		t.Errorf("%d latencies of %d answers", n, r.Answered())
	}
}

// insecure accepts the certificate that a test's server has made for itself.
var insecure = &tls.Config{InsecureSkipVerify: true}

// clean wants count messages, all verified.
func clean(t *testing.T, r *Report, count int64) {
	t.Helper()
	if r.Verified != count || r.Sent != count || r.Lost != 0 || len(r.Errors) != 0 {
		t.Errorf("%+v, errors %v (%v), want %d verified", r.Counts, r.Errors, r.FirstError(), count)
	}
}

func TestCountIsExactAndEveryByteVerified(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Plan{
		"one byte":           {Conns: 1, Size: 1, Count: 500},
		"connections":        {Conns: 7, Size: 64, Count: 3000},
		"odd sizes":          {Conns: 3, Size: 13, Count: 100, Threads: 2},
		"a pipeline":         {Conns: 3, Size: 100, Count: 5000, Pipeline: 33},
		"more than at once":  {Conns: 2, Size: 1 << 20, Count: 4},
		"a pipeline of much": {Conns: 2, Size: 300_000, Count: 12, Pipeline: 5},
		"each its own":       {Conns: 4, Count: 200, NewConns: true},
		"an open loop":       {Conns: 4, Count: 500, Pace: Constant(5000)},
		"arrivals":           {Conns: 4, Count: 500, Pace: Poisson(5000), Threads: 2},
		"arrivals, its own":  {Conns: 4, Count: 100, Pace: Poisson(2000), NewConns: true},
		"a pipelined rate":   {Conns: 2, Count: 500, Pace: Constant(5000), Pipeline: 4},
		"not compared":       {Conns: 2, Count: 100, NoVerify: true},
		"more than needed":   {Conns: 20, Count: 3},
	} {
		networks := ways("tcp")
		if p.Pipeline+p.Threads > 0 || p.NewConns || p.Pace != nil {
			networks = append(ways("tcp"), way{"tls", ""}, way{"unix", ""})
		}
		for _, way := range networks {
			t.Run(name+" over "+way.String(), func(t *testing.T) {
				t.Parallel()
				at := sock.Address{Network: way.network, Host: "127.0.0.1"}
				if way.network == "unix" {
					at = sock.Address{Network: way.network, Path: filepath.Join(t.TempDir(), "s")}
				}
				p := p
				p.Driver = way.driver
				p.Timeout = time.Minute // of a test's machine nothing can be expected
				p.Target, p.TLS = serveAt(t, at, echo), insecure
				r := mustRun(t, p)
				if p.NoVerify {
					r.Verified, r.Unverified = r.Unverified, r.Verified
				}
				clean(t, r, p.Count)
				if size := int64(max(p.Size, 64)); p.Size != 1 && p.Size != 13 && (r.BytesOut != p.Count*size || r.BytesIn != r.BytesOut) {
					t.Errorf("%d bytes out, %d in, for %d messages of %d", r.BytesOut, r.BytesIn, p.Count, size)
				}
				if r.Rate() <= 0 || r.Quantile(50) <= 0 || r.Quantile(50) > r.Quantile(99) || r.Connect.TotalCount() != r.Connections {
					t.Errorf("rate %v, median %v, p99 %v, %d connected of %d", r.Rate(), r.Quantile(50), r.Quantile(99), r.Connect.TotalCount(), r.Connections)
				}
			})
		}
	}
}

func TestUpper(t *testing.T) {
	t.Parallel()
	clean(t, mustRun(t, Plan{Target: serve(t, upper), Count: 200, Upper: true}), 200)
	clean(t, mustRun(t, Plan{Target: serve(t, upper), Count: 50, Size: 1000, Pipeline: 3, Upper: true}), 50)
	r := mustRun(t, Plan{Target: serve(t, echo), Count: 200, Upper: true})
	if r.Verified != 0 || r.Errors[Corrupt] != 1 {
		t.Errorf("a server that leaves letters as they are: %+v %v", r.Counts, r.Errors)
	}
}

func TestDurationEndsTheRun(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Plan{
		"closed": {},
		"open":   {Pace: Constant(1000)},
		"both":   {Pace: Constant(1000), Count: 1 << 40},
		"own":    {NewConns: true},
	} {
		for _, way := range ways("tcp", "tls") {
			p.Driver = way.driver
			p.Target, p.TLS = serveAt(t, sock.Address{Network: way.network, Host: "127.0.0.1"}, echo), insecure
			p.Conns, p.Duration = 2, 50*time.Millisecond
			r := mustRun(t, p)
			for ; r.Verified == 0 && p.Duration < 10*time.Second; r = mustRun(t, p) {
				p.Duration *= 4 // this machine has given the run no processor in all its time
			}
			if r.Verified == 0 || r.Elapsed < 30*time.Millisecond || r.Lost+r.Unfinished+r.Unsent != 0 {
				t.Errorf("%s over %v: %+v in %v", name, way, r.Counts, r.Elapsed)
			}
			if p.Pace != nil && r.Elapsed < p.Duration {
				t.Errorf("%s over %v: it lasted %v of %v", name, way, r.Elapsed, p.Duration)
			}
			if due := p.Duration.Milliseconds(); p.Pace != nil && r.Due != due {
				t.Errorf("%s over %v: %d were due, want %d", name, way, r.Due, due)
			}
		}
	}
}

func TestDatagrams(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	for _, p := range []Plan{
		{Count: 500},
		{Count: 500, Conns: 3, Pipeline: 5, Size: 1000},
		{Count: 500, Pace: Constant(10000), Conns: 2, Pipeline: 8},
		{Count: 100, Upper: true, Size: 16},
	} {
		p.Target = datagramServer(t, func(n int, p []byte, send func([]byte)) { send(bytes.ToUpper(p)) })
		if !p.Upper {
			p.Target = datagramServer(t, func(n int, p []byte, send func([]byte)) { send(p) })
		}
		clean(t, mustRun(t, p), p.Count)
	}
}

// datagramServer calls answer with each datagram and its number, from 1.
func datagramServer(t *testing.T, answer func(n int, p []byte, send func([]byte))) sock.Address {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 65536)
		for n := 1; ; n++ {
			k, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			answer(n, buf[:k], func(p []byte) { c.WriteToUDPAddrPort(p, from) })
		}
	}()
	return sock.Address{Network: "udp", Host: "127.0.0.1", Port: uint16(c.LocalAddr().(*net.UDPAddr).Port)}
}

// Each kind of fault that datagrams can have is counted as what it is.
func TestLyingDatagramServers(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	var kept []byte
	for name, tt := range map[string]struct {
		answer func(n int, p []byte, send func([]byte))
		check  func(r *Report) bool
	}{
		"drops one": {func(n int, p []byte, send func([]byte)) {
			if n != 5 {
				send(p)
			}
		}, func(r *Report) bool { return r.Lost == 1 && r.Verified == 19 }},
		"doubles one": {func(n int, p []byte, send func([]byte)) {
			send(p)
			if n == 5 {
				send(p)
			}
		}, func(r *Report) bool { return r.DuplicatedDatagrams == 1 && r.Verified == 20 }},
		"swaps two": {func(n int, p []byte, send func([]byte)) {
			if n == 5 {
				kept = bytes.Clone(p)
				return
			}
			send(p)
			if n == 6 {
				send(kept)
			}
		}, func(r *Report) bool { return r.Reordered == 1 && r.Verified == 20 }},
		"flips a bit": {func(n int, p []byte, send func([]byte)) {
			if n == 5 {
				p[20] ^= 1
			}
			send(p)
		}, func(r *Report) bool { return r.Errors[Corrupt] == 1 && r.Corrupt == 1 && r.Verified == 19 }},
		"flips a bit of a name": {func(n int, p []byte, send func([]byte)) {
			if n == 5 {
				p[2] ^= 1
			}
			send(p)
		}, func(r *Report) bool { return r.Errors[Corrupt] == 1 && r.Lost == 1 && r.Verified == 19 }},
		"cuts one short": {func(n int, p []byte, send func([]byte)) {
			if n == 5 {
				p = p[:len(p)-3]
			}
			send(p)
		}, func(r *Report) bool { return r.Errors[Truncated] == 1 && r.Corrupt == 1 }},
		"adds a byte": {func(n int, p []byte, send func([]byte)) {
			if n == 5 {
				p = append(p, 0)
			}
			send(p)
		}, func(r *Report) bool { return r.Errors[Unasked] == 1 && r.Corrupt == 1 }},
		"answers when it is too late": {func(n int, p []byte, send func([]byte)) {
			if n == 5 {
				late := bytes.Clone(p)
				time.AfterFunc(150*time.Millisecond, func() { send(late) })
				return
			}
			if n == 20 {
				p := bytes.Clone(p)
				time.AfterFunc(80*time.Millisecond, func() { send(p) })
				return
			}
			send(p)
		}, func(r *Report) bool { return r.Late >= 1 && r.Verified+r.Lost == 20 }},
	} {
		p := Plan{Count: 20, Pipeline: 4, Timeout: 100 * time.Millisecond, Target: datagramServer(t, tt.answer)}
		if name == "answers when it is too late" {
			p.Pace = Constant(100)
		}
		if r := mustRun(t, p); !tt.check(r) {
			t.Errorf("%s: %+v, %v", name, r.Counts, r.Errors)
		}
	}
}

// A socket sends as many datagrams as are answered, however many it remembers; and when one that was
// lost is given up, as many are under way as before.
func TestManyDatagrams(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	target := datagramServer(t, func(_ int, p []byte, send func([]byte)) { send(p) })
	for _, p := range []Plan{{}, {Pipeline: 4}, {Pace: Constant(20000)}} {
		p.Target, p.Count, p.Timeout = target, 3*window, 20*time.Second
		clean(t, mustRun(t, p), p.Count)
	}
	d := newDatagrams(newStream(1, 0, 0), 16, 4, true, 1000)
	p := make([]byte, 16)
	kept := bytes.Clone(d.begin(p, 0, 0))
	for n := int64(1); !d.full(); n++ {
		d.received(d.begin(p, n, n), 1)
	}
	if d.next != window || d.expire(1000) != 1 || d.full() || d.first != d.next {
		t.Errorf("%d were sent, from %d on they are under way, full: %v", d.next, d.first, d.full())
	}
	if a := d.received(kept, 1); !a.known || !a.late {
		t.Errorf("what was given up: %+v", a)
	}
}

// A datagram that comes when it is too late, and wrong, is one of the errors.
func TestLateAndWrong(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	var first []byte
	target := datagramServer(t, func(n int, p []byte, send func([]byte)) {
		if n == 1 {
			first = bytes.Clone(p)
			return
		}
		first[20] ^= 1
		send(first) // it was given up, or the second would not have been sent
		send(p)
	})
	r := mustRun(t, Plan{Target: target, Count: 2, Timeout: 50 * time.Millisecond})
	if r.Late != 1 || r.Corrupt != 1 || r.Errors[Corrupt] != 1 || r.Lost != 0 {
		t.Errorf("%+v %v", r.Counts, r.Errors)
	}
}

// In an open loop what a time-out has made room for is sent then, though nothing else happens.
func TestTimeoutMakesRoom(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	target := datagramServer(t, func(int, []byte, func([]byte)) {})
	r, err := Run(ctx, Plan{Target: target, Pace: Constant(1000), Count: 3, Timeout: 20 * time.Millisecond})
	if err != nil || r.Lost != 3 || r.Stopped {
		t.Errorf("%+v, %v", r.Counts, err)
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	n := 0
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte("page"), 1000)) })
	mux.HandleFunc("GET /other", func(w http.ResponseWriter, _ *http.Request) {
		if n++; n == 10 {
			w.Write([]byte("other"))
			return
		}
		w.Write([]byte("othEr"))
	})
	at := httpServer(t, mux)
	at.Path = "/page"
	for _, p := range []Plan{{}, {Conns: 5}, {Conns: 2, NewConns: true}, {Conns: 3, Pace: Constant(1000)}} {
		p.Target, p.Count = at, 60
		r := mustRun(t, p)
		clean(t, r, 60)
		if r.BytesIn != 60*4000 || p.NewConns && r.Connections != 60 || !p.NewConns && r.Connections > 5 {
			t.Errorf("%d bytes in, %d connections", r.BytesIn, r.Connections)
		}
	}
	at.Path = "/nosuch"
	if r := mustRun(t, Plan{Target: at, Count: 5}); r.Errors[Status] != 5 || r.Corrupt != 5 || !strings.Contains(r.FirstError().Error(), "404 Not Found") {
		t.Errorf("%+v %v %v", r.Counts, r.Errors, r.FirstError())
	}
	at.Path = "/other"
	r := mustRun(t, Plan{Target: at, Count: 20})
	var fault *Fault
	if r.Corrupt != 1 || !errors.As(r.FirstError(), &fault) || fault.Offset != 3 || fault.Got != 'e' || fault.Want != 'E' {
		t.Errorf("%+v %v", r.Counts, r.FirstError())
	}
}

func httpServer(t *testing.T, h http.Handler) sock.Address {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return sock.Address{Network: "http", Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port)}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	l, err := sock.Listen(t.Context(), sock.Address{Network: "tcp", Host: "127.0.0.1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, network := range []string{"tcp", "tls", "http"} {
		at := l.Address()
		at.Network = network
		r := mustRun(t, Plan{Target: at, Conns: 3, Count: 6})
		want := int64(3) // connections
		if network == "http" {
			want = 6 // requests
		}
		if r.Errors[Refused] != want || r.Verified != 0 || r.Verdict.Limit != LimitUnknown {
			t.Errorf("%s: %+v %v %v", network, r.Counts, r.Errors, r.Verdict)
		}
	}
	r := mustRun(t, Plan{Target: sock.Address{Network: "unix", Path: filepath.Join(t.TempDir(), "nosuch")}, Conns: 3, Count: 6})
	if r.Errors[Refused] != 3 {
		t.Errorf("%v %v", r.Errors, r.FirstError())
	}
}

func TestContextEndsTheRun(t *testing.T) {
	t.Parallel()
	for _, way := range ways("tcp", "tls") {
		ctx, cancel := context.WithCancel(t.Context())
		target := serveAt(t, sock.Address{Network: way.network, Host: "127.0.0.1"}, func(c net.Conn) {
			io.ReadFull(c, make([]byte, 64))
			cancel()
			io.Copy(io.Discard, c)
		})
		r, err := Run(ctx, Plan{Target: target, Count: 10, Timeout: time.Hour, TLS: insecure, Driver: way.driver})
		if err != nil || r.Unfinished != 1 || r.Lost != 0 || len(r.Errors) != 0 || !r.Stopped {
			t.Errorf("%v: %+v, %v", way, r, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := Run(ended, Plan{Target: serve(t, echo), Count: 10}); err != nil || r.Sent != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A server that ends each connection after ten messages is met with what the plan says.
func TestReconnect(t *testing.T) {
	t.Parallel()
	ten := func(c net.Conn) { io.CopyN(c, c, 640) }
	for _, way := range ways("tcp", "tls") {
		at := sock.Address{Network: way.network, Host: "127.0.0.1"}
		r := mustRun(t, Plan{Target: serveAt(t, at, ten), Count: 100, TLS: insecure, Driver: way.driver})
		if r.Verified != 10 || r.Failures() != 1 || r.Reconnects != 0 {
			t.Errorf("%v, never: %+v %v", way, r.Counts, r.Errors)
		}
		r = mustRun(t, Plan{Target: serveAt(t, at, ten), Count: 100, Reconnect: 2, TLS: insecure, Driver: way.driver})
		if r.Verified != 30 || r.Failures() != 3 || r.Reconnects != 2 {
			t.Errorf("%v, twice: %+v %v", way, r.Counts, r.Errors)
		}
		r = mustRun(t, Plan{Target: serveAt(t, at, ten), Count: 50, Reconnect: -1, TLS: insecure, Driver: way.driver})
		if r.Verified+r.Lost != 50 || r.Verified < 40 || r.Reconnects < 4 {
			t.Errorf("%v, always: %+v %v", way, r.Counts, r.Errors)
		}
	}
}

// Targets get their share of an open loop whatever the others do, and connections by it.
func TestTargetsByWeight(t *testing.T) {
	t.Parallel()
	a, b := serve(t, echo), serveAt(t, sock.Address{Network: "tls", Host: "127.0.0.1"}, echo)
	r := mustRun(t, Plan{Targets: []Target{{Address: a, Weight: 3}, {Address: b}}, Conns: 8, Count: 400, Pace: Constant(4000), TLS: insecure})
	clean(t, r, 400)
	if len(r.Targets) != 2 || r.Targets[0].Verified != 300 || r.Targets[1].Verified != 100 || r.Targets[0].Connections != 6 {
		t.Errorf("%+v", r.Targets)
	}
}

func TestSourcesAreSpread(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	seen := make(chan string, 10)
	target := serve(t, func(c net.Conn) {
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		seen <- host
		echo(c)
	})
	clean(t, mustRun(t, Plan{Target: target, Conns: 3, Count: 30, From: netip.MustParsePrefix("127.8.0.0/16")}), 30)
	got := map[string]bool{<-seen: true, <-seen: true, <-seen: true}
	for _, want := range []string{"127.8.0.1", "127.8.0.2", "127.8.0.3"} {
		if !got[want] {
			t.Errorf("nobody called from %s: %v", want, got)
		}
	}
	r := mustRun(t, Plan{Target: target, Count: 30, From: netip.MustParsePrefix("192.0.2.0/24")})
	if r.Errors[NoPort] != 1 || !strings.Contains(r.FirstError().Error(), "192.0.2.1") {
		t.Errorf("from an address that is not this host's: %v %v", r.Errors, r.FirstError())
	}
}

func TestProgressIsTold(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var heard Progress
	r, err := Run(ctx, Plan{Target: serve(t, echo), Duration: time.Hour, Progress: func(p *Progress) {
		heard = *p
		cancel()
	}})
	if err != nil || heard.Counts.Verified == 0 || heard.Rate <= 0 || heard.Recent == nil || len(r.Series) == 0 {
		t.Errorf("%+v, %v, %d points", heard, err, len(r.Series))
	}
}

func TestPlansThatMakeNoSense(t *testing.T) {
	t.Parallel()
	tcp := sock.Address{Network: "tcp", Port: 7}
	udp := sock.Address{Network: "udp", Port: 7}
	web := sock.Address{Network: "http", Port: 80}
	for want, p := range map[string]Plan{
		"would not end":              {Target: tcp},
		"-1 connections":             {Target: tcp, Conns: -1, Count: 1},
		"messages of -1":             {Target: tcp, Size: -1, Count: 1},
		"messages of 16777":          {Target: tcp, Size: maxSize + 1, Count: 1},
		"negative":                   {Target: tcp, Count: -1},
		"-2 messages under way":      {Target: tcp, Pipeline: -2, Count: 1},
		"-3 threads":                 {Target: tcp, Threads: -3, Count: 1},
		"no room for a pipeline":     {Target: tcp, NewConns: true, Pipeline: 2, Count: 1},
		"the network \"carrier\"":    {Target: sock.Address{Network: "carrier"}, Count: 1},
		"datagrams of 7 bytes":       {Target: udp, Size: 7, Count: 1},
		"datagrams have no connec":   {Target: udp, NewConns: true, Count: 1},
		"HTTP has one message":       {Target: web, Pipeline: 2, Count: 1},
		"what HTTP returns":          {Target: web, Upper: true, Count: 1},
		"the rate 0":                 {Target: tcp, Pace: Constant(0), Count: 1},
		"the rate -5":                {Target: tcp, Pace: Poisson(-5), Count: 1},
		"a step needs":               {Target: tcp, Pace: Steps{Steps: []Step{{Rate: 5}}}, Count: 1},
		"its pacer's":                {Target: tcp, Pace: Constant(5), Ramp: time.Second, Count: 1},
		"1 connections to 2 targets": {Targets: []Target{{Address: tcp}, {Address: tcp}}, Count: 1},
		"65 targets":                 {Targets: make([]Target, 65), Count: 1},
		"the driver \"kqueue\"":      {Target: tcp, Driver: "kqueue", Count: 1},
		"uring does no datagrams":    {Target: udp, Driver: Uring, Count: 1},
		"to stay awake":              {Target: web, Awake: true, Count: 1},
		"the weight -1":              {Targets: []Target{{Address: tcp, Weight: -1}}, Count: 1},
	} {
		if _, err := Run(t.Context(), p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
	if _, err := Run(t.Context(), Plan{Target: sock.Address{Network: "tcp", Host: "nosuch.invalid", Port: 7}, Count: 1}); err == nil {
		t.Error("a name that does not exist was called")
	}
}
