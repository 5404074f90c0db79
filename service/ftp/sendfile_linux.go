package ftp

import (
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A client that is as fast as its line makes room soon, and then a thread that waits for it
// inside sendfile(2) costs much less than one that the runtime parks and wakes. It waits
// for roomSoon at once, and goes on for sendTurn at most, so that a deadline or a close is
// seen soon enough. Who is slower than that is waited for by the runtime.
const (
	roomSoon = 4 * time.Millisecond
	sendTurn = 100 * time.Millisecond
	sendCall = 4 << 20 // bytes
)

// source returns what a connection is to be given.
func (p *filePiece) source() io.Reader { return p }

// WriteTo implements [io.WriterTo]: it sends the piece, or what could be sent of it in one
// turn, inside the kernel.
func (p *filePiece) WriteTo(w io.Writer) (int64, error) {
	to, ok := w.(syscall.Conn)
	if !ok {
		return io.Copy(w, &p.LimitedReader)
	}
	dst, err := to.SyscallConn()
	if err != nil {
		return 0, err
	}
	src, err := p.file.SyscallConn()
	if err != nil {
		return 0, &fileError{err}
	}
	before := p.N
	var sent, waited error
	err = src.Control(func(in uintptr) {
		waited = dst.Write(func(out uintptr) (done bool) {
			done, sent = p.send(int(out), int(in))
			return done
		})
	})
	switch {
	case err != nil:
		err = &fileError{err}
	case waited != nil:
		err = waited
	default:
		err = os.NewSyscallError("sendfile", sent)
	}
	return before - p.N, err
}

// send sends until the piece, the file or the turn ends, and reports false when there is no
// room for a while.
func (p *filePiece) send(out, in int) (done bool, err error) {
	until, blocking := time.Now().Add(sendTurn), false
	for p.N > 0 && time.Now().Before(until) {
		n, err := unix.Sendfile(out, in, nil, int(min(p.N, sendCall)))
		switch {
		case n > 0:
			p.N -= int64(n)
		case err == unix.EAGAIN && !blocking && waitsInKernel(out) == nil:
			blocking = true
			defer unix.SetNonblock(out, true)
		case err == unix.EAGAIN:
			return false, nil
		case err != unix.EINTR:
			return true, err
		}
	}
	return true, nil
}

// waitsInKernel makes calls on a socket wait for room, but not for long.
func waitsInKernel(fd int) error {
	limit := unix.NsecToTimeval(roomSoon.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return err
	}
	return unix.SetNonblock(fd, false)
}
