package command

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"yodel/internal/await"
	"yodel/internal/child"
)

// A Server runs a program for each connection. It is what engines call a ConnServer,
// with a Shutdown and a Close of its own.
type Server struct {
	cfg   Config
	slots chan struct{} // holds one for each program that runs; nil: there is no bound

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu       sync.Mutex
	stopping bool
	running  sync.WaitGroup // one for each ServeConn
}

// New returns a server. The error says why the program can't be run at all: it is not
// there, it may not be run, or it would run as root.
func New(cfg *Config) (*Server, error) {
	s := &Server{cfg: *cfg}
	if err := supported(); err != nil {
		return nil, err
	}
	if err := cfg.child(child.Environ()).Check(); err != nil {
		return nil, err
	}
	info, err := os.Stat(cfg.Path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("run %s: %w", cfg.Path, err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return nil, fmt.Errorf("run %s: it may not be run: chmod +x", cfg.Path)
	}
	if n := cfg.maxPrograms(); n > 0 {
		s.slots = make(chan struct{}, n)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// ServeConn runs the program on a connection and returns when both are over. The caller
// closes nc.
func (s *Server) ServeConn(nc net.Conn) {
	if !s.enter() {
		return
	}
	defer s.running.Done()
	if !s.takeSlot() {
		return
	}
	defer s.freeSlot()
	if err := s.run(nc); err != nil {
		s.cfg.log().Error("program not run", "service", "command", "peer", nc.RemoteAddr().String(), "error", err)
	}
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.running.Add(1)
	return true
}

// takeSlot waits until one more program may run; false means that the server is closed.
func (s *Server) takeSlot() bool {
	if s.slots == nil {
		return true
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) freeSlot() {
	if s.slots != nil {
		<-s.slots
	}
}

// run runs the program on the socket itself, or on one end of a pair.
func (s *Server) run(nc net.Conn) error {
	cfg := s.cfg.child(s.cfg.environ(s.ctx, nc))
	if !s.cfg.Stderr {
		log, peer := s.cfg.log(), nc.RemoteAddr().String()
		cfg.Errors = func(line string) { log.Info("program says", "service", "command", "peer", peer, "line", line) }
	}
	if socket, err := socketOf(nc); err == nil {
		return s.direct(cfg, nc, socket)
	}
	return s.relay(cfg, nc)
}

// give makes file what the program reads and writes.
func (s *Server) give(cfg *child.Config, file *os.File) {
	cfg.In, cfg.Out = file, file
	if s.cfg.Stderr {
		cfg.Err = file
	}
}

// direct runs the program on the socket, and ends it if the peer has gone.
func (s *Server) direct(cfg *child.Config, nc net.Conn, socket *os.File) error {
	s.give(cfg, socket)
	past := countPast(nc)
	p, err := child.Start(s.ctx, cfg)
	socket.Close()
	if err != nil {
		return err
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if awaitGone(nc) {
			p.Stop()
		}
	}()
	p.Wait()
	past()
	nc.Close() // which ends the watch
	<-watched
	return nil
}

// lastWords is how long after its end the rest of a program's output may take, which one
// of its descendants may hold up.
const lastWords = time.Second

// relay runs the program on one end of a pair of sockets, and carries bytes between the
// other end and nc.
func (s *Server) relay(cfg *child.Config, nc net.Conn) error {
	theirs, ours, err := pair()
	if err != nil {
		return err
	}
	s.give(cfg, theirs)
	p, err := child.Start(s.ctx, cfg)
	theirs.Close()
	if err != nil {
		ours.Close()
		return err
	}
	in := make(chan struct{})
	go func() {
		defer close(in)
		if copyTo(ours, nc) != nil {
			p.Stop() // the peer has gone
		}
	}()
	out := make(chan struct{})
	go func() {
		defer close(out)
		if copyTo(nc, ours) != nil {
			p.Stop()
		}
	}()
	p.Wait()
	ours.SetReadDeadline(time.Now().Add(lastWords))
	<-out
	nc.Close()
	ours.Close()
	<-in
	return nil
}

// Shutdown lets programs end by themselves and returns when none is left, or with the
// error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	return await.Done(ctx, s.running.Wait)
}

func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
}

// Close asks all programs to end, kills those that do not, and waits for them.
func (s *Server) Close() error {
	s.stop()
	s.cancel()
	s.running.Wait()
	return nil
}
