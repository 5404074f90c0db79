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
	dns  *time.Duration // how slow names are

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
}

var (
	theServer = []story.Verdict{story.Server, story.Handler}
	byClient  = []story.Verdict{story.ClosedByClient, story.KernelOfClient}
	byServer  = []story.Verdict{story.ClosedByServer, story.KernelOfServer}
	nobody    = []story.Verdict{story.NobodyWeSee}
	there     = []story.Verdict{story.NetworkThere}
	back      = []story.Verdict{story.NetworkBack}
	theClient = []story.Verdict{story.Client}
)

var faults = []fault{
	{"nothing: ncat and socat", (*round).nothing, []story.Verdict{story.ClosedByClient}},
	{"nothing: curl and nginx", (*round).nothingWeb, []story.Verdict{story.ClosedByClient}},
	{"client stopped: ncat", (*round).stopClient, theClient},
	{"client stopped: curl", (*round).stopCurl, theClient},
	{"server stopped: socat", (*round).stopServer, theServer},
	{"server stopped: nginx", (*round).stopNginx, theServer},
	{"loss there", func(r *round, ctx context.Context) error { return r.loss(ctx, "ip daddr") }, there},
	{"loss back", func(r *round, ctx context.Context) error { return r.loss(ctx, "ip saddr") }, back},
	{"loss of a download", (*round).lossOfDownload, back},
	{"black hole there", func(r *round, ctx context.Context) error { return r.blackHole(ctx, "ip daddr") }, there},
	{"black hole back", func(r *round, ctx context.Context) error { return r.blackHole(ctx, "ip saddr") }, back},
	{"accept queue full", (*round).queue, []story.Verdict{story.AcceptQueue}},
	{"slow handler", (*round).slowHandler, theServer},
	{"slow reader: client", (*round).slowClient, theClient},
	{"slow reader: server", (*round).slowServer, theServer},
	{"RST by the router to the client", func(r *round, ctx context.Context) error { return r.reset(ctx, "ip daddr") }, nobody},
	{"RST by the router to the server", func(r *round, ctx context.Context) error { return r.reset(ctx, "ip saddr") }, nobody},
	{"server killed", (*round).killServer, byServer},
	{"client killed", (*round).killClient, byClient},
	{"port closed", (*round).closed, []story.Verdict{story.KernelOfServer}},
	{"lost SYN", func(r *round, ctx context.Context) error { return r.loseHandshake(ctx, "ip daddr", "syn") }, there},
	{"lost SYN, ACK", func(r *round, ctx context.Context) error { return r.loseHandshake(ctx, "ip saddr", "syn|ack") }, back},
	{"slow name", (*round).slowName, theClient},
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
	if way == "ip saddr" {
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
	r.h.nft(r.rule("ip saddr", "drop"))
	stop := time.AfterFunc(r.hold, func() { r.h.nft("") })
	defer stop.Stop()
	return r.read(c)
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
	if way == "ip daddr" {
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

// killServer kills a server that has not read all.
func (r *round) killServer(ctx context.Context) error {
	s, c, err := r.both(ctx)
	if err != nil {
		return err
	}
	r.end(s)
	c.wait(time.Second)
	return nil
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
	*r.dns = r.hold
	defer func() { *r.dns = 0 }()
	s, c, err := r.web(ctx, serverName, "small")
	if err != nil {
		return err
	}
	defer r.end(s)
	return r.read(c)
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
