package rio

import "io"

// bufSize is the size of a buffer in bytes, RIO_BUFSIZE in rio_t. A Reader's
// grows beyond it only for a line, within the bound.
const bufSize = 8192

// A Reader reads lines and binary data from a source, in any order, and loses no
// byte between them. It buffers: it may have read more from the source than it
// has handed out. It is not safe for concurrent use.
type Reader struct {
	src   io.Reader
	lines Lines
	buf   []byte
	r, w  int   // buf[r:w] was read and not handed out; empty while skipping
	err   error // to be reported behind buf[r:w]

	skipped int64
}

// NewReader returns a Reader of lines of at most max bytes, newline included;
// mode says what becomes of longer ones. This is rio_readinitb. It panics if max
// is not positive: nobody wants an unbounded line from a peer.
func NewReader(src io.Reader, max int, mode Mode) *Reader {
	if max <= 0 {
		panic("rio: NewReader: the bound of a line must be positive")
	}
	return &Reader{src: src, lines: Lines{Max: max, Mode: mode}, buf: make([]byte, bufSize)}
}

// ReadLine returns the next line with its newline, or the next piece of an
// overlong one. This is rio_readlineb. The last line of the input may lack a
// newline; every line has at least one byte. The slice is the caller's, to change
// too, until the next call of a method that reads.
//
// With an error there is no line. ErrTooLong refuses one; io.EOF is the end of
// input. If the source fails within a line, ReadLine reports the failure, since
// half a line may mean something else than the whole; Read has the half.
func (r *Reader) ReadLine() ([]byte, error) {
	if n := newline(r.buf[r.r:r.w], r.lines.Max); n > 0 {
		line := r.buf[r.r : r.r+n : r.r+n]
		r.r += n
		return line, nil
	}
	return r.finishLine()
}

// finishLine is ReadLine where the buffer does not begin with a whole line.
func (r *Reader) finishLine() ([]byte, error) {
	known := min(r.Buffered(), r.lines.Max)
	for {
		line, used, err := r.lines.next(r.buf[r.r:r.w], known, r.err == io.EOF)
		r.r += used
		r.skipped += int64(used - len(line))
		if line != nil || err != nil {
			return line, err
		}
		known = r.Buffered()
		if err := r.fill(); err != nil && err != io.EOF { // what the end means, next says
			return nil, err
		}
	}
}

// Read reads at least one byte and at most len(p), asking the source only if
// there is nothing in the buffer. It follows io.Reader. This is rio_read, the
// part of RIO that its other functions use.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.Buffered() == 0 && len(p) >= len(r.buf) && !r.lines.skipping {
		return r.get(p) // the detour through the buffer would gain nothing
	}
	if err := r.await(); err != nil {
		return 0, err
	}
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	return n, nil
}

// ReadFull is the function ReadFull through the Reader's buffer. This is
// rio_readnb.
func (r *Reader) ReadFull(p []byte) (n int, err error) { return ReadFull(r, p) }

// WriteTo writes everything up to the end of input to dst, so that io.Copy needs
// no buffer of its own. It follows io.WriterTo. What dst did not take is still to
// be read.
func (r *Reader) WriteTo(dst io.Writer) (total int64, err error) {
	for {
		if err := r.await(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := WriteFull(dst, r.buf[r.r:r.w])
		r.r += n
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// Buffered returns how many bytes can be read without asking the source.
func (r *Reader) Buffered() int { return r.w - r.r }

// Skipped returns how many bytes of refused lines have been thrown away so far.
func (r *Reader) Skipped() int64 { return r.skipped }

// await returns once there is something in the buffer.
func (r *Reader) await() error {
	for r.Buffered() == 0 {
		if err := r.fill(); err != nil {
			return err
		}
	}
	return nil
}

// fill makes room in the buffer and reads from the source once, or returns the
// error that is due. Of a refused line it keeps nothing.
func (r *Reader) fill() error {
	if r.err == nil {
		r.makeRoom()
	}
	n, err := r.get(r.buf[r.w:])
	r.w += n
	if r.lines.skipping {
		dropped := r.lines.skip(r.buf[r.r:r.w])
		r.r += dropped
		r.skipped += int64(dropped)
	}
	return err
}

// makeRoom moves what is in the buffer to its start. A buffer that is full even so
// holds part of a line, shorter than the bound, and becomes larger.
func (r *Reader) makeRoom() {
	if r.r > 0 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	if r.w == len(r.buf) {
		larger := make([]byte, min(2*len(r.buf), r.lines.Max))
		copy(larger, r.buf)
		r.buf = larger
	}
}

// get reads from the source into p, which must not be empty. It returns either
// bytes or an error, and does not read once there is an error to report.
func (r *Reader) get(p []byte) (n int, err error) {
	if r.err == nil {
		if n, r.err = untilDone(r.src.Read, p, io.ErrNoProgress); n > 0 {
			return n, nil
		}
	}
	err = r.err
	if passes(err) {
		r.err = nil
	}
	return 0, err
}
