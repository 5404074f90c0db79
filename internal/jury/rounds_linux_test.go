package jury

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"yodel/story"
)

// round is one connection and what is done to it.
type round struct {
	h    *hosts
	rng  *rand.Rand
	port int
	hold time.Duration // how long the fault lasts
	nap  func(time.Duration)
	dns  *atomic.Int64 // how slow names are: a duration

	n     int
	fault fault
	own   bool          // captured by us, in place of tcpdump
	tapes [2]tape       // the client's, the server's
	took  time.Duration // all of it, by the clock of the one who does it

	after int // the number of messages before the fault
	lines int

	traces [2]*bytes.Buffer // of programs of ours: client's, server's

	// noise is how long what was not the fault took, by the clock of the one who talks.
	noise time.Duration
}

// quiet counts what f takes as noise.
func (r *round) quiet(f func() error) error {
	began := time.Now()
	err := f()
	r.noise += time.Since(began)
	return err
}

// A fault is something that is done, and the verdicts that are true then.
type fault struct {
	name string
	do   func(*round, context.Context) error
	true []story.Verdict

	short bool // the fault may last less than the round's hold

	// closed is who closed the connection in the end, where somebody was kept waiting. It
	// is true of evidence that does not have the fault itself.
	closed []story.Verdict
	early  bool // the fault is in the handshake
}

var (
	aServer   = []story.Verdict{story.Server, story.Handler} // its program has the connection, and has not shown it yet
	inQueue   = []story.Verdict{story.Server, story.AcceptQueue}
	aHandler  = []story.Verdict{story.Handler}
	byClient  = []story.Verdict{story.ClosedByClient}
	byServer  = []story.Verdict{story.ClosedByServer}
	byKernelC = []story.Verdict{story.KernelOfClient}
	byKernelS = []story.Verdict{story.KernelOfServer}
	nobody    = []story.Verdict{story.NobodyWeSee}
	there     = []story.Verdict{story.NetworkThere}
	back      = []story.Verdict{story.NetworkBack}
	theClient = []story.Verdict{story.Client}
	theQueue  = []story.Verdict{story.AcceptQueue}
)

// The directions of the router's rules.
const (
	toServer = "ip daddr"
	toClient = "ip saddr"
)

var faults = []fault{
	{name: "nothing: ncat and socat", do: (*round).nothing, true: byClient},
	{name: "nothing: curl and nginx", do: (*round).nothingWeb, true: byClient},
	{name: "nothing: server closes first", do: (*round).nothingBrief, true: byServer},
	{name: "client stopped: ncat, socat", do: (*round).stopClient, true: theClient},
	{name: "client stopped: curl", do: (*round).stopCurl, true: theClient},
	{name: "server stopped: ncat, socat", do: (*round).stopServer, true: aHandler},
	{name: "server stopped: nginx", do: (*round).stopNginx, true: inQueue},
	{name: "loss there", do: toward(toServer, (*round).loss), true: there},
	{name: "loss back", do: toward(toClient, (*round).loss), true: back},
	{name: "loss of a download", do: (*round).lossOfDownload, true: back},
	{name: "some loss of a download", do: (*round).someLossOfDownload, true: back, short: true},
	{name: "some loss of an upload", do: (*round).someLossOfUpload, true: there, short: true},
	{name: "black hole there", do: toward(toServer, (*round).blackHole), true: there},
	{name: "black hole back", do: toward(toClient, (*round).blackHole), true: back},
	{name: "accept queue full", do: (*round).queue, true: theQueue, closed: byClient, early: true},
	{name: "slow handler", do: (*round).slowHandler, true: aHandler},
	{name: "slow reader: client", do: (*round).slowClient, true: theClient},
	{name: "slow reader: server", do: (*round).slowServer, true: aServer},
	{name: "RST by the router to the client", do: toward(toServer, (*round).reset), true: nobody},
	{name: "RST by the router to the server", do: toward(toClient, (*round).reset), true: nobody},
	{name: "server killed", do: (*round).killServer, true: byServer},
	{name: "server killed, bytes unread", do: (*round).killStopped, true: byKernelS},
	{name: "client killed, bytes unread", do: (*round).killClient, true: byKernelC},
	{name: "port closed", do: (*round).closed, true: byKernelS},
	{name: "lost SYN", do: func(r *round, ctx context.Context) error { return r.loseHandshake(ctx, toServer, "syn") }, true: there, short: true, closed: byClient, early: true},
	{name: "lost SYN, ACK", do: func(r *round, ctx context.Context) error { return r.loseHandshake(ctx, toClient, "syn|ack") }, true: back, short: true, closed: byClient, early: true},
	{name: "slow name", do: (*round).slowName, true: theClient, closed: byClient},
}

// toward gives what is done the way in which it is done.
func toward(way string, do func(*round, context.Context, string) error) func(*round, context.Context) error {
	return func(r *round, ctx context.Context) error { return do(r, ctx, way) }
}

func (r *round) at() string { return net.JoinHostPort(serverAddr, strconv.Itoa(r.port)) }

// serve starts an echo server: socat or ncat.
func (r *round) serve(ctx context.Context, more string) (*program, error) {
	var s *program
	var err error
	if more == "" && r.rng.IntN(2) == 0 {
		s, err = r.h.start(ctx, r.h.server, "ncat", "-l", "-k", "-e", "/bin/cat", strconv.Itoa(r.port))
	} else {
		if more == "" {
			more = "EXEC:cat"
		}
		s, err = r.h.start(ctx, r.h.server, "socat", fmt.Sprintf("TCP4-LISTEN:%d,reuseaddr,fork,backlog=%d", r.port, 1), more)
	}
	if err != nil {
		return nil, err
	}
	return s, r.h.listening(r.h.server, r.port)
}

// dial starts a client: ncat or socat.
func (r *round) dial(ctx context.Context) (*program, error) {
	if r.rng.IntN(2) == 0 {
		return r.h.start(ctx, r.h.client, "socat", "-t", "5", "-", "TCP4:"+r.at())
	}
	return r.h.start(ctx, r.h.client, "ncat", serverAddr, strconv.Itoa(r.port))
}

// both starts a server and a client, and has them talk up to the fault.
func (r *round) both(ctx context.Context) (s, c *program, err error) {
	if s, err = r.serve(ctx, ""); err != nil {
		return s, c, err
	}
	if c, err = r.dial(ctx); err != nil {
		return s, c, err
	}
	return s, c, r.quiet(func() error { return errors.Join(r.established(), r.talk(c, r.after)) })
}

func (r *round) talk(c *program, n int) error {
	for range n {
		if err := c.say(fmt.Sprintf("line %x", r.rng.Uint64())); err != nil {
			return fmt.Errorf("before the fault: %w", err)
		}
	}
	return nil
}

// finish says the rest, ends the client's direction and waits for the end.
func (r *round) finish(s, c *program) error {
	err := r.talk(c, 1)
	if err == nil {
		err = r.quiet(func() error { return r.talk(c, r.lines-1) })
	}
	r.quiet(func() error {
		c.in.Close()
		c.wait(10 * time.Second)
		return nil
	})
	r.end(s)
	return err
}

// end ends a server.
func (r *round) end(s *program) {
	signalAll(s.cmd.Process.Pid, unix.SIGKILL)
	<-s.end
}

func (r *round) nothing(ctx context.Context) error {
	s, c, err := r.both(ctx)
	if err != nil {
		return err
	}
	return r.quiet(func() error { return r.finish(s, c) })
}

// nothingBrief has a server that answers once and goes.
func (r *round) nothingBrief(ctx context.Context) error {
	s, err := r.serve(ctx, "SYSTEM:read x; echo $x")
	if err != nil {
		return err
	}
	defer r.end(s)
	c, err := r.h.start(ctx, r.h.client, "socat", "-,ignoreeof", "TCP4:"+r.at())
	if err != nil {
		return err
	}
	err = r.quiet(func() error { return r.talk(c, 1) })
	c.wait(5 * time.Second) // it waits half a second before it closes, too
	return err
}

func (r *round) curl(ctx context.Context, host, file string) (*program, error) {
	return r.h.start(ctx, r.h.client, "curl", "-sS4", "--max-time", "20", "http://"+net.JoinHostPort(host, strconv.Itoa(r.port))+"/"+file)
}

func (r *round) web(ctx context.Context, host, file string) (s, c *program, err error) {
	if s, err = r.h.nginx(ctx, r.port); err != nil {
		return s, c, err
	}
	c, err = r.curl(ctx, host, file)
	return s, c, err
}

func (r *round) read(c *program) error {
	_, err := io.Copy(io.Discard, c.out)
	c.wait(10 * time.Second)
	return err
}

func (r *round) nothingWeb(ctx context.Context) error {
	s, c, err := r.web(ctx, serverAddr, "small")
	if err != nil {
		return err
	}
	defer r.end(s)
	return r.quiet(func() error { return r.read(c) })
}

func (r *round) stopClient(ctx context.Context) error {
	s, c, err := r.both(ctx)
	if err != nil {
		return err
	}
	c.signal(unix.SIGSTOP)
	time.AfterFunc(r.hold, func() { c.signal(unix.SIGCONT) })
	return r.finish(s, c)
}

func (r *round) stopCurl(ctx context.Context) error {
	s, c, err := r.web(ctx, serverAddr, "large")
	if err != nil {
		return err
	}
	defer r.end(s)
	c.out.Peek(1)
	c.signal(unix.SIGSTOP)
	r.nap(r.hold)
	c.signal(unix.SIGCONT)
	return r.read(c)
}

func (r *round) stopServer(ctx context.Context) error {
	s, c, err := r.both(ctx)
	if err != nil {
		return err
	}
	signalAll(s.cmd.Process.Pid, unix.SIGSTOP)
	time.AfterFunc(r.hold, func() { signalAll(s.cmd.Process.Pid, unix.SIGCONT) })
	return r.finish(s, c)
}

func (r *round) stopNginx(ctx context.Context) error {
	s, err := r.h.nginx(ctx, r.port)
	if err != nil {
		return err
	}
	defer r.end(s)
	signalAll(s.cmd.Process.Pid, unix.SIGSTOP)
	c, err := r.curl(ctx, serverAddr, "small")
	if err != nil {
		return err
	}
	if err := r.established(); err != nil {
		return err
	}
	r.nap(r.hold)
	signalAll(s.cmd.Process.Pid, unix.SIGCONT)
	return r.read(c)
}

// established waits until the client's host has a connection to the port.
func (r *round) established() error {
	return r.h.socket(r.h.client, fmt.Sprintf(":%04X 01", r.port))
}

func (r *round) rule(way, what string) string {
	port := "tcp dport"
	if way == toClient {
		port = "tcp sport"
	}
	return forward(fmt.Sprintf("%s %s %s %d %s", way, serverAddr, port, r.port, what))
}

// loss loses all packets of one direction for a while. What is sent by then must be sent
// again.
func (r *round) loss(ctx context.Context, way string) error {
	s, c, err := r.both(ctx)
	if err != nil {
		return err
	}
	r.h.nft(r.rule(way, "drop"))
	stop := time.AfterFunc(r.hold, func() { r.h.nft("") })
	defer stop.Stop()
	return r.finish(s, c)
}

func (r *round) lossOfDownload(ctx context.Context) error {
	s, c, err := r.web(ctx, serverAddr, "large")
	if err != nil {
		return err
	}
	defer r.end(s)
	c.out.Peek(1)
	r.h.nft(r.rule(toClient, "drop"))
	stop := time.AfterFunc(r.hold, func() { r.h.nft("") })
	defer stop.Stop()
	return r.read(c)
}

// someLossOfDownload loses one packet of three, at random.
func (r *round) someLossOfDownload(ctx context.Context) error {
	s, c, err := r.web(ctx, serverAddr, "large")
	if err != nil {
		return err
	}
	defer r.end(s)
	c.out.Peek(1)
	r.h.nft(r.rule(toClient, "numgen random mod 3 == 0 drop"))
	stop := time.AfterFunc(4*r.hold, func() { r.h.nft("") })
	defer stop.Stop()
	return r.read(c)
}

func (r *round) someLossOfUpload(ctx context.Context) error {
	s, err := r.serve(ctx, "SYSTEM:cat >/dev/null; echo done")
	if err != nil {
		return err
	}
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	if err := r.established(); err != nil {
		return err
	}
	r.h.nft(r.rule(toServer, "numgen random mod 3 == 0 drop"))
	stop := time.AfterFunc(4*r.hold, func() { r.h.nft("") })
	defer stop.Stop()
	go func() {
		c.in.Write(make([]byte, 4<<20))
		c.in.Close()
	}()
	_, err = c.out.ReadString('\n')
	c.wait(10 * time.Second)
	r.end(s)
	return err
}

func (r *round) blackHole(ctx context.Context, way string) error {
	s, c, err := r.both(ctx)
	if err != nil {
		return err
	}
	r.h.nft(r.rule(way, "drop"))
	io.WriteString(c.in, "into the dark\n")
	r.nap(2 * r.hold)
	c.kill()
	r.nap(50 * time.Millisecond)
	r.h.nft("")
	r.end(s)
	return nil
}

// queue stops a server that listens with a short backlog, and fills it.
func (r *round) queue(ctx context.Context) error {
	s, err := r.serve(ctx, "EXEC:cat")
	if err != nil {
		return err
	}
	signalAll(s.cmd.Process.Pid, unix.SIGSTOP)
	for range 2 { // a backlog of 1 holds 2
		c, err := dialFrom(r.h.client, r.at(), 5*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		c.Write([]byte("first\n"))
	}
	r.nap(20 * time.Millisecond)
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	if err := r.h.socket(r.h.client, fmt.Sprintf(":%04X 02", r.port)); err != nil { // SYN_SENT
		return err
	}
	r.nap(r.hold)
	signalAll(s.cmd.Process.Pid, unix.SIGCONT)
	return r.finish(s, c)
}

func (r *round) slowHandler(ctx context.Context) error {
	s, err := r.serve(ctx, fmt.Sprintf("SYSTEM:read x; echo $x; read y; sleep %.3f; echo $y; exec cat", r.hold.Seconds()))
	if err != nil {
		return err
	}
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	err = r.talk(c, 1+r.lines)
	c.in.Close()
	c.wait(10 * time.Second)
	r.end(s)
	return err
}

// slowClient does not take what curl has got, so that curl does not read.
func (r *round) slowClient(ctx context.Context) error {
	s, c, err := r.web(ctx, serverAddr, "large")
	if err != nil {
		return err
	}
	defer r.end(s)
	c.out.Peek(1)
	r.nap(r.hold)
	return r.read(c)
}

func (r *round) slowServer(ctx context.Context) error {
	s, err := r.serve(ctx, fmt.Sprintf("SYSTEM:sleep %.3f; cat >/dev/null; echo done", r.hold.Seconds()))
	if err != nil {
		return err
	}
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	go func() {
		c.in.Write(make([]byte, 4<<20))
		c.in.Close()
	}()
	_, err = c.out.ReadString('\n')
	c.wait(10 * time.Second)
	r.end(s)
	return err
}

// reset has the router answer with RST in the name of the other end.
func (r *round) reset(ctx context.Context, way string) error {
	s, c, err := r.both(ctx)
	if err != nil {
		return err
	}
	r.h.nft(r.rule(way, "reject with tcp reset"))
	io.WriteString(c.in, "one more\n")
	if way == toServer {
		c.wait(5 * time.Second)
	} else {
		r.nap(100 * time.Millisecond)
		c.kill()
	}
	r.nap(20 * time.Millisecond)
	r.h.nft("")
	r.end(s)
	return nil
}

// killServer kills a server that has read all.
func (r *round) killServer(ctx context.Context) error {
	s, c, err := r.both(ctx)
	if err != nil {
		return err
	}
	r.end(s)
	r.nap(50 * time.Millisecond)
	c.in.Close()
	c.wait(time.Second)
	return nil
}

// killStopped kills a server that has not read all.
func (r *round) killStopped(ctx context.Context) error {
	s, c, err := r.both(ctx)
	if err != nil {
		return err
	}
	return r.quiet(func() error {
		signalAll(s.cmd.Process.Pid, unix.SIGSTOP)
		io.WriteString(c.in, "nobody reads this\n")
		err := r.h.unread(r.h.server, r.port)
		r.end(s)
		r.nap(20 * time.Millisecond)
		c.kill()
		return err
	})
}

func (r *round) killClient(ctx context.Context) error {
	s, c, err := r.web(ctx, serverAddr, "large")
	if err != nil {
		return err
	}
	defer r.end(s)
	c.out.Peek(1)
	c.kill()
	r.nap(20 * time.Millisecond)
	return nil
}

func (r *round) closed(ctx context.Context) error {
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	c.wait(5 * time.Second)
	return nil
}

// loseHandshake loses one packet of the handshake.
func (r *round) loseHandshake(ctx context.Context, way, flags string) error {
	s, err := r.serve(ctx, "EXEC:cat")
	if err != nil {
		return err
	}
	r.h.nft(r.rule(way, "tcp flags == "+flags+" drop"))
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	if err := r.h.socket(r.h.client, fmt.Sprintf(":%04X 02", r.port)); err != nil {
		return err
	}
	r.nap(200 * time.Millisecond)
	r.h.nft("")
	return r.finish(s, c)
}

func (r *round) slowName(ctx context.Context) error {
	r.dns.Store(int64(r.hold))
	defer r.dns.Store(0)
	s, c, err := r.web(ctx, serverName, "small")
	if err != nil {
		return err
	}
	defer r.end(s)
	return r.read(c)
}

// unread waits until a socket that is bound to a port has bytes that nobody has read.
func (h *hosts) unread(ns string, port int) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-tick.C {
		for _, line := range strings.Split(h.table(ns), "\n") {
			f := strings.Fields(line)
			if len(f) > 4 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == "01" && !strings.HasSuffix(f[4], ":00000000") {
				return nil
			}
		}
	}
	return errors.New("nothing is unread")
}

// socket waits until a host has a socket whose line in /proc/net/tcp has the text.
func (h *hosts) socket(ns, text string) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-tick.C {
		if h.sockets(ns, text) {
			return nil
		}
	}
	return errors.New("no socket " + text)
}
