package call

import (
	"context"
	"errors"
	"io"
)

// A sender carries what a source has to the connection. One goroutine runs it; its
// fields are for others when run has returned.
type sender struct {
	x      *exchange
	src    *source
	crlf   *CRLF              // nil: newlines stay
	due    func([]byte) error // told before each write, if not nil
	unsent int64              // bytes that the connection did not take
	ended  bool               // the source has none left
}

func newSender(x *exchange, src *source) *sender {
	s := &sender{x: x, src: src}
	if x.cfg.CRLF {
		s.crlf = new(CRLF)
	}
	return s
}

// run sends until the source ends, and then ends our direction.
func (s *sender) run() error {
	defer s.src.stop()
	for {
		data, err := s.src.next(s.x.ctx)
		if sendErr := s.send(data); sendErr != nil {
			return sendErr
		}
		switch {
		case err == io.EOF:
			s.ended = true
			return s.x.finishSending()
		case s.x.ctx.Err() != nil:
			return context.Cause(s.x.ctx)
		case err != nil:
			return inputError(err)
		}
	}
}

func (s *sender) send(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if s.crlf != nil {
		data = s.crlf.Append(nil, data)
	}
	s.unsent = int64(len(data))
	if s.due != nil {
		if err := s.due(data); err != nil {
			return err
		}
	}
	n, err := s.x.Write(data)
	s.unsent -= int64(n)
	return err
}

// inputError says that err is of the input, unless that is how the user leaves.
func inputError(err error) error {
	if errors.Is(err, ErrEscape) || errors.Is(err, ErrInterrupted) {
		return err
	}
	return &InputError{err}
}

// start runs s on a goroutine of its own. A failure ends the exchange. But where a
// connection has failed the peer may have said why, and that is still to be read.
func (s *sender) start() (done <-chan error) {
	ended := make(chan error, 1)
	go func() {
		err := s.run()
		if err != nil && (!isBrokenError(err) || s.x.packets) {
			s.x.cancel(err)
		}
		ended <- err
	}()
	return ended
}

func isBrokenError(err error) bool {
	_, ok := err.(*BrokenError)
	return ok
}

// account adds to a *BrokenError what became of our bytes.
func (s *sender) account(err error) error {
	if broken, ok := err.(*BrokenError); ok {
		broken.Sent, broken.Unsent, broken.Rest = s.x.sent.Load(), s.unsent, !s.ended
	}
	return err
}

// errPeerEnded ends a conversation when the peer has ended its direction.
var errPeerEnded = errors.New("closed by peer")

// converse sends with s while receive receives. It returns when both directions have
// ended, or one of them has failed; untilPeer, already when the peer's has ended.
func (x *exchange) converse(s *sender, receive func() error, untilPeer bool) error {
	sent := s.start()
	err := receive()
	if err != nil {
		x.cancel(err)
	} else if untilPeer {
		x.cancel(errPeerEnded)
	}
	sendErr := <-sent
	cause := context.Cause(x.ctx)
	if cause != nil && (cause != errPeerEnded || !isBrokenError(sendErr)) {
		sendErr = cause
	}
	return s.account(sendErr)
}
