package telnet

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"yodel/internal/child"
	"yodel/internal/users"
	"yodel/rio"
	"yodel/trace"
)

// A session is one person. But for print and warn it belongs to the goroutine of serve.
type session struct {
	srv  *Server
	cfg  *Config
	nc   net.Conn
	from netip.Addr // not valid for a Unix socket
	log  *slog.Logger

	buf     [4 << 10]byte
	pending []event // of the last read, and not looked at yet
	begun   time.Time
	by      time.Time // when the login must be over; zero: it is, or has no end

	term       string
	rows, cols uint16

	write    sync.Mutex // held for what follows
	m        machine    // whose answers and text go out; what comes in is serve's alone
	out      []byte
	loggedIn bool
	over     bool // the program has ended: there is nothing more to read
}

func newSession(srv *Server, nc net.Conn) *session {
	s := &session{srv: srv, cfg: &srv.cfg, nc: nc, from: trace.AddrPort(nc.RemoteAddr()).Addr()}
	who := "local"
	if remote := trace.AddrPort(nc.RemoteAddr()); remote.IsValid() {
		who = remote.String()
	}
	s.log = srv.cfg.log().With("service", "telnet", "peer", who)
	return s
}

// print sends text.
func (s *session) print(text string) error { return s.send([]byte(text)) }

// send sends text, and what the machine has to answer in front of it.
func (s *session) send(text []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	s.out = append(s.out[:0], s.m.answer...)
	s.m.answer = s.m.answer[:0]
	s.out = s.m.appendText(s.out, text)
	if len(s.out) == 0 {
		return nil
	}
	_, err := rio.WriteFull(s.nc, s.out)
	return err
}

// next returns the next event. The text in it is lent until next is called again.
func (s *session) next() (event, error) {
	for len(s.pending) == 0 {
		if err := s.read(); err != nil {
			return event{}, err
		}
	}
	e := s.pending[0]
	s.pending = s.pending[1:]
	return e, nil
}

// read reads what has come, and answers it.
func (s *session) read() error {
	if err := s.arm(); err != nil {
		return err
	}
	n, err := s.nc.Read(s.buf[:])
	if n > 0 {
		var errPeer error
		s.write.Lock()
		s.pending, errPeer = s.m.receive(s.buf[:n])
		s.noteCommand()
		s.write.Unlock()
		if errPeer != nil {
			s.log.Warn("connection ended", "why", errPeer)
			return errPeer
		}
		return s.send(nil)
	}
	return err
}

// arm sets the deadline of the next read.
func (s *session) arm() error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.over {
		return net.ErrClosed
	}
	return s.nc.SetReadDeadline(s.deadline())
}

// endReading ends a read that is under way, and all later ones.
func (s *session) endReading() {
	s.write.Lock()
	defer s.write.Unlock()
	s.over = true
	s.nc.SetReadDeadline(time.Unix(1, 0))
}

// noteCommand notes when a command has begun that is not finished.
func (s *session) noteCommand() {
	switch {
	case !s.m.isUnfinished():
		s.begun = time.Time{}
	case s.begun.IsZero():
		s.begun = time.Now()
	}
}

// deadline returns when the next byte must be there.
func (s *session) deadline() time.Time {
	limit := s.cfg.headerTimeout()
	if s.begun.IsZero() || limit == 0 {
		return s.by
	}
	if by := s.begun.Add(limit); s.by.IsZero() || by.Before(s.by) {
		return by
	}
	return s.by
}

// serve is the whole of a session.
func (s *session) serve() {
	s.write.Lock()
	s.m.open()
	if s.cfg.LineMode {
		s.m.allowLines()
	}
	s.write.Unlock()
	if d := s.cfg.loginTimeout(); d > 0 {
		s.by = time.Now().Add(d)
	}
	user, err := s.login()
	if err != nil {
		s.farewell(err)
		return
	}
	s.by = time.Time{}
	if err := s.run(user); err != nil {
		s.log.Error("program not run", "user", user.Name, "error", err)
		s.print("The program can't be run.\r\n")
	}
}

// farewell says why a login has come to nothing, where somebody may be listening.
func (s *session) farewell(err error) {
	switch {
	case errors.Is(err, errFailures):
		s.print("Too many failures.\r\n")
	case errors.Is(err, users.ErrBusy):
		s.print("Too many people are logging in; come again later.\r\n")
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.print("\r\nThat took too long.\r\n")
	}
}

// warn tells that the server is shutting down, and ends a session without a login.
func (s *session) warn() {
	s.print("\r\n" + goingDown + "\r\n")
	s.write.Lock()
	defer s.write.Unlock()
	if !s.loggedIn {
		s.nc.Close()
	}
}

// run runs the program at a terminal until one of both sides ends.
func (s *session) run(user users.User) error {
	t, err := child.OpenTerminal()
	if err != nil {
		return err
	}
	defer t.Close()
	if s.rows > 0 && s.cols > 0 {
		t.Resize(s.rows, s.cols)
	}
	s.write.Lock()
	s.loggedIn = true
	echo, lines := s.m.echoes(), s.m.inLineMode()
	s.write.Unlock()
	if s.cfg.LineMode {
		t.Notify()
	}
	switch {
	case lines:
		s.sitExternal(t, true)
	case !echo:
		t.Echo(false)
	}
	cfg := (&child.Login{
		Name: user.Name, Shell: s.cfg.Shell, Root: s.cfg.Root, Home: user.Home, Term: s.term, User: s.cfg.User,
	}).Config()
	cfg.Terminal, cfg.Grace = t, s.cfg.Grace
	p, err := child.Start(s.srv.ctx, cfg)
	if err != nil {
		return err
	}
	s.sit(t, p)
	return nil
}

// lastWords is how long after its end the rest of a program's output may take, which one
// of its descendants may hold up.
const lastWords = time.Second

// sit carries what is typed to the terminal, and what is shown there to the peer.
func (s *session) sit(t *child.Terminal, p *child.Process) {
	typed := newKeys()
	var ends sync.WaitGroup
	ends.Go(func() { typed.writeTo(t) })
	ends.Go(func() {
		s.show(t)
		s.endReading()
		typed.close()
	})
	ends.Go(func() {
		<-p.Done()
		t.SetReadDeadline(time.Now().Add(lastWords))
	})
	s.typeAt(t, typed)
	p.Stop() // the peer has hung up, or the program has ended
	typed.close()
	<-p.Done()
	t.Close()
	ends.Wait()
}

// show sends what appears on the terminal, until its last program has gone.
func (s *session) show(t *child.Terminal) {
	buf := make([]byte, 16<<10)
	for {
		p, changed, err := t.ReadNotice(buf)
		if len(p) > 0 && s.send(p) != nil || changed && s.follow(t) != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// typeAt does what the peer says, until it has gone.
func (s *session) typeAt(t *child.Terminal, typed *keys) {
	for {
		e, err := s.next()
		if err != nil {
			return
		}
		if c, ok := keyOf[e.kind]; ok {
			e.kind, e.text = isText, []byte{c}
		}
		switch e.kind {
		case isText:
			typed.add(e.text)
		case isInterrupt:
			typed.drop()
			t.Signal(syscall.SIGINT)
		case isBreak:
			typed.drop()
			t.Signal(syscall.SIGQUIT)
		case isSuspend:
			t.Signal(sigtstp)
		case isWindow:
			s.resize(t, e)
		case isAYT:
			s.print("\r\n[yes]\r\n")
		case isEOF:
			typed.addEnd()
		case isEcho:
			if !s.inLineMode() {
				t.Echo(e.on)
			}
		case isLine:
			s.sitExternal(t, e.on)
		case isKeys:
			t.SetKeys(terminalKeys(e.keys))
		}
	}
}

// keyOf has the commands that are keys of the terminal, as it has them at first: erase and
// kill.
var keyOf = map[kind]byte{isErase: firstKeys[keyErase], isKill: firstKeys[keyKill]}

func (s *session) resize(t *child.Terminal, e event) {
	if e.rows > 0 && e.cols > 0 {
		t.Resize(e.rows, e.cols)
	}
}
