package ftp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"

	"yodel/internal/lograte"
)

// A Server serves FTP on control connections that an engine accepts. It is what engines
// call a ConnServer, with a Shutdown and a Close of its own.
type Server struct {
	cfg    Config
	root   *os.Root
	verbs  map[string]*verb
	log    *slog.Logger
	errors lograte.Lines // of log lines about failures

	handshakes chan struct{} // holds one for each under way
	orphans    orphans

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu       sync.Mutex
	sessions map[*session]bool
	stopping bool
	empty    chan struct{} // closed when stopping and no session is left
}

// New returns a server. The error says what of cfg can't be.
func New(cfg *Config) (*Server, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("ftp root: %w", err)
	}
	srv := &Server{
		cfg: *cfg, root: root, verbs: verbs(), log: cfg.log(),
		handshakes: make(chan struct{}, max(cfg.maxHandshakes(), 1)),
		sessions:   make(map[*session]bool), empty: make(chan struct{}),
	}
	srv.ctx, srv.cancel = context.WithCancel(context.Background())
	return srv, nil
}

func (c *Config) check() error {
	ports := c.PassivePorts
	switch {
	case c.Root == "":
		return errors.New("ftp: no folder to serve: give a root")
	case c.Users == nil && !c.Anonymous:
		return errors.New("ftp: nobody may log in: give a users file, which yodel passwd makes, or allow anonymous users")
	case ports.First > ports.Last, ports.First == 0 && ports.Last != 0:
		return fmt.Errorf("ftp: passive ports %d-%d: not a range", ports.First, ports.Last)
	case c.PassiveAddress.IsValid() && !c.PassiveAddress.Is4():
		return fmt.Errorf("ftp: passive address %v: PASV has room for an IPv4 address only", c.PassiveAddress)
	case c.RequireReuse && c.TLS == nil:
		return errors.New("ftp: no TLS session can be resumed without TLS: give a certificate")
	}
	return nil
}

// ServeConn serves one control connection and returns when that is over. The caller
// closes it.
func (srv *Server) ServeConn(nc net.Conn) {
	s := newSession(srv, nc)
	if r := srv.enter(s); r.failed() {
		s.ctl.send(r)
		s.ctl.end()
		return
	}
	defer srv.leave(s)
	defer s.close()
	s.run()
}

// enter adds a session, or says why there can't be one more.
func (srv *Server) enter(s *session) reply {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	switch {
	case srv.stopping:
		return shuttingDown
	case srv.cfg.MaxSessions > 0 && len(srv.sessions) >= srv.cfg.MaxSessions:
		return say(421, "Too many users; come again later.")
	}
	srv.sessions[s] = true
	return reply{}
}

func (srv *Server) leave(s *session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.sessions, s)
	srv.checkEmpty()
}

// checkEmpty is called with mu held.
func (srv *Server) checkEmpty() {
	if !srv.stopping || len(srv.sessions) > 0 {
		return
	}
	select {
	case <-srv.empty:
	default:
		srv.root.Close()
		close(srv.empty)
	}
}

func (srv *Server) isStopping() bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.stopping
}

// Shutdown ends sessions, by a 421, as soon as they are at rest: transfers that are under
// way go on. It returns nil when no session is left, and the error of ctx if that ends
// first.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.stop()
	select {
	case <-srv.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (srv *Server) stop() {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.stopping = true
	for s := range srv.sessions {
		s.ctl.poke()
	}
	srv.checkEmpty()
}

// Close ends sessions and transfers at once. It does not wait for them.
func (srv *Server) Close() error {
	srv.cancel()
	srv.stop()
	return nil
}

// moved counts bytes of data connections.
func (srv *Server) moved(in, out int64) {
	if srv.cfg.Moved != nil {
		srv.cfg.Moved(in, out)
	}
}

// admit asks whether there may be one more data connection.
func (srv *Server) admit(peer netip.AddrPort) (release func(), err error) {
	if srv.cfg.Admit == nil {
		return func() {}, nil
	}
	return srv.cfg.Admit(peer)
}
