package capture

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

// patience is how long anything in these tests may take.
const patience = 20 * time.Second

// An errand is what a user's process does when it is told to: one connection, or one
// exchange of datagrams, per address in Local, one after the other.
type errand struct {
	Do     string // what player.run knows
	Local  []string
	Remote string
	Say    string // the canary; its number follows
	End    string // tcp: "reset", "fin", "server"
}

type report struct {
	Error string
	Done  int
	PID   int
}

// A user is a process of some user, on a host of the test's own.
type user struct {
	t   *testing.T
	uid uint32
	in  *json.Encoder
	out *json.Decoder
	cmd *exec.Cmd
}

func startUser(t *testing.T, h *netns.Host, uid uint32) *user {
	t.Helper()
	yodeltest.NeedRoot(t)
	u := &user{t: t, uid: uid}
	u.cmd = exec.Command("/proc/self/exe")
	u.cmd.Env = append(os.Environ(), playVar+"=user")
	u.cmd.Stderr = os.Stderr
	u.cmd.Dir = "/"
	if uid != 0 {
		u.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	in, err := u.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := u.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	u.in, u.out = json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))
	if err := h.Inside(u.cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		u.cmd.Wait()
	})
	return u
}

// do sends the user on an errand and waits.
func (u *user) do(e errand) int {
	u.t.Helper()
	n, err := u.try(e)
	if err != nil {
		u.t.Fatalf("user %d: %+v: %v", u.uid, e, err)
	}
	return n
}

func (u *user) try(e errand) (int, error) {
	if err := u.in.Encode(e); err != nil {
		return 0, err
	}
	var r report
	if err := u.out.Decode(&r); err != nil {
		return 0, err
	}
	if r.Error != "" {
		return r.Done, errors.New(r.Error)
	}
	return r.Done, nil
}

// playUser is the process itself.
func playUser() int {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	p := player{}
	for {
		var e errand
		if in.Decode(&e) != nil {
			return 0
		}
		r := report{PID: os.Getpid()}
		if err := p.run(&e, &r); err != nil {
			r.Error = err.Error()
		}
		if out.Encode(r) != nil {
			return 1
		}
	}
}

// A player keeps what outlives an errand.
type player struct {
	bound []net.PacketConn
	held  []net.Conn
	serve []net.Listener
	done  sync.WaitGroup
	count int
}

func (p *player) run(e *errand, r *report) error {
	switch e.Do {
	case "tcp", "udp":
		return e.talk(r)
	case "blurt":
		return e.blurt()
	case "bind":
		return p.bind(e)
	case "connect":
		c, err := (&errand{Do: "udp", Remote: e.Remote}).dial(e.Local[0])
		p.held = append(p.held, c)
		return err
	case "tell":
		return p.tell(e)
	case "send":
		return e.send()
	case "hear":
		return p.hear(e, r)
	case "serve":
		return p.listen(e)
	case "served":
		for _, l := range p.serve {
			l.Close()
		}
		p.done.Wait()
		r.Done, p.serve, p.count = p.count, nil, 0
		return nil
	case "run":
		cmd := exec.Command(e.Local[0], e.Local[1:]...)
		return cmd.Run()
	}
	return errors.New("no such errand")
}

func (e *errand) talk(r *report) error {
	for i, local := range e.Local {
		err := e.once(local, fmt.Sprintf("%s-%d;", e.Say, i))
		if err != nil {
			return fmt.Errorf("number %d, from %s: %w", i, local, err)
		}
		r.Done++
	}
	return nil
}

// once says something from an address that someone else may have used just now, hears
// it again, and ends the conversation.
func (e *errand) once(local, say string) error {
	c, err := e.dial(local)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if e.End == "server" {
		say += "bye."
	}
	if _, err := io.WriteString(c, say); err != nil {
		return err
	}
	heard := make([]byte, len(say))
	if _, err := io.ReadFull(c, heard); err != nil {
		return fmt.Errorf("the echo: %w", err)
	}
	if string(heard) != say {
		return fmt.Errorf("%q came back as %q", say, heard)
	}
	tcp, ok := c.(*net.TCPConn)
	switch {
	case !ok:
		return nil
	case e.End == "reset":
		return tcp.SetLinger(0)
	case e.End == "server":
		_, err = c.Read(heard[:1])
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return err
}

// dial tries again while the address is in use.
func (e *errand) dial(local string) (net.Conn, error) {
	d := net.Dialer{Timeout: patience, Control: reuse}
	d.SetMultipathTCP(false)
	var err error
	if e.Do == "tcp" {
		d.LocalAddr, err = net.ResolveTCPAddr("tcp", local)
	} else {
		d.LocalAddr, err = net.ResolveUDPAddr("udp", local)
	}
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; {
		c, err := d.Dial(e.Do, e.Remote)
		busy := errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL)
		if !busy || time.Now().After(end) {
			return c, err
		}
	}
}

// reuse lets a TCP port be used whose last connection has just ended.
func reuse(network, _ string, raw syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	})
	return err
}

// blurt says much from an address, waits for nothing, and is gone.
func (e *errand) blurt() error {
	e.Do = e.End
	c, err := e.dial(e.Local[0])
	if err != nil {
		return err
	}
	defer c.Close()
	for range 8 {
		if _, err := io.WriteString(c, e.Say+strings.Repeat(".", 1300)); err != nil {
			return err
		}
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		return tcp.SetLinger(0)
	}
	return nil
}

func (p *player) bind(e *errand) error {
	for _, local := range e.Local {
		c, err := net.ListenPacket("udp", local)
		if err != nil {
			return err
		}
		p.bound = append(p.bound, c)
	}
	return nil
}

// send sends one datagram from a socket that is not connected.
func (e *errand) send() error {
	to, err := net.ResolveUDPAddr("udp", e.Remote)
	if err != nil {
		return err
	}
	c, err := net.ListenPacket("udp", e.Local[0])
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.WriteTo([]byte(e.Say), to)
	return err
}

// tell sends from the first socket that is bound, which is not connected, and waits for
// the echo.
func (p *player) tell(e *errand) error {
	to, err := net.ResolveUDPAddr("udp", e.Remote)
	if err != nil {
		return err
	}
	c := p.bound[0]
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.WriteTo([]byte(e.Say), to); err != nil {
		return err
	}
	_, _, err = c.ReadFrom(make([]byte, 100))
	return err
}

// hear waits for a datagram at each address that is bound, without ever having sent
// one, and closes it.
func (p *player) hear(e *errand, r *report) error {
	for i, c := range p.bound {
		c.SetDeadline(time.Now().Add(patience))
		buf := make([]byte, 100)
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if want := fmt.Sprintf("%s-%d;", e.Say, i); string(buf[:n]) != want {
			return fmt.Errorf("heard %q, not %q", buf[:n], want)
		}
		c.Close()
		r.Done++
	}
	p.bound = nil
	return nil
}

func (p *player) listen(e *errand) error {
	lc := net.ListenConfig{}
	for _, local := range e.Local {
		l, err := lc.Listen(context.Background(), "tcp", local)
		if err != nil {
			return err
		}
		p.serve = append(p.serve, l)
		p.done.Go(func() { p.count += echo(l) })
	}
	return nil
}

// echo serves connections until the listener is closed, and returns how many.
func echo(l net.Listener) (served int) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return served
		}
		served++
		conns.Go(func() { echoConn(c) })
	}
}

// echoConn sends back what comes, and closes first if it is asked to.
func echoConn(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if _, werr := c.Write(buf[:n]); err != nil || werr != nil || strings.Contains(string(buf[:n]), "bye.") {
			return
		}
	}
}

// serveAll starts an echo server for TCP and UDP on the host, at any address.
func serveAll(t *testing.T, h *netns.Host, addrs ...string) {
	t.Helper()
	for _, addr := range addrs {
		var l net.Listener
		var p net.PacketConn
		err := h.Inside(func() (err error) {
			lc := net.ListenConfig{}
			lc.SetMultipathTCP(false)
			if l, err = lc.Listen(t.Context(), "tcp", addr); err == nil {
				p, err = net.ListenPacket("udp", addr)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var done sync.WaitGroup
		done.Go(func() { echo(l) })
		done.Go(func() { echoDatagrams(p) })
		t.Cleanup(func() {
			l.Close()
			p.Close()
			done.Wait()
		})
	}
}

func echoDatagrams(p net.PacketConn) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := p.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.WriteTo(buf[:n], from)
		}
	}
}

// A catch reads a capture until it is stopped.
type catch struct {
	t       *testing.T
	c       *Capture
	done    chan struct{}
	packets []Packet
	err     error
}

func openOn(t *testing.T, h *netns.Host, cfg *Config) *catch {
	t.Helper()
	k := &catch{t: t, done: make(chan struct{})}
	err := h.Inside(func() (err error) {
		k.c, err = Open(cfg)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.c.Close(); err != nil {
			t.Error(err)
		}
	})
	go func() {
		defer close(k.done)
		for {
			packets, err := k.c.Next()
			if err != nil {
				k.err = err
				return
			}
			for _, p := range packets {
				k.packets = append(k.packets, p.Clone())
			}
		}
	}()
	return k
}

// all stops the capture and returns what it has caught.
func (k *catch) all() []Packet {
	k.t.Helper()
	if err := k.c.Stop(); err != nil {
		k.t.Fatal(err)
	}
	select {
	case <-k.done:
	case <-time.After(patience):
		k.t.Fatal("the capture does not end")
	}
	if !errors.Is(k.err, io.EOF) {
		k.t.Fatal(k.err)
	}
	s := k.c.Stats()
	if s.Dropped != 0 || s.Received != s.Delivered+s.Unproved+s.OtherProcess {
		k.t.Errorf("the sums do not add up, or packets were dropped: %+v", s)
	}
	return k.packets
}

// lines returns the packets as text, for messages.
func lines(packets []Packet) string {
	var b strings.Builder
	for _, p := range packets[:min(len(packets), 60)] {
		s := seen(&p)
		fmt.Fprintf(&b, "%s %s %s %d of %d: %d %v → %v flags %#02x\n", p.Name, p.Direction, p.Proof, len(p.Data), p.Length,
			s.key.Proto, s.key.source(), s.key.destination(), s.flags)
	}
	return b.String()
}

func seen(p *Packet) (s sight) {
	network := 0
	if p.LinkType == Ethernet {
		network = 14
	}
	s.look(p, network)
	return s
}

// having returns the packets for which f is true.
func having(packets []Packet, f func(*Packet, *sight) bool) []Packet {
	return slices.DeleteFunc(slices.Clone(packets), func(p Packet) bool {
		s := seen(&p)
		return !f(&p, &s)
	})
}
