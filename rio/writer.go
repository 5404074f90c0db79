package rio

import "io"

// A Writer collects small writes into large ones. Nothing reaches the destination
// for certain before Flush. Unlike bufio.Writer it puts up with a destination that
// takes less than it was given, and goes on after a timeout. It is not safe for
// concurrent use.
type Writer struct {
	dst  io.Writer
	buf  []byte // what was taken from the caller
	sent int    // buf[:sent] went to dst
	err  error  // lasting failure of dst
}

// NewWriter returns a Writer to dst.
func NewWriter(dst io.Writer) *Writer {
	return &Writer{dst: dst, buf: make([]byte, 0, bufSize)}
}

// Write takes p. It returns how many bytes of p were taken, that is, went to the
// destination or into the buffer: fewer than len(p) only with an error. After a
// timeout the caller goes on with Write(p[n:]), or with Flush if nothing is left;
// no byte is sent twice.
func (w *Writer) Write(p []byte) (n int, err error) {
	if w.err != nil {
		return 0, w.err
	}
	for len(p)-n > w.room() {
		var m int
		if w.Buffered() == 0 {
			m, err = w.send(p[n:]) // it would not fit: past the buffer
		} else {
			m = take(w, p[n:])
			err = w.Flush()
		}
		n += m
		if err != nil {
			return n, err
		}
	}
	return n + take(w, p[n:]), nil
}

// WriteString is Write for a string.
func (w *Writer) WriteString(s string) (n int, err error) {
	if w.err != nil {
		return 0, w.err
	}
	for {
		n += take(w, s[n:])
		if n == len(s) {
			return n, nil
		}
		if err := w.Flush(); err != nil {
			return n, err
		}
	}
}

// Flush sends what is in the buffer. What it could not send stays there, and after
// a timeout the next Flush goes on with it.
func (w *Writer) Flush() error {
	if w.err != nil || w.Buffered() == 0 {
		return w.err
	}
	n, err := w.send(w.buf[w.sent:])
	w.sent += n
	if w.Buffered() == 0 {
		w.buf, w.sent = w.buf[:0], 0
	}
	return err
}

// Buffered returns how many bytes were taken and not sent yet.
func (w *Writer) Buffered() int { return len(w.buf) - w.sent }

func (w *Writer) room() int { return cap(w.buf) - len(w.buf) }

func (w *Writer) send(p []byte) (int, error) {
	n, err := WriteFull(w.dst, p)
	if err != nil && !passes(err) {
		w.err = err
	}
	return n, err
}

// take appends to the buffer what has room in it and returns how much that is.
func take[T []byte | string](w *Writer, p T) int {
	n := min(len(p), w.room())
	w.buf = append(w.buf, p[:n]...)
	return n
}
