package ftp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"yodel/internal/escape"
	"yodel/rio"
	"yodel/trace"
)

// A state is how far a client has come.
type state uint8

const (
	stranger state = 1 << iota // who it is was not said
	named                      // USER was said, PASS is wanted
	member                     // it is logged in

	anyone = stranger | named | member
)

// A session is one client. All of it belongs to the goroutine of run; a transfer, on a
// goroutine of its own, gets what it needs when it begins.
type session struct {
	srv  *Server
	cfg  *Config
	ctl  *control
	log  *slog.Logger
	ctx  context.Context // ends with the session, and with the server
	stop context.CancelFunc

	local, peer netip.AddrPort // not valid for Unix sockets

	state     state
	user      string
	failures  int // to log in
	mistakes  int // in a row
	over      bool
	isPrivate bool // PROT P
	hasPBSZ   bool
	tlsID     []byte // what marks the TLS sessions of this control connection

	files    *files // nil: not logged in
	cwd      string
	isText   bool // TYPE A
	rest     int64
	renaming string // what RNFR has named; empty: nothing
	facts    facts

	endpoint endpoint // for the next transfer; nil: none
	epsvOnly bool     // EPSV ALL

	job     *job // the transfer under way; nil: none
	aborted bool // a transfer was, and its ABOR is not answered yet
	held    []command
}

// Bounds of a session.
const (
	maxHeld     = 16 // commands that wait for the end of a transfer
	maxMistakes = 20 // in a row, then the connection is ended
)

func newSession(srv *Server, nc net.Conn) *session {
	s := &session{
		srv: srv, cfg: &srv.cfg, ctl: newControl(nc, &srv.cfg),
		local: trace.AddrPort(nc.LocalAddr()), peer: trace.AddrPort(nc.RemoteAddr()),
	}
	s.ctx, s.stop = context.WithCancel(srv.ctx)
	who := "local"
	if s.peer.IsValid() {
		who = s.peer.String()
	}
	s.log = srv.log.With("service", "ftp", "peer", who)
	s.reset()
	if s.ctl.isTLS() { // begun by the engine: what is called implicit FTPS protects data too
		s.hasPBSZ, s.isPrivate = true, s.cfg.TLS != nil
	}
	return s
}

// reset makes a stranger of whoever was there.
func (s *session) reset() {
	s.closeFiles()
	s.dropEndpoint()
	s.state, s.user, s.cwd, s.rest, s.renaming = stranger, "", "/", 0, ""
	s.isText, s.facts = true, allFacts
	s.hasPBSZ, s.isPrivate, s.epsvOnly = false, false, false
}

func (s *session) closeFiles() {
	if s.files != nil {
		s.files.close()
		s.files = nil
	}
}

// close gives back what the session holds.
func (s *session) close() {
	s.stop()
	if s.job != nil {
		<-s.job.done
	}
	s.dropEndpoint()
	s.closeFiles()
}

var (
	errStopping = errors.New("ftp: the server is shutting down")
	errHTTP     = errors.New("ftp: that is HTTP")
)

var shuttingDown = say(421, "The server is shutting down.")

// farewell returns what is said to a client that is not listened to any more.
func farewell(why error) reply {
	switch why {
	case errIdle:
		return say(421, "Nothing was said for too long.")
	case errSlow:
		return say(421, "The command took too long.")
	case errStopping:
		return shuttingDown
	case errHTTP, errOptions:
		return say(421, "This is FTP.")
	}
	return reply{} // it is not there any more
}

// run is the conversation.
func (s *session) run() {
	s.ctl.send(say(220, "yodel FTP"))
	for !s.over {
		cmd, err := s.next()
		if err != nil {
			s.ctl.send(farewell(err))
			break
		}
		s.handle(cmd)
	}
	s.ctl.end()
}

// next returns the next command to carry out. While a transfer is under way there is none
// but those that are about the transfer.
func (s *session) next() (command, error) {
	for {
		if s.job == nil {
			if len(s.held) > 0 {
				cmd := s.held[0]
				s.held = slices.Delete(s.held, 0, 1)
				return cmd, nil
			}
			if s.srv.isStopping() {
				return command{}, errStopping
			}
		}
		cmd, err := s.hear()
		s.settle()
		switch {
		case err == errPoked:
		case err != nil && s.job != nil:
			if err := s.lost(err); err != nil {
				return cmd, err
			}
		case err != nil && len(s.held) == 0:
			return cmd, err
		case err != nil: // what was said before comes first
		case s.job != nil:
			s.meanwhile(cmd)
		case len(s.held) == 0:
			return cmd, nil
		default: // the transfer has just ended
			s.held = append(s.held, cmd)
		}
	}
}

// notCommand stands for a line that is none; its arg says why.
const notCommand = ""

// hear reads a line. The error says that no more will come, or errPoked.
func (s *session) hear() (command, error) {
	idle := s.cfg.idle()
	if s.job != nil {
		idle = 0
	}
	line, err := s.ctl.readLine(idle)
	switch {
	case err == rio.ErrTooLong:
		return command{notCommand, "The line is too long."}, nil
	case err != nil:
		return command{}, err
	case isOfHTTP(line):
		return command{}, errHTTP
	}
	cmd, err := parseCommand(line)
	if err != nil {
		return command{notCommand, "That is not a command."}, nil
	}
	return cmd, nil
}

// meanwhile takes a command that comes during a transfer (RFC 959 §4.1.3).
func (s *session) meanwhile(cmd command) {
	switch {
	case cmd.verb == "ABOR":
		s.aborted = true
		s.job.cancel()
	case cmd.verb == "STAT" && cmd.arg == "" && len(s.held) == 0:
		s.ctl.send(s.status())
		return
	}
	s.held = append(s.held, cmd)
	if len(s.held) >= maxHeld {
		s.await()
	}
}

// lost is what happens when the control connection has ended during a transfer: that is
// an ABOR (RFC 959 §4.1.3), unless the client has said QUIT.
func (s *session) lost(err error) error {
	isQuit := func(c command) bool { return c.verb == "QUIT" }
	if err == io.EOF && slices.ContainsFunc(s.held, isQuit) {
		s.await()
		return nil
	}
	s.job.cancel()
	s.await()
	return err
}

// handle carries out a command.
func (s *session) handle(cmd command) {
	r := s.answer(cmd)
	if cmd.verb != "RNFR" {
		s.renaming = ""
	}
	switch {
	case r.code == 530 || r.code >= 500 && r.code < 505:
		s.mistakes++
	case !r.failed():
		s.mistakes = 0
	}
	if s.mistakes >= maxMistakes {
		s.over, r = true, say(421, "Too many mistakes.")
	}
	s.ctl.send(r)
}

func (s *session) answer(cmd command) reply {
	if cmd.verb == notCommand {
		return say(500, cmd.arg)
	}
	v := s.srv.verbs[cmd.verb]
	if v == nil {
		return say(500, "There is no such command.")
	}
	if r := v.allows(s, cmd.arg); r.failed() {
		return r
	}
	return v.do(s, cmd.arg)
}

// note logs what happened, with the peer's words escaped.
func (s *session) note(level slog.Level, what, path string, more ...any) {
	args := append([]any{"user", escape.String(s.user)}, more...)
	if path != "" {
		args = append(args, "path", escape.StringN(path, 1000))
	}
	s.log.Log(s.ctx, level, what, args...)
}

// warn is note for what a client can make happen often: one line a second, for all
// clients.
func (s *session) warn(what, path string, more ...any) {
	if n, ok := s.srv.errors.Take(time.Now()); ok {
		s.note(slog.LevelWarn, what, path, append(more, "times", n)...)
	}
}
