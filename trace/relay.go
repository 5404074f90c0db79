package trace

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// firstChunk is how much of a copy goes by as plain reads and writes, so that the
// first event tells when the first bytes moved and not when the whole copy ended.
const firstChunk = 32 << 10

type (
	readOnly  struct{ io.Reader } // hides WriteTo
	writeOnly struct{ io.Writer } // hides ReadFrom
)

// ReadFrom implements [io.ReaderFrom]. On TCP a regular file or a socket is left to
// the kernel (sendfile(2), splice(2)) and counted when that call returns. Anything
// else is copied in pieces, and so is all if the sink wants each call.
func (c *Conn) ReadFrom(src io.Reader) (int64, error) {
	below, ok := c.Conn.(io.ReaderFrom)
	if !ok || c.each || !kernelReads(src) {
		return io.Copy(writeOnly{c}, src)
	}
	var first int64
	if c.sink != nil && !c.wrote.Load() {
		var err error
		if first, err = io.CopyN(writeOnly{c}, src, firstChunk); err != nil {
			return first, unlessEOF(err)
		}
	}
	if c.enter() {
		defer c.leave()
	}
	n, err := below.ReadFrom(src)
	c.out.Add(n)
	if err != nil {
		c.copyFailed(err)
	}
	return first + n, err
}

// WriteTo implements [io.WriterTo]. From one socket to a TCP connection it leaves the
// copy to the kernel, as ReadFrom does. If that fails, what the kernel had read and
// could not pass on is not in the sums.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	to, ok := w.(io.ReaderFrom)
	if !ok || c.each || !isTCP(w) || !kernelReads(c.Conn) {
		return io.Copy(w, readOnly{c})
	}
	var first int64
	if c.sink != nil && !c.read.Load() {
		var err error
		if first, err = io.CopyN(w, readOnly{c}, firstChunk); err != nil {
			return first, unlessEOF(err)
		}
	}
	traced := c.enter()
	if traced {
		defer c.leave()
	}
	n, err := to.ReadFrom(c.Conn)
	c.in.Add(n)
	switch {
	case err != nil:
		c.copyFailed(err)
	case traced:
		c.ended()
	}
	return first + n, err
}

// kernelReads reports whether src is something that the kernel can copy to a
// socket without waiting for anything but a peer.
func kernelReads(src any) bool {
	switch s := src.(type) {
	case *io.LimitedReader:
		return kernelReads(s.R)
	case interface{ NetConn() net.Conn }: // a wrapper, such as Conn, that must see the bytes
		return false
	case interface{ Stat() (fs.FileInfo, error) }: // *os.File, also as package os disguises it
		info, err := s.Stat()
		return err == nil && info.Mode().IsRegular()
	case syscall.Conn:
		return true
	}
	return false
}

// isTCP reports whether w is a TCP connection, or wraps one and passes ReadFrom on.
func isTCP(w any) bool {
	for {
		if _, ok := w.(*net.TCPConn); ok {
			return true
		}
		wrapper, ok := w.(interface {
			io.ReaderFrom
			NetConn() net.Conn
		})
		if !ok {
			return false
		}
		w = wrapper.NetConn()
	}
}

// copyFailed notes the error of a copy in the kernel, which does not tell at which
// of the two ends it failed.
func (c *Conn) copyFailed(err error) {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	c.endFor(EndFault, err)
}

func unlessEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}
