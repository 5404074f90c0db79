package load

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"yodel/sock"
)

// serve runs handle for each connection to the address it returns.
func serve(t *testing.T, handle func(net.Conn)) sock.Address {
	t.Helper()
	l, err := sock.Listen(t.Context(), sock.Address{Network: "tcp", Host: "127.0.0.1"}, nil)
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

func echo(c net.Conn) { io.Copy(c, c) }

// relay answers what change makes of each piece it reads.
func relay(change func(at int, p []byte) []byte) func(net.Conn) {
	return func(c net.Conn) {
		buf, at := make([]byte, 4096), 0
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if _, err := c.Write(change(at, buf[:n])); err != nil {
				return
			}
			at += n
		}
	}
}

func mustRun(t *testing.T, p Plan) *Report {
	t.Helper()
	r, err := Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCountIsExactAndEveryByteVerified(t *testing.T) {
	for _, p := range []Plan{
		{Conns: 1, Size: 1, Count: 500},
		{Conns: 7, Size: 64, Count: 3000},
		{Conns: 3, Size: 13, Count: 100},
		{Conns: 2, Size: 1 << 20, Count: 5}, // more than the kernel takes at once
	} {
		p.Target = serve(t, echo)
		r := mustRun(t, p)
		if r.Verified != p.Count || r.Sent != p.Count*int64(p.Size) || r.Received != r.Sent || r.Lost != 0 || len(r.Errors) != 0 {
			t.Errorf("%+v: %+v", p, r)
		}
		if r.Latency.TotalCount() != p.Count || r.Quantile(50) <= 0 || r.Quantile(50) > r.Quantile(99) || r.Rate() <= 0 {
			t.Errorf("%d latencies, median %v, p99 %v, rate %v", r.Latency.TotalCount(), r.Quantile(50), r.Quantile(99), r.Rate())
		}
	}
}

func TestUpper(t *testing.T) {
	target := serve(t, relay(func(_ int, p []byte) []byte { return bytes.ToUpper(p) }))
	if r := mustRun(t, Plan{Target: target, Count: 200, Upper: true}); r.Verified != 200 {
		t.Errorf("%+v", r)
	}
	target = serve(t, echo)
	r := mustRun(t, Plan{Target: target, Count: 200, Upper: true})
	if r.Verified != 0 || r.Errors[Corrupt] != 1 {
		t.Errorf("a server that leaves letters as they are: %+v", r)
	}
}

func TestDurationEndsTheRun(t *testing.T) {
	r := mustRun(t, Plan{Target: serve(t, echo), Conns: 2, Duration: 50 * time.Millisecond})
	if r.Verified == 0 || r.Elapsed < 50*time.Millisecond || r.Lost+r.Unfinished != 0 {
		t.Errorf("%+v", r)
	}
}

// A server that lies is caught, and what it did is named.
func TestLyingServers(t *testing.T) {
	flip := func(at int, p []byte) []byte {
		if at <= 1000 && 1000 < at+len(p) {
			p[1000-at] ^= 1
		}
		return p
	}
	dropAndGoOn := func(at int, p []byte) []byte {
		if at <= 1000 && 1000 < at+len(p) {
			return append(p[:1000-at:1000-at], p[1000-at+1:]...)
		}
		return p
	}
	double := func(at int, p []byte) []byte {
		if at <= 1000 && 1000 < at+len(p) {
			return append(p[:1000-at+1:1000-at+1], p[1000-at:]...)
		}
		return p
	}
	for _, tt := range []struct {
		what   string
		handle func(net.Conn)
		want   Class
		offset int64 // of the first wrong byte, for Corrupt
	}{
		{"flips a bit of one byte", relay(flip), Corrupt, 1000},
		{"drops a byte and stalls", relay(dropAndGoOn), Timeout, 0},
		{"doubles a byte", relay(double), Corrupt, 1001},
		{"answers another connection's stream", func(c net.Conn) {
			io.ReadFull(c, make([]byte, 64))
			p := make([]byte, 64)
			newStream(0, 1, false).message(p, 0)
			c.Write(p)
			io.Copy(io.Discard, c)
		}, Corrupt, 0},
		{"closes within an answer", func(c net.Conn) {
			p := make([]byte, 64)
			io.ReadFull(c, p)
			c.Write(p[:10])
		}, EarlyClose, 0},
		{"resets", func(c net.Conn) {
			io.ReadFull(c, make([]byte, 64))
			c.(*sock.Conn).NetConn().(interface{ SetLinger(int) error }).SetLinger(0)
		}, ResetClass, 0},
		{"never answers", func(c net.Conn) { io.Copy(io.Discard, c) }, Timeout, 0},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			r := mustRun(t, Plan{Target: serve(t, tt.handle), Count: 100, Timeout: 300 * time.Millisecond})
			if r.Errors[tt.want] != 1 || len(r.Errors) != 1 || r.FirstError == nil {
				t.Fatalf("errors %v (%v), want one %s", r.Errors, r.FirstError, tt.want)
			}
			var corrupt *CorruptError
			if errors.As(r.FirstError, &corrupt) && corrupt.Offset != tt.offset && tt.offset != 0 {
				t.Errorf("first wrong byte: %v, want %d", corrupt, tt.offset)
			}
			if tt.want != Corrupt && r.Lost != 1 {
				t.Errorf("%d lost", r.Lost)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	l, err := sock.Listen(t.Context(), sock.Address{Network: "tcp", Host: "127.0.0.1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r := mustRun(t, Plan{Target: l.Address(), Conns: 3, Count: 100})
	if r.Errors[Refused] != 3 || r.Sent != 0 {
		t.Errorf("%+v", r)
	}
}

func TestContextEndsTheRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan bool)
	target := serve(t, func(c net.Conn) {
		io.ReadFull(c, make([]byte, 64))
		heard <- true
		io.Copy(io.Discard, c)
	})
	go func() {
		<-heard
		cancel()
	}()
	r, err := Run(ctx, Plan{Target: target, Count: 10, Timeout: time.Hour})
	if err != nil || r.Unfinished != 1 || r.Lost != 0 || len(r.Errors) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestPlansThatMakeNoSense(t *testing.T) {
	for want, p := range map[string]Plan{
		"would not end":     {},
		"at least one":      {Conns: -1, Count: 1},
		"messages of -1":    {Size: -1, Count: 1},
		"messages of 16777": {Size: maxSize + 1, Count: 1},
		"negative":          {Count: -1},
	} {
		if _, err := Run(t.Context(), p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
}

// A message is a function of seed, connection and number, and lines stay lines.
func TestPayload(t *testing.T) {
	make64 := func(seed uint64, conn int, line bool, n int64) string {
		p := make([]byte, 61)
		newStream(seed, conn, line).message(p, n)
		return string(p)
	}
	seen := map[string]bool{}
	for seed := range uint64(3) {
		for conn := range 3 {
			for n := range int64(3) {
				seen[make64(seed, conn, false, n)] = true
			}
		}
	}
	if len(seen) != 27 || !seen[make64(1, 2, false, 2)] {
		t.Errorf("%d different messages of 27", len(seen))
	}
	line := make64(0, 0, true, 5)
	if strings.IndexByte(line, '\n') != 60 || strings.ContainsFunc(line[:60], func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("%q is no line", line)
	}
}
