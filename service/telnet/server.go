package telnet

import (
	"context"
	"net"
	"sync"

	"yodel/internal/await"
)

// A Server lets people sit at terminals of this machine. It is what engines call a
// ConnServer, with a Shutdown and a Close of its own.
type Server struct {
	cfg Config

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu       sync.Mutex
	stopping bool
	sessions map[*session]bool
	running  sync.WaitGroup // one for each of sessions
}

// New returns a server. The error says what of cfg can't be, or that this system has no
// pseudo-terminals for it.
func New(cfg *Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{cfg: *cfg, sessions: make(map[*session]bool)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// ServeConn serves one person and returns when that is over. The caller closes nc.
func (s *Server) ServeConn(nc net.Conn) {
	inlineUrgent(nc)
	c := newSession(s, nc)
	if why := s.enter(c); why != "" {
		c.print(why + "\r\n")
		return
	}
	defer s.leave(c)
	c.serve()
}

// enter adds a session, or says why there can't be one more.
func (s *Server) enter(c *session) (why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch n := s.cfg.maxSessions(); {
	case s.stopping:
		return goingDown
	case n > 0 && len(s.sessions) >= n:
		return "Too many people are here; come again later."
	}
	s.sessions[c] = true
	s.running.Add(1)
	return ""
}

func (s *Server) leave(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
	s.running.Done()
}

const goingDown = "The server is shutting down."

// Shutdown ends those who have not logged in, tells the others, and returns when nobody
// is left, or with the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	return await.Done(ctx, s.running.Wait)
}

func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return
	}
	s.stopping = true
	for c := range s.sessions {
		go c.warn() // a peer that does not read holds up nobody
	}
}

// Close hangs up on everybody, and waits until all programs have ended.
func (s *Server) Close() error {
	s.stop()
	s.cancel()
	s.mu.Lock()
	for c := range s.sessions {
		c.nc.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}
