package load

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"yodel/sock"
)

// relay answers what change makes of each piece it reads; at is its place in what the
// connection has sent.
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

// at1000 has change do what it does to the bytes before and from byte 1000 on.
func at1000(change func(before, after []byte) []byte) func(net.Conn) {
	return relay(func(at int, p []byte) []byte {
		if at <= 1000 && 1000 < at+len(p) {
			i := 1000 - at
			return change(p[:i:i], p[i:])
		}
		return p
	})
}

// swapped returns a handler that gives the answers of two connections, from byte 1000 on,
// to each other.
func swapped() func(net.Conn) {
	var arrived [2]chan net.Conn
	arrived[0], arrived[1] = make(chan net.Conn, 1), make(chan net.Conn, 1)
	var n atomic.Int32
	return func(c net.Conn) {
		i := n.Add(1) - 1
		io.CopyN(c, c, 1000)
		arrived[i] <- c
		io.Copy(<-arrived[1-i], c)
	}
}

// A server that lies is caught, and what it did is named.
func TestLyingServers(t *testing.T) {
	t.Parallel()
	type lie struct {
		what   string
		handle func(net.Conn)
		plan   Plan
		want   Class
		offset int64 // of the first wrong byte; 0: it is not asked for
		bytes  int64 // that are lost, doubled, changed
	}
	piped := Plan{Pipeline: 8}
	for _, tt := range []lie{
		{"flips a bit of one byte", at1000(func(b, a []byte) []byte { a[0] ^= 1; return append(b, a...) }), Plan{}, Corrupt, 1000, 1},
		{"flips a bit in a pipeline", at1000(func(b, a []byte) []byte { a[0] ^= 1; return append(b, a...) }), piped, Corrupt, 1000, 1},
		{"changes five bytes", at1000(func(b, a []byte) []byte { copy(a, "wrong"); return append(b, a...) }), Plan{}, Corrupt, 1000, 5},
		{"drops a byte", at1000(func(b, a []byte) []byte { return append(b, a[1:]...) }), Plan{}, Lost, 1000, 1},
		{"drops a byte of a pipeline", at1000(func(b, a []byte) []byte { return append(b, a[1:]...) }), piped, Lost, 1000, 1},
		{"drops ten bytes", at1000(func(b, a []byte) []byte { return append(b, a[10:]...) }), Plan{}, Lost, 1000, 10},
		{"drops the rest of a message", at1000(func(b, a []byte) []byte { return b }), Plan{}, Timeout, 0, 0},
		{"doubles a byte", at1000(func(b, a []byte) []byte { return append(append(b, a[0]), a...) }), Plan{}, Duplicated, 1001, 1},
		{"doubles a message", relay(func(at int, p []byte) []byte {
			if at == 640 {
				return append(p, p...)
			}
			return p
		}), Plan{}, Duplicated, 704, 64},
		{"adds what nobody sent", relay(func(at int, p []byte) []byte {
			if at == 640 {
				return append(p, "extra"...)
			}
			return p
		}), Plan{}, Unasked, 704, 0},
		{"swaps two connections", swapped(), Plan{Conns: 2, Threads: 1}, Spliced, 1000, 0},
		{"closes within an answer", func(c net.Conn) {
			p := make([]byte, 64)
			io.ReadFull(c, p)
			c.Write(p[:10])
		}, Plan{}, Truncated, 10, 54},
		{"closes after a wrong byte", func(c net.Conn) {
			p := make([]byte, 64)
			io.ReadFull(c, p)
			p[9] ^= 1
			c.Write(p[:10])
		}, Plan{}, Corrupt, 9, 1},
		{"closes between two answers", func(c net.Conn) {
			io.CopyN(c, c, 640)
			c.(interface{ CloseWrite() error }).CloseWrite() // closing at once would be a reset, if more has come
			io.Copy(io.Discard, c)
		}, Plan{}, EarlyClose, 0, 0},
		{"resets", func(c net.Conn) {
			io.ReadFull(c, make([]byte, 64))
			c.(*sock.Conn).NetConn().(interface{ SetLinger(int) error }).SetLinger(0)
		}, Plan{}, ResetClass, 0, 0},
		{"never answers", func(c net.Conn) { io.Copy(io.Discard, c) }, Plan{}, Timeout, 0, 0},
		{"flips a letter of a line", at1000(func(b, a []byte) []byte { a[0] ^= 1; return append(b, a...) }), Plan{Upper: true}, Corrupt, 1000, 1},
		{"drops a letter of a line", at1000(func(b, a []byte) []byte { return append(b, a[1:]...) }), Plan{Upper: true, Pipeline: 8}, Lost, 1000, 1},
	} {
		for _, way := range ways("tcp", "tls") {
			if way.network == "tls" && tt.want == ResetClass {
				continue // what a server resets there is below TLS
			}
			t.Run(tt.what+" over "+way.String(), func(t *testing.T) {
				t.Parallel()
				p := tt.plan
				p.Driver = way.driver
				p.Count, p.Timeout, p.TLS, p.Seed = 100, 300*time.Millisecond, insecure, 1 // at byte 1000 of which no two neighbours are alike
				handle := tt.handle
				if p.Conns == 2 {
					handle = swapped()
				}
				if p.Upper {
					handle = func(c net.Conn) { tt.handle(capitals{c}) }
				}
				p.Target = serveAt(t, sock.Address{Network: way.network, Host: "127.0.0.1"}, handle)
				r := mustRun(t, p)
				if n := r.Errors[tt.want]; n != int64(max(p.Conns, 1)) || len(r.Errors) != 1 {
					t.Fatalf("errors %v (%v), want %s", r.Errors, r.FirstError(), tt.want)
				}
				check(t, r, tt.offset, tt.bytes)
			})
		}
	}
}

// check wants the fault to be the one at a place.
func check(t *testing.T, r *Report, offset, bytes int64) {
	t.Helper()
	var fault *Fault
	if !errors.As(r.FirstError(), &fault) {
		if r.Corrupt != 0 || r.Lost > int64(r.Plan.Pipeline) {
			t.Errorf("%+v", r.Counts)
		}
		return
	}
	if extra := fault.Offset%64 == 0; r.Corrupt != r.Errors[fault.Class] && !extra {
		t.Errorf("%d wrong answers: %v", r.Corrupt, r.Errors)
	}
	if fault.Offset != offset || fault.Bytes != bytes {
		t.Errorf("%v (%d bytes), want %d at offset %d", fault, fault.Bytes, bytes, offset)
	}
	if fault.Class == Spliced && (fault.FromConn != 1-fault.Conn || fault.FromOffset != 1000) {
		t.Errorf("%v, want the other's from byte 1000 on", fault)
	}
	if !strings.Contains(fault.Error(), "connection") {
		t.Errorf("%v", fault)
	}
}

// capitals makes what is written capitals.
type capitals struct{ net.Conn }

func (c capitals) Write(p []byte) (int, error) {
	return c.Conn.Write([]byte(strings.ToUpper(string(p))))
}

// A server that gives a byte at a time, and one that takes its time, are only slow.
func TestSlowIsNotWrong(t *testing.T) {
	t.Parallel()
	clean(t, mustRun(t, Plan{Count: 30, Target: serve(t, func(c net.Conn) {
		p := make([]byte, 1)
		for {
			if _, err := c.Read(p); err != nil {
				return
			}
			c.Write(p)
		}
	})}), 30)
}

// A server that takes connections and does nothing, for a TLS client.
func TestHandshakeThatHangs(t *testing.T) {
	t.Parallel()
	at := serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	at.Network = "tls"
	if r := mustRun(t, Plan{Target: at, Count: 5, Timeout: 100 * time.Millisecond}); r.Errors[Timeout] != 1 || r.Sent != 0 {
		t.Errorf("%+v %v", r.Counts, r.Errors)
	}
}

// A server that takes what is sent, and reads nothing: what is sent stays here, and is
// lost in time.
func TestPeerThatNeverReads(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "tls"} {
		stop := make(chan bool)
		t.Cleanup(func() { close(stop) })
		target := serveAt(t, sock.Address{Network: network, Host: "127.0.0.1"}, func(c net.Conn) {
			c.Read(make([]byte, 1)) // completes a handshake
			<-stop
		})
		r := mustRun(t, Plan{Target: target, Count: 5, Size: 16 << 20, Timeout: 200 * time.Millisecond, TLS: insecure})
		if r.Errors[Timeout] != 1 || r.Lost != 1 {
			t.Errorf("%s: %+v %v", network, r.Counts, r.Errors)
		}
	}
}

// What is sent in small pieces is given up too, and the socket closed, while the kernel still
// wants to send it.
func TestPeerThatNeverReadsAndComesBack(t *testing.T) {
	t.Parallel()
	for _, way := range ways("unix") {
		stop := make(chan bool)
		t.Cleanup(func() { close(stop) })
		at := sock.Address{Network: "unix", Path: filepath.Join(t.TempDir(), "s")}
		target := serveAt(t, at, func(net.Conn) { <-stop })
		r := mustRun(t, Plan{Target: target, Driver: way.driver, Conns: 2, Count: 1 << 20, Pipeline: 1 << 14, Timeout: 100 * time.Millisecond, Reconnect: 1})
		if r.Errors[Timeout] != 4 || r.Lost != 4<<14 || r.Reconnects != 2 || r.Verified != 0 {
			t.Errorf("%v: %+v %v", way, r.Counts, r.Errors)
		}
	}
}

// A wrong answer ends its own connection, and not those of the messages that follow.
func TestWrongAnswersToNewConnections(t *testing.T) {
	t.Parallel()
	for _, way := range ways("tcp", "tls") {
		for class, change := range map[Class]func(p []byte) []byte{
			Corrupt: func(p []byte) []byte { p[10] ^= 1; return p },
			Unasked: func(p []byte) []byte { return append(p, "extra"...) },
		} {
			target := serveAt(t, sock.Address{Network: way.network, Host: "127.0.0.1"}, relay(func(_ int, p []byte) []byte { return change(p) }))
			r := mustRun(t, Plan{Target: target, NewConns: true, Count: 3, Duration: 20 * time.Second, TLS: insecure, Driver: way.driver})
			if r.Sent != 3 || r.Errors[class] != 3 || len(r.Errors) != 1 {
				t.Errorf("%v: %+v %v, want three that are %s", way, r.Counts, r.Errors, class)
			}
		}
	}
}

// Zeros are what nobody has sent, whatever the connection.
func TestZerosAreWrong(t *testing.T) {
	t.Parallel()
	r := mustRun(t, Plan{Count: 1, Target: serve(t, relay(func(_ int, p []byte) []byte { clear(p); return p }))})
	var fault *Fault
	if !errors.As(r.FirstError(), &fault) || fault.Class != Corrupt || fault.Offset > 2 {
		t.Errorf("%v (%v)", r.Errors, r.FirstError())
	}
}

// The first byte of a server that speaks before it is asked is none of an answer.
func TestServerThatSpeaksFirst(t *testing.T) {
	t.Parallel()
	for _, way := range ways("tcp", "tls") {
		spoke := make(chan bool)
		target := serveAt(t, sock.Address{Network: way.network, Host: "127.0.0.1"}, func(c net.Conn) {
			io.WriteString(c, "hello")
			close(spoke)
			io.Copy(io.Discard, c)
		})
		r := mustRun(t, Plan{Target: target, Count: 1, TLS: insecure, Driver: way.driver, Opened: func() { <-spoke }, Timeout: 2 * time.Second})
		if r.Failures() != 1 || r.FirstByte.TotalCount() > r.Sent {
			t.Errorf("%v: %+v %v, first byte of %d", way, r.Counts, r.Errors, r.FirstByte.TotalCount())
		}
	}
}

// What is due is counted as that while others go on, where all connections of an event loop are broken.
func TestDueWhereAllIsBroken(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	target := serve(t, func(c net.Conn) {
		if n.Add(1) > 1 {
			echo(c)
		}
	})
	r := mustRun(t, Plan{Target: target, Conns: 2, Threads: 2, Pace: Constant(200), Duration: 300 * time.Millisecond})
	if r.Failures() != 1 || r.Due < 59 || r.Sent+r.Unsent != r.Due {
		t.Errorf("%+v %v: 60 were due", r.Counts, r.Errors)
	}
}

// A server that answers no more has taken the rest of an open loop's time, too.
func TestTimeWithoutAnswers(t *testing.T) {
	t.Parallel()
	target := serve(t, func(c net.Conn) {
		io.CopyN(c, c, 640)
		io.Copy(io.Discard, c)
	})
	r := mustRun(t, Plan{Target: target, Pace: Constant(1000), Duration: 200 * time.Millisecond, Timeout: 300 * time.Millisecond})
	if r.Verified != 10 || r.Elapsed < 200*time.Millisecond || r.Rate() > 50 {
		t.Errorf("%+v in %v", r.Counts, r.Elapsed)
	}
	target = serve(t, func(c net.Conn) { io.CopyN(c, c, 640) })
	r = mustRun(t, Plan{Target: target, Conns: 5, Reconnect: -1, Pace: Constant(1000), Duration: 200 * time.Millisecond})
	if r.Failures() == 0 || r.Elapsed < 200*time.Millisecond {
		t.Errorf("with errors between: %+v %v in %v", r.Counts, r.Errors, r.Elapsed)
	}
}
