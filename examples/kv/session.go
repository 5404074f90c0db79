package main

import (
	"io"
	"time"

	"yodel"
)

// service opens sessions on one store.
type service struct {
	store *store
	verbs map[string]*verb // by name in lower case; never written to
}

func newService(l limits) *service {
	return &service{store: newStore(l), verbs: verbsByName()}
}

// Open implements yodel.Service.
func (s *service) Open(yodel.Peer) yodel.Session {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.stats.connections++
	s.store.stats.clients++
	return &session{service: s, parser: newParser(s.store.limits.maxValue)}
}

// commandsPerStep bounds what one Step does and reports, however short the commands.
const commandsPerStep = 128

// session is one connection.
type session struct {
	*service
	parser parser

	// rest is what is still to be sent of a large value, the store's memory, which is
	// never written again. It is sent as there is room, and no command is obeyed before.
	rest []byte
}

// Closed implements yodel.Closer.
func (s *session) Closed() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.stats.clients--
}

// Step implements yodel.Session. It obeys the commands that are there, as long as there
// is room for replies.
func (s *session) Step(in yodel.Input, out *yodel.Out) (used int, err error) {
	defer s.parser.forget()
	defer func() { out.Receiving(s.parser.gathering()) }()
	s.sendRest(out)
	for range commandsPerStep {
		if out.Room() == 0 {
			return used, nil
		}
		words, n, err := s.parser.next(in.Data[used:])
		used += n
		switch {
		case err != nil:
			return used, refuse(err, out)
		case n == 0:
			return used, s.wait(in, out)
		case len(words) == 0:
			continue
		}
		out.Heard(s.parser.size)
		if err := s.obey(words, in.Now, out); err != nil {
			return used, err
		}
	}
	return used, nil
}

// obey carries out one command.
func (s *session) obey(words [][]byte, now time.Time, out *yodel.Out) error {
	v := s.verb(words[0])
	switch {
	case v == nil:
		unknown(out, words)
		return nil
	case !v.takes(len(words)):
		failf(out, "ERR wrong number of arguments for '%s' command", v.name)
		return nil
	}
	s.store.begin(now)
	defer s.store.end()
	s.store.stats.commands++
	return v.do(s, words[1:], out)
}

// verb returns the verb of that name, in any case; nil if there is none.
func (s *session) verb(word []byte) *verb {
	var name [16]byte // longer than any
	if len(word) > len(name) {
		return nil
	}
	for i, b := range word {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		name[i] = b
	}
	return s.verbs[string(name[:len(word)])]
}

// refuse answers what is no command, after which the connection ends: nobody knows where
// the next one begins.
func refuse(err error, out *yodel.Out) error {
	fail(out, "ERR "+err.Error())
	return &yodel.PeerError{Msg: err.Error()}
}

// wait ends a Step that has obeyed all whole commands.
func (s *session) wait(in yodel.Input, out *yodel.Out) error {
	if in.Kind == yodel.EOF {
		return io.EOF
	}
	return nil
}

// sendRest sends of a large value what there is room for.
func (s *session) sendRest(out *yodel.Out) {
	if s.rest == nil {
		return
	}
	n := min(len(s.rest), out.Room())
	out.Write(s.rest[:n])
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		s.rest = nil
		out.WriteString("\r\n")
	}
}
