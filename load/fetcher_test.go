package load

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"yodel/sock"
	"yodel/trace"
)

// hello is a page, and an answer to a request.
const hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

// webServer gives each connection's requests their answers, in that order, and then closes it.
func webServer(t *testing.T, answers ...string) sock.Address {
	t.Helper()
	at := serve(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for _, answer := range append(answers, "") {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			io.WriteString(c, answer)
		}
	})
	at.Network = "http"
	return at
}

// A request whose connection the server closes, instead of answering, is an error and is not made
// again in silence.
func TestRequestsAreMadeOnce(t *testing.T) {
	t.Parallel()
	r := mustRun(t, Plan{Target: webServer(t, hello, hello), Count: 9})
	if r.Verified != 6 || r.Lost != 3 || r.Errors[EarlyClose] != 3 || len(r.Errors) != 1 || r.Connections != 3 {
		t.Errorf("%+v %v (%v), want two answers of each of three connections, and an end", r.Counts, r.Errors, r.FirstError())
	}
}

// An answer that ends too early says how much is missing, where that is known.
func TestPagesThatAreCut(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello":                 "byte 5: the answer ends here, 4 bytes are missing",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nhello": "byte 5: the answer ends here, and is not whole",
	} {
		at := serve(t, func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				io.WriteString(c, answer)
			}
		})
		at.Network = "http"
		if r := mustRun(t, Plan{Target: at, Count: 2}); r.Errors[Truncated] != 2 || !strings.HasSuffix(r.FirstError().Error(), want) {
			t.Errorf("%v (%v), want %q", r.Errors, r.FirstError(), want)
		}
	}
}

// kinds counts the events of each connection.
type kinds struct {
	mu  sync.Mutex
	saw map[trace.ConnID][]trace.Op
}

func (k *kinds) Emit(e *trace.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.saw[e.Conn] = append(k.saw[e.Conn], e.Op)
}

// A page's connections are in the trace as all others are, by the names that the slowest have; and
// the first byte is the first of a connection.
func TestPhasesOfRequests(t *testing.T) {
	t.Parallel()
	seen := &kinds{saw: make(map[trace.ConnID][]trace.Op)}
	r := mustRun(t, Plan{Target: webServer(t, hello, hello, hello, hello, hello, hello), Count: 6, Sink: seen})
	if n := r.FirstByte.TotalCount(); n != 1 || r.Connect.TotalCount() != 1 || r.Connections != 1 {
		t.Errorf("%d first bytes of %d connections, %d of which made", n, r.Connections, r.Connect.TotalCount())
	}
	if d := r.Document(); d.Size != 0 {
		t.Errorf("messages of %d bytes", d.Size)
	}
	for _, s := range r.Slowest {
		if len(seen.saw[s.ID]) == 0 {
			t.Errorf("%v is not in the trace: %v", s.ID, seen.saw)
		}
	}
}

// A run that is stopped while an exchange is under way ends.
func TestContextEndsExchanges(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"http", "tls"} {
		ctx, cancel := context.WithCancel(t.Context())
		listen := sock.Address{Network: strings.Replace(network, "http", "tcp", 1), Host: "127.0.0.1"}
		at := serveAt(t, listen, func(c net.Conn) {
			c.Read(make([]byte, 1))
			cancel()
			io.Copy(io.Discard, c)
		})
		at.Network = network
		r, err := Run(ctx, Plan{Target: at, NewConns: true, Count: 3, Timeout: time.Hour, TLS: insecure})
		if err != nil || r.Sent != 1 || r.Unfinished != 1 || !r.Stopped {
			t.Errorf("%s: %+v, %v", network, r.Counts, err)
		}
	}
}
