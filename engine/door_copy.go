package engine

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"syscall"
)

// ReadFrom implements io.ReaderFrom. What a service copies from a file the kernel sends
// by itself where it can, with the counts and limits of Write.
func (d *doorConn) ReadFrom(r io.Reader) (sum int64, err error) {
	src, limit := r, int64(1<<63-1)
	limited, _ := r.(*io.LimitedReader)
	if limited != nil {
		src, limit = limited.R, limited.N
	}
	if f, ok := src.(file); ok && limit > 0 {
		sum, err = d.sendFile(f, limit)
		if limited != nil {
			limited.N -= sum
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return sum, err
		}
	}
	n, err := io.Copy(struct{ io.Writer }{d}, r)
	return sum + n, err
}

// file is an *os.File, or what package os makes of one before it lets itself be copied.
type file interface {
	fs.File
	io.Seeker
	syscall.Conn
}

// sendFile sends at most limit bytes of f, from where it stands. If that is not how f
// can be sent the error is errors.ErrUnsupported.
func (d *doorConn) sendFile(f file, limit int64) (sum int64, err error) {
	out, ok := d.Conn.(syscall.Conn)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	to, err1 := out.SyscallConn()
	from, err2 := f.SyscallConn()
	at, err3 := f.Seek(0, io.SeekCurrent)
	switch {
	case err1 != nil || err2 != nil:
		return 0, errors.Join(err1, err2)
	case err3 != nil: // a pipe
		return 0, errors.ErrUnsupported
	}
	d.calls.RLock()
	defer d.calls.RUnlock()
	d.writes.Lock()
	defer d.writes.Unlock()
	defer d.writing.Store(0)
	room := 0 // of the piece that is under way
	took := func(n int) {
		sum += int64(n)
		d.wrote(n)
		if room -= n; room <= 0 {
			room = doorPiece
			d.writing.Store(d.since() + int64(d.b.patience(room)))
		}
	}
	took(0)
	s := &sender{at: at, left: limit, took: took}
	err = s.send(to, from)
	d.noteWrite(err)
	return sum, err
}

// noteWrite notes what ended the connection, if err is that.
func (d *doorConn) noteWrite(err error) {
	switch {
	case err == nil, isTimeout(err), errors.Is(err, net.ErrClosed), errors.Is(err, errors.ErrUnsupported):
	default:
		d.note(ReasonOf(err))
	}
}
