package ssh

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"yodel/internal/await"
	"yodel/internal/users"
	"yodel/trace"
)

// A Server lets people in who have a key or a password. It is what engines call a
// ConnServer, with a Shutdown and a Close of its own.
type Server struct {
	cfg Config

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu       sync.Mutex
	stopping bool
	conns    map[*conn]bool
	running  sync.WaitGroup // one for each of conns
}

// New returns a server. The error says what of cfg can't be, or that this system has no
// pseudo-terminals for it.
func New(cfg *Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{cfg: *cfg, conns: make(map[*conn]bool)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// A conn is one connection.
type conn struct {
	srv  *Server
	nc   net.Conn
	log  *slog.Logger
	user users.User

	mu       sync.Mutex
	isIn     bool // somebody has logged in
	programs int
	sessions sync.WaitGroup
}

// ServeConn serves one connection and returns when that is over. The caller closes nc.
func (s *Server) ServeConn(nc net.Conn) {
	who := "local"
	if remote := trace.AddrPort(nc.RemoteAddr()); remote.IsValid() {
		who = remote.String()
	}
	c := &conn{srv: s, nc: nc, log: s.cfg.log().With("service", "ssh", "peer", who)}
	if !s.enter(c) {
		return
	}
	defer s.leave(c)
	c.serve()
}

func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.cfg.maxSessions(); s.stopping || n > 0 && len(s.conns) >= n {
		return false
	}
	s.conns[c] = true
	s.running.Add(1)
	return true
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.running.Done()
}

// serve is the whole of a connection.
func (c *conn) serve() {
	ctx, cancel := context.WithCancel(c.srv.ctx)
	defer cancel()
	if d := c.srv.cfg.loginTimeout(); d > 0 {
		c.nc.SetDeadline(time.Now().Add(d))
	}
	sc, channels, requests, err := ssh.NewServerConn(c.nc, c.config(ctx))
	if err != nil {
		c.log.Warn("no login", "error", err)
		return
	}
	c.mu.Lock()
	c.isIn = true
	c.mu.Unlock()
	c.user = users.User{Name: sc.User(), Home: sc.Permissions.Extensions[home]}
	c.nc.SetDeadline(time.Time{})
	c.log.Info("login", "user", c.user.Name, "by", sc.Permissions.Extensions[byWhat])
	go ssh.DiscardRequests(requests) // no forwarding
	for ch := range channels {
		c.open(ctx, ch)
	}
	cancel() // the peer has hung up
	c.sessions.Wait()
	sc.Close()
}

// What the permissions of somebody who has logged in tell: how, and the home.
const (
	byWhat = "by"
	home   = "home"
)

var errNobody = errors.New("ssh: that is not it")

// config says who may come in.
func (c *conn) config(ctx context.Context) *ssh.ServerConfig {
	cfg := &c.srv.cfg
	sc := &ssh.ServerConfig{MaxAuthTries: cfg.maxFailures(), ServerVersion: "SSH-2.0-yodel"}
	sc.AddHostKey(cfg.HostKey)
	if cfg.Users != nil {
		sc.PasswordCallback = func(m ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			user, err := cfg.Users.Check(ctx, trace.AddrPort(c.nc.RemoteAddr()).Addr(), m.User(), string(password))
			if err != nil {
				return nil, err
			}
			return permit("password", user), nil
		}
	}
	if cfg.AuthorizedKeys != "" {
		sc.PublicKeyCallback = c.checkKey
	}
	return sc
}

func permit(what string, user users.User) *ssh.Permissions {
	return &ssh.Permissions{Extensions: map[string]string{byWhat: what, home: user.Home}}
}

// checkKey tells whether a key may come in. It is asked before the peer has proved that
// the key is its own, too.
func (c *conn) checkKey(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	cfg := &c.srv.cfg
	keys, err := readKeys(cfg.AuthorizedKeys)
	if err != nil {
		c.log.Error("authorized keys can't be read", "error", err)
		return nil, errNobody
	}
	if !keys[string(key.Marshal())] || users.CheckName(m.User()) != nil {
		return nil, errNobody
	}
	user := users.User{Name: m.User(), Home: "/"}
	if cfg.Users != nil {
		var known bool
		if user, known = cfg.Users.Lookup(m.User()); !known {
			return nil, errNobody
		}
	}
	return permit("key "+ssh.FingerprintSHA256(key), user), nil
}

// Shutdown ends connections without a login, and returns when nobody is left, or with the
// error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	return await.Done(ctx, s.running.Wait)
}

func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for c := range s.conns {
		c.mu.Lock()
		if !c.isIn {
			c.nc.Close()
		}
		c.mu.Unlock()
	}
}

// Close hangs up on everybody, and waits until all programs have ended.
func (s *Server) Close() error {
	s.stop()
	s.cancel()
	s.mu.Lock()
	for c := range s.conns {
		c.nc.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}
