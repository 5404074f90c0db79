package web

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"

	"yodel/internal/escape"
)

// Server is a web server. It is met as an engine.ListenerServer; Serve may be called for
// several listeners.
type Server struct {
	cfg    Config
	http   *http.Server
	files  *files   // nil: there is no Root
	cgi    *gateway // nil: there is no CGI
	access *accessLog
	clock  clock
	counts counts

	warnings *warnings
	buffers  sync.Pool // of *[]byte, for answers of the guard's own

	mu       sync.Mutex
	guards   map[*guard]bool
	stopping bool
}

// New returns a Server. cfg may be nil. The error says which folder can't be used and why.
func New(cfg *Config) (*Server, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	s := &Server{cfg: *cfg, guards: make(map[*guard]bool)}
	s.buffers.New = func() any { return new([]byte) }
	s.warnings = &warnings{log: s.cfg.log()}
	s.access = newAccessLog(cfg.AccessLog, s.cfg.log())
	if err := s.open(); err != nil {
		s.release()
		return nil, err
	}
	s.http = s.httpServer()
	return s, nil
}

func (s *Server) open() (err error) {
	if s.cfg.Root != "" {
		if s.files, err = openFiles(&s.cfg, s.warnings); err != nil {
			return err
		}
	}
	if s.cfg.CGI != "" {
		s.cgi, err = openGateway(&s.cfg, &s.counts, s.warnings)
	}
	return err
}

// release gives the folders back.
func (s *Server) release() {
	if s.files != nil {
		s.files.root.Close()
	}
	if s.cgi != nil {
		s.cgi.root.Close()
	}
}

// httpServer is the part that is net/http's. It has no time-outs of its own: the guard
// has them, and handlers for what is theirs.
func (s *Server) httpServer() *http.Server {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true) // over TLS; without TLS it stays off
	return &http.Server{
		Handler: s, Protocols: p, ConnState: s.connState,
		IdleTimeout:    s.cfg.idle(),
		MaxHeaderBytes: s.cfg.headMax(), DisableGeneralOptionsHandler: true,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 100},
		ErrorLog: log.New(&errorLog{s}, "", 0),
	}
}

// Serve answers on connections from l until Shutdown or Close, when it returns
// http.ErrServerClosed. Over TLS the handshake must have been made when Accept returns a
// connection, as an engine does.
func (s *Server) Serve(l net.Listener) error {
	if s.cgi != nil {
		if err := s.cgi.check(); err != nil {
			l.Close()
			return err
		}
	}
	return s.http.Serve(&listener{l, s})
}

// listener puts a guard in front of each connection of HTTP/1.
type listener struct {
	net.Listener
	s *Server
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if nc, err = l.s.admit(nc); err == nil {
			return nc, nil
		}
		l.s.cfg.log().Error("connection not served", "error", err)
	}
}

var errNoHandshake = errors.New("web: the listener does not make the TLS handshake")

func (s *Server) admit(nc net.Conn) (net.Conn, error) {
	t, ok := nc.(*tls.Conn)
	if !ok {
		return s.add(newGuard(s, nc)), nil
	}
	state := t.ConnectionState()
	switch {
	case !state.HandshakeComplete:
		nc.Close()
		return nil, errNoHandshake
	case state.NegotiatedProtocol == "h2":
		return nc, nil
	}
	return tlsGuard{s.add(newGuard(s, nc)), t}, nil
}

func (s *Server) add(g *guard) *guard {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guards[g] = true
	if s.stopping {
		g.stopping.Store(true)
	}
	return g
}

// connState is told by net/http what it does with a connection.
func (s *Server) connState(nc net.Conn, state http.ConnState) {
	g, ok := nc.(*guard)
	if t, isTLS := nc.(tlsGuard); isTLS {
		g, ok = t.guard, true
	}
	switch {
	case !ok:
	case state == http.StateIdle:
		g.rest()
	case state == http.StateClosed, state == http.StateHijacked:
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.guards, g)
	}
}

// each calls do for each connection of HTTP/1 that there is.
func (s *Server) each(do func(*guard)) {
	s.mu.Lock()
	s.stopping = true
	guards := make([]*guard, 0, len(s.guards))
	for g := range s.guards {
		guards = append(guards, g)
	}
	s.mu.Unlock()
	for _, g := range guards {
		do(g)
	}
}

// Shutdown stops accepting, lets requests be answered, and ends connections at rest. It
// returns when all is done, programs too, or with ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	go s.each((*guard).stop) // which waits for an answer that is under way
	if err := s.http.Shutdown(ctx); err != nil {
		return err
	}
	if s.cgi != nil {
		if err := s.cgi.shutdown(ctx); err != nil {
			return err
		}
	}
	s.release()
	return nil
}

// Close cuts all connections and ends all programs, and waits for these.
func (s *Server) Close() error {
	s.each(func(g *guard) { g.Conn.Close() })
	err := s.http.Close()
	if s.cgi != nil {
		s.cgi.close()
	}
	s.release()
	return err
}

// errorLog takes what net/http logs.
type errorLog struct{ s *Server }

func (l *errorLog) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	if strings.Contains(text, "panic serving") {
		l.s.cfg.log().Error("handler panicked", "error", escape.StringN(text, 4<<10))
	} else {
		l.s.cfg.log().Debug("net/http", "says", escape.StringN(text, 1<<10))
	}
	return len(p), nil
}
