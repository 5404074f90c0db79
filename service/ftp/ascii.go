package ftp

import "io"

// toNetwork reads a text with CR LF at the ends of its lines, where the file has LF (TYPE
// A, RFC 959 §3.1.1.1). A line that ends in CR LF already stays as it is.
type toNetwork struct {
	src  io.Reader
	buf  []byte // half as long as what a Read can return
	last byte
	left []byte // converted, and not read yet
	out  []byte
}

func newToNetwork(src io.Reader) *toNetwork {
	return &toNetwork{src: src, buf: make([]byte, 32<<10), out: make([]byte, 0, 64<<10)}
}

// Read implements io.Reader.
func (t *toNetwork) Read(p []byte) (int, error) {
	if len(t.left) == 0 {
		n, err := t.src.Read(t.buf)
		if n == 0 {
			return 0, err
		}
		t.convert(t.buf[:n])
	}
	n := copy(p, t.left)
	t.left = t.left[n:]
	return n, nil
}

func (t *toNetwork) convert(in []byte) {
	out := t.out[:0]
	for _, c := range in {
		if c == '\n' && t.last != '\r' {
			out = append(out, '\r')
		}
		out = append(out, c)
		t.last = c
	}
	t.left = out
}

// fromNetwork writes a text with LF at the ends of its lines, where it came with CR LF.
// A CR elsewhere stays.
type fromNetwork struct {
	dst io.Writer
	cr  bool // the last byte was a CR, which is not written yet
	out []byte
}

// Write implements io.Writer.
func (f *fromNetwork) Write(p []byte) (int, error) {
	out := f.out[:0]
	for _, c := range p {
		if f.cr && c != '\n' {
			out = append(out, '\r')
		}
		if f.cr = c == '\r'; !f.cr {
			out = append(out, c)
		}
	}
	f.out = out
	if _, err := f.dst.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes what is left: a CR at the very end.
func (f *fromNetwork) Close() error {
	if !f.cr {
		return nil
	}
	f.cr = false
	_, err := f.dst.Write([]byte{'\r'})
	return err
}
