package ftp

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"strings"

	"yodel/internal/users"
)

const anonymous = "anonymous"

func isAnonymous(name string) bool {
	return strings.EqualFold(name, anonymous) || strings.EqualFold(name, "ftp")
}

func (s *session) userVerb(name string) reply {
	s.state, s.user = stranger, ""
	if s.cfg.Anonymous && isAnonymous(name) {
		s.state, s.user = named, anonymous
		return say(331, "Any password will do.")
	}
	if s.cfg.Users == nil {
		return s.failed(say(530, "Only anonymous may log in here."))
	}
	if !s.mayTellPassword() {
		return say(530, s.tlsFirst())
	}
	s.state, s.user = named, name
	return say(331, "The password, please.")
}

// mayTellPassword reports whether nobody but us will hear a password: there is TLS, or no
// network in between.
func (s *session) mayTellPassword() bool {
	return s.cfg.PlainTextIsFine || s.ctl.isTLS() || s.isLocal()
}

// isLocal reports whether the client is on this host.
func (s *session) isLocal() bool { return !s.peer.IsValid() || s.peer.Addr().IsLoopback() }

func (s *session) tlsFirst() string {
	if s.cfg.TLS == nil {
		return "Passwords are not taken in plain text, and there is no TLS here."
	}
	return "Passwords are not taken in plain text: say AUTH TLS first."
}

// failed counts a failure to log in. After too many the connection ends.
func (s *session) failed(r reply) reply {
	if s.failures++; s.failures >= s.cfg.maxFailures() {
		s.over = true
		return say(421, "That was not it either.")
	}
	return r
}

func (s *session) passVerb(password string) reply {
	name := s.user
	s.state = stranger
	if name == anonymous && s.cfg.Anonymous {
		return s.enter("/", s.cfg.AllowWrite && s.cfg.Users == nil)
	}
	u, err := s.cfg.Users.Check(s.ctx, s.peer.Addr(), name, password)
	switch {
	case errors.Is(err, users.ErrDenied):
		s.warn("login failed", "")
		return s.failed(say(530, "That is not the name and the password of anybody."))
	case err != nil:
		s.warn("login not tried", "", "error", err)
		s.over = true
		return say(421, "Too many try to log in; come again later.")
	}
	return s.enter(u.Home, s.cfg.AllowWrite)
}

// enter logs in the user who was named.
func (s *session) enter(home string, write bool) reply {
	f := &files{root: s.srv.root, write: write}
	if home != "/" {
		root, err := s.srv.root.OpenRoot(inside(home))
		if err != nil {
			s.warn("home is not there", home, "error", err)
			return s.failed(say(530, "Your home is not there."))
		}
		f.root, f.own = root, true
	}
	s.files, s.state = f, member
	s.note(slog.LevelInfo, "login", "", "tls", s.ctl.isTLS())
	return say(230, "Welcome.")
}

// files is what a user has of the server's files.
type files struct {
	root  *os.Root
	own   bool // root is not the server's
	write bool
}

func (f *files) close() {
	if f.own {
		f.root.Close()
	}
}

// authVerb begins TLS (RFC 4217 §4). Whoever was logged in is a stranger again.
func (s *session) authVerb(arg string) reply {
	switch name := strings.ToUpper(arg); {
	case name != "TLS" && name != "TLS-C":
		return say(504, "It is AUTH TLS.")
	case s.ctl.isTLS():
		return say(503, "TLS is there already.")
	case s.cfg.TLS == nil:
		return say(502, "There is no TLS here.")
	case !s.srv.beginHandshake():
		return say(431, "Too many begin TLS at once; try again.")
	}
	defer s.srv.endHandshake()
	s.ctl.send(say(234, "Begin TLS."))
	s.reset()
	s.tlsID = []byte(rand.Text())
	if err := s.ctl.secure(s.ctx, s.controlTLS()); err != nil {
		s.warn("TLS handshake failed", "", "error", err)
		s.over = true
	}
	return reply{}
}

func (srv *Server) beginHandshake() bool {
	select {
	case srv.handshakes <- struct{}{}:
		return true
	default:
		return false
	}
}

func (srv *Server) endHandshake() { <-srv.handshakes }

// controlTLS returns the settings for a control connection. It always makes a new TLS
// session, and marks its tickets as those of this connection.
func (s *session) controlTLS() *tls.Config {
	c := s.cfg.TLS.Clone()
	c.WrapSession = s.wrapTicket
	c.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil }
	return c
}

// dataTLS returns the settings for a data connection. It resumes TLS sessions of its own
// control connection only.
func (s *session) dataTLS() *tls.Config {
	c := s.cfg.TLS.Clone()
	if s.tlsID == nil { // the engine has made the control connection's
		return c
	}
	c.WrapSession, c.UnwrapSession = s.wrapTicket, s.unwrapTicket
	return c
}

func (s *session) wrapTicket(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	ss.Extra = [][]byte{s.tlsID}
	return s.cfg.TLS.EncryptTicket(cs, ss)
}

func (s *session) unwrapTicket(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	ss, err := s.cfg.TLS.DecryptTicket(ticket, cs)
	if err != nil || ss == nil || len(ss.Extra) != 1 || string(ss.Extra[0]) != string(s.tlsID) {
		return nil, err
	}
	return ss, nil
}

// pbszVerb: with TLS there are no buffers to agree on (RFC 4217 §8).
func (s *session) pbszVerb(string) reply {
	if !s.ctl.isTLS() {
		return say(503, "Say AUTH TLS first.")
	}
	s.hasPBSZ = true
	return say(200, "PBSZ=0")
}

func (s *session) protVerb(arg string) reply {
	if !s.hasPBSZ {
		return say(503, "Say PBSZ 0 first.")
	}
	switch strings.ToUpper(arg) {
	case "C":
		s.isPrivate = false
		return say(200, "Data goes in plain text.")
	case "P":
		if s.cfg.TLS == nil {
			return say(536, "There is no TLS for data here.")
		}
		s.isPrivate = true
		return say(200, "Data goes over TLS.")
	case "S", "E":
		return say(536, "TLS protects all or nothing: it is PROT P or PROT C.")
	}
	return say(504, "It is PROT P or PROT C.")
}
