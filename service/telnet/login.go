package telnet

import (
	"errors"

	"yodel/internal/users"
)

// maxLine is how many bytes a name or a password may have.
const maxLine = 1024

var (
	errFailures = errors.New("telnet: too many failures to log in")
	errLeft     = errors.New("telnet: the person has left")
)

// login asks for a name and a password until they are right.
func (s *session) login() (users.User, error) {
	for failures := 0; ; {
		name, err := s.ask("login: ", true)
		if err != nil {
			return users.User{}, err
		}
		if name == "" {
			continue
		}
		password, err := s.ask("password: ", false)
		if err != nil {
			return users.User{}, err
		}
		user, err := s.cfg.Users.Check(s.srv.ctx, s.from, name, password)
		if err == nil {
			s.log.Info("login", "user", user.Name)
			return user, nil
		}
		if !errors.Is(err, users.ErrDenied) {
			return user, err
		}
		failures++
		s.log.Warn("login failed", "times", failures)
		if n := s.cfg.maxFailures(); n > 0 && failures >= n {
			return user, errFailures
		}
		s.print("That is not it.\r\n")
	}
}

// ask asks for a line, and shows what is typed if that may be seen and nobody else does.
func (s *session) ask(prompt string, show bool) (string, error) {
	if err := s.print(prompt); err != nil {
		return "", err
	}
	l := line{show: show}
	for {
		e, err := s.next()
		if err != nil {
			return "", err
		}
		switch e.kind {
		case isText:
			rest, done, err := l.take(e.text)
			if err != nil {
				return "", err
			}
			if err := s.echo(&l); err != nil {
				return "", err
			}
			if done {
				s.keep(rest)
				return string(l.text), nil
			}
		case isErase:
			l.erase()
		case isKill:
			l.kill()
		case isInterrupt, isBreak, isEOF:
			return "", errLeft
		default:
			s.note(e)
		}
		if err := s.echo(&l); err != nil {
			return "", err
		}
	}
}

// keep puts back text that was not used.
func (s *session) keep(rest []byte) {
	if len(rest) > 0 {
		s.pending = append([]event{{kind: isText, text: rest}}, s.pending...)
	}
}

// note takes what is said about the terminal before there is one.
func (s *session) note(e event) {
	switch e.kind {
	case isWindow:
		s.rows, s.cols = e.rows, e.cols
	case isTerm:
		s.term = e.term
	case isAYT:
		s.print("\r\n[yes]\r\n")
	}
}

// echo sends what the line shows, if it is us who echo.
func (s *session) echo(l *line) error {
	shown := l.shown
	l.shown = nil
	s.write.Lock()
	ours := s.m.echoes()
	s.write.Unlock()
	if !ours || len(shown) == 0 {
		return nil
	}
	return s.send(shown)
}

// A line is one that is being typed.
type line struct {
	show  bool // what is typed may be seen
	text  []byte
	shown []byte // what has to appear
}

// take takes what was typed, up to the end of the line: rest is what is behind it.
func (l *line) take(p []byte) (rest []byte, done bool, err error) {
	for i, c := range p {
		switch {
		case c == '\r' || c == '\n':
			l.shown = append(l.shown, "\r\n"...)
			return p[i+1:], true, nil
		case c == 0x7f || c == '\b':
			l.erase()
		case c == 0x15: // ^U
			l.kill()
		case c == 0x03, c == 0x04 && len(l.text) == 0: // ^C, ^D
			return nil, false, errLeft
		case c >= ' ' && len(l.text) < maxLine:
			l.text = append(l.text, c)
			if l.show {
				l.shown = append(l.shown, c)
			}
		}
	}
	return nil, false, nil
}

// erase takes the last character back: in UTF-8 all bytes of it.
func (l *line) erase() {
	n := len(l.text)
	for n > 0 && l.text[n-1]&0xc0 == 0x80 {
		n--
	}
	if n == 0 {
		l.text = l.text[:0]
		return
	}
	l.text = l.text[:n-1]
	if l.show {
		l.shown = append(l.shown, "\b \b"...)
	}
}

func (l *line) kill() {
	for len(l.text) > 0 {
		l.erase()
	}
}
