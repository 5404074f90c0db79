package ftp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"yodel/trace"
)

// Why a transfer has failed that the client, or the way to it, is to blame for.
var (
	errStalled   = errors.New("ftp: the data connection moves nothing")
	errTruncated = errors.New("ftp: the data connection ended without a TLS goodbye")
	errNoReuse   = errors.New("ftp: the data connection does not resume the control connection's TLS session")
	errTooMany   = errors.New("ftp: too many TLS handshakes")
)

// A data is a data connection. It is for one goroutine.
type data struct {
	srv    *Server
	raw    net.Conn // the TCP connection; deadlines are set here
	conn   net.Conn // raw, or TLS over it
	end    *endSpy  // below TLS; nil: there is none
	pace   pace
	moved  *atomic.Int64
	finish []func()

	batched bool // see batch
}

// open makes the data connection of e. When ctx ends the connection does.
func (j *job) open(ctx context.Context, s *session, e endpoint) (*data, error) {
	release, err := s.srv.admit(s.peer)
	if err != nil {
		e.close()
		return nil, err
	}
	raw, err := e.connect(ctx)
	if err != nil {
		release()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	d := &data{
		srv: s.srv, raw: raw, conn: raw, pace: s.cfg.pace(), moved: &j.moved,
	}
	d.finish = []func(){func() { stop() }, func() { d.conn.Close() }, release}
	if j.private {
		if err := d.secure(ctx, j.tls, j.reuse); err != nil {
			d.close()
			return nil, &tlsError{err}
		}
	}
	return d, nil
}

// A tlsError is why TLS did not come about on a data connection.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

// secure begins TLS. reuse asks for a session that is resumed.
func (d *data) secure(ctx context.Context, cfg *tls.Config, reuse bool) error {
	if !d.srv.beginHandshake() {
		return errTooMany
	}
	defer d.srv.endHandshake()
	d.end = &endSpy{Conn: d.raw}
	t := tls.Server(d.end, cfg)
	from := time.Now()
	err := handshake(ctx, t, d.srv.cfg.handshakeTimeout())
	state := t.ConnectionState()
	if err == nil && reuse && !state.DidResume {
		err = errNoReuse
	}
	d.traceHandshake(from, state, err)
	d.conn = t
	return err
}

func (d *data) traceHandshake(from time.Time, state tls.ConnectionState, err error) {
	sink := d.srv.cfg.dataSink()
	if sink == nil {
		return
	}
	e := trace.Event{
		Op: trace.Handshake, Side: trace.Server, Time: time.Now(), Took: time.Since(from), Err: err, Network: "tls",
		Local: trace.AddrPort(d.raw.LocalAddr()), Remote: trace.AddrPort(d.raw.RemoteAddr()),
	}
	if named, ok := d.raw.(interface{ ID() trace.ConnID }); ok {
		e.Conn = named.ID()
	}
	if err == nil {
		e.Text = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	}
	sink.Emit(&e)
}

// An endSpy notes whether the connection below TLS has ended. If it ends and TLS has not
// said so before, somebody may have cut it: package tls takes that for an end.
type endSpy struct {
	net.Conn
	ended bool
}

func (e *endSpy) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	if err == io.EOF {
		e.ended = true
	}
	return n, err
}

// cut closes a connection with TLS without its goodbye, which would say that all was sent,
// and which a client that does not read would hold up.
func (d *data) cut() {
	if d.end != nil {
		d.raw.Close()
	}
}

// close closes the connection. It may be called again.
func (d *data) close() {
	for _, f := range d.finish {
		f()
	}
	d.finish = nil
}

// Read reads what the client sends, at the pace that it must keep.
func (d *data) Read(p []byte) (int, error) {
	n, err := d.take(func() (int64, error) {
		n, err := d.conn.Read(p)
		return int64(n), err
	})
	return int(n), err
}

// take reads something with a deadline, again and again until there is something.
func (d *data) take(read func() (int64, error)) (int64, error) {
	for {
		if end, begun := d.pace.deadline(time.Now()); begun {
			d.raw.SetReadDeadline(end)
		}
		n, err := read()
		if n == 0 && d.batched && errors.Is(err, os.ErrDeadlineExceeded) {
			d.unbatch()
			n, err = read() // the bytes that nobody was woken for
		}
		if n > 0 {
			d.count(n, 0)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
		switch keeps := d.pace.keeps(n, time.Now()); {
		case err == io.EOF && d.end != nil && d.end.ended:
			return n, errTruncated
		case err == nil && !keeps:
			return n, errStalled
		case n > 0 || err != nil:
			return n, err
		}
	}
}

// An upload of more than batchAfter bytes is read in batches, of batchSize bytes.
const (
	batchAfter = 1 << 20
	batchSize  = 1 << 20
)

// batch asks to be woken for many bytes at once, in an upload that is long and has no
// TLS: its last bytes come with the end of the connection, which wakes us whatever is
// there. Being woken costs more than reading.
func (d *data) batch() { d.batched = setLowat(d.raw, batchSize) == nil }

// unbatch ends that, and leaves a moment to read what is there.
func (d *data) unbatch() {
	d.batched = false
	setLowat(d.raw, 1)
	d.raw.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
}

// setLowat sets how many bytes must be there for a reader to be woken.
func setLowat(nc net.Conn, n int) error {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	if e := rc.Control(func(fd uintptr) { err = setReadLowat(fd, n) }); e != nil {
		return e
	}
	return err
}

func (d *data) count(in, out int64) {
	d.moved.Add(in + out)
	d.srv.moved(in, out)
}

// tlsPiece is how many bytes are given to TLS at once, which can't go on with a part of
// them after a deadline.
const tlsPiece = 16 << 10

// Write sends p, at the pace that the client must keep.
func (d *data) Write(p []byte) (sum int, err error) {
	if d.end != nil {
		return d.writeTLS(p)
	}
	for sum < len(p) {
		n, err := d.piece(func() (int64, error) {
			n, err := d.conn.Write(p[sum:])
			return int64(n), err
		})
		sum += int(n)
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (d *data) writeTLS(p []byte) (sum int, err error) {
	for sum < len(p) {
		piece := p[sum:min(len(p), sum+tlsPiece)]
		if limit := d.pace.patience(len(piece)); limit > 0 {
			d.raw.SetWriteDeadline(time.Now().Add(limit))
		}
		n, err := d.conn.Write(piece)
		sum += n
		d.count(0, int64(n))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return sum, errStalled
		}
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// piece sends something with a deadline, after which it may be called again.
func (d *data) piece(send func() (int64, error)) (int64, error) {
	if end, begun := d.pace.deadline(time.Now()); begun {
		d.raw.SetWriteDeadline(end)
	}
	n, err := send()
	if n > 0 {
		d.count(0, n)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	if !d.pace.keeps(n, time.Now()) && err == nil {
		err = errStalled
	}
	return n, err
}

// sendPiece is how many bytes of a file are sent in one call, which a deadline ends too:
// the fewer calls, the less the runtime has to do about those that take long.
const sendPiece = 64 << 20

// sendFile sends what file has from where it stands, inside the kernel if that can be.
func (d *data) sendFile(file *os.File) error {
	send := fileSender(d.conn)
	if send == nil {
		return d.copyFrom(file)
	}
	for {
		src := &filePiece{LimitedReader: io.LimitedReader{R: file, N: sendPiece}, file: file}
		_, err := d.piece(func() (int64, error) { return send(src.source()) })
		switch {
		case err != nil && isOfFile(err):
			return &fileError{err}
		case err != nil:
			return err
		case src.N == sendPiece && isAtEnd(file):
			return nil
		}
	}
}

// A filePiece is a piece of a file that is to be sent.
type filePiece struct {
	io.LimitedReader
	file *os.File
}

// fileSender returns how conn sends a file inside the kernel, nil if it can't.
func fileSender(conn net.Conn) func(io.Reader) (int64, error) {
	switch c := conn.(type) {
	case interface {
		WriteFrom(io.Reader) (int64, error)
	}:
		return c.WriteFrom
	case io.ReaderFrom:
		return c.ReadFrom
	}
	return nil
}

// isAtEnd reports whether nothing is left to read; what was sent was nothing, perhaps
// because of a deadline.
func isAtEnd(file *os.File) bool {
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return true
	}
	fi, err := file.Stat()
	return err != nil || at >= fi.Size()
}

// A fileError is a failure of a file, and not of the connection.
type fileError struct{ err error }

func (e *fileError) Error() string { return e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// bufSize is how much is read and written at once, where the kernel does not copy.
const bufSize = 256 << 10

var buffers = sync.Pool{New: func() any { return new([bufSize]byte) }}

// copyFrom sends what src has.
func (d *data) copyFrom(src io.Reader) error {
	buf := buffers.Get().(*[bufSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			if _, err := d.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &fileError{err}
		}
	}
}

// copyTo writes what the client sends to dst; at most about max bytes, if that is not 0.
// The error is io.EOF at the end.
func (d *data) copyTo(dst io.Writer, max int64) error {
	buf := buffers.Get().(*[bufSize]byte)
	defer buffers.Put(buf)
	for sum := int64(0); max == 0 || sum < max; {
		n, err := d.Read(buf[:])
		sum += int64(n)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return &fileError{err}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// receiveFile writes what the client sends to file: what is long inside the kernel, if
// that can be. The error is io.EOF at the end.
func (d *data) receiveFile(file *os.File) error {
	receive := fileReceiver(d.conn)
	if receive == nil {
		return d.copyTo(file, 0)
	}
	if err := d.copyTo(file, batchAfter); err != nil {
		return err
	}
	d.batch()
	for {
		_, err := d.take(func() (int64, error) {
			n, err := receive(file, sendPiece)
			if err == nil && n < sendPiece {
				err = io.EOF
			}
			return n, err
		})
		switch {
		case err == io.EOF, err == errStalled:
			return err
		case err != nil && trace.EndOf(err) == trace.EndFault:
			return &fileError{err}
		case err != nil:
			return err
		}
	}
}

// fileReceiver returns how a file receives from conn inside the kernel, nil if it can't.
func fileReceiver(conn net.Conn) func(file io.ReaderFrom, max int64) (int64, error) {
	switch c := conn.(type) {
	case interface {
		ReadTo(io.ReaderFrom, int64) (int64, error)
	}:
		return c.ReadTo
	case *net.TCPConn:
		return func(file io.ReaderFrom, max int64) (int64, error) { return file.ReadFrom(io.LimitReader(c, max)) }
	}
	return nil
}

// flush ends our direction, and waits until the client has ended its own: then all that
// was sent has come there. A client that leaves that open is not waited for long. A reset
// says that something was not read; with TLS that may be its goodbye.
func (d *data) flush() error {
	half, ok := d.conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := half.CloseWrite(); err != nil {
		return err
	}
	limit := d.srv.cfg.linger()
	if limit == 0 {
		return nil
	}
	d.raw.SetReadDeadline(time.Now().Add(limit))
	var buf [512]byte
	for {
		_, err := d.conn.Read(buf[:])
		switch {
		case err == nil:
		case err == io.EOF, errors.Is(err, os.ErrDeadlineExceeded), d.end != nil:
			return nil
		default:
			return err
		}
	}
}
