package rio

import (
	"errors"
	"io"
	"syscall"
)

// maxIdle is how many calls in a row may do nothing without failing.
const maxIdle = 100

// ReadFull reads len(p) bytes from src into p, with as many calls of Read as that
// takes. This is rio_readn. It returns how many bytes it read; fewer than len(p)
// only with an error: io.EOF if the input ended before the first byte,
// io.ErrUnexpectedEOF if it ended later, or what Read failed with. p[:n] holds
// what came before the error, so after a timeout the caller goes on with p[n:].
func ReadFull(src io.Reader, p []byte) (n int, err error) {
	for n < len(p) {
		m, err := untilDone(src.Read, p[n:], io.ErrNoProgress)
		n += m
		switch {
		case n == len(p): // an error will be there again, if it is to last
			return n, nil
		case err == io.EOF && n > 0:
			return n, io.ErrUnexpectedEOF
		case err != nil:
			return n, err
		}
	}
	return n, nil
}

// WriteFull writes all of p to dst, with as many calls of Write as that takes; an
// empty p takes none. This is rio_writen. Unlike what io.Writer asks for, dst may
// take fewer bytes than it was given and return no error. WriteFull returns how
// many bytes were taken; fewer than len(p) only with an error, and after a
// timeout the caller goes on with p[n:].
func WriteFull(dst io.Writer, p []byte) (n int, err error) {
	for n < len(p) {
		m, err := untilDone(dst.Write, p[n:], io.ErrShortWrite)
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// untilDone calls a Read or Write until it has done something, or failed. A call
// that was interrupted has done what it has done. stuck is the error for maxIdle
// calls that did nothing. p must not be empty.
func untilDone(call func([]byte) (int, error), p []byte, stuck error) (int, error) {
	for range maxIdle {
		n, err := call(p)
		if n < 0 || n > len(p) {
			panic("rio: a Read or Write has returned an impossible count")
		}
		if err != nil && errors.Is(err, syscall.EINTR) {
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, stuck
}

// passes reports whether a later call may do better than the one that failed with
// err.
func passes(err error) bool {
	if err == io.ErrNoProgress || err == io.ErrShortWrite {
		return true
	}
	// The kernel reports a dead connection's ETIMEDOUT once, and a clean end from
	// then on: asking again would turn a failure into an end.
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout() && !errors.Is(err, syscall.ETIMEDOUT)
}
