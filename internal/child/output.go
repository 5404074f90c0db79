package child

import (
	"fmt"
	"io"
	"os"
	"sync"

	"yodel/internal/escape"
	"yodel/rio"
)

// Output is the end of a pipe from which a program's output is read. Deadlines work.
type Output struct {
	*os.File

	done chan struct{} // closed when it has ended, or nobody wants the rest
	once sync.Once
}

// Read implements io.Reader.
func (o *Output) Read(b []byte) (int, error) {
	n, err := o.File.Read(b)
	if err == io.EOF {
		o.end()
	}
	return n, err
}

// WriteTo hides the one of os.File, which would read past Read.
func (o *Output) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{o})
}

// Close gives up what is left to read.
func (o *Output) Close() error {
	o.end()
	return o.File.Close()
}

func (o *Output) end() { o.once.Do(func() { close(o.done) }) }

// over returns the channel that is closed when the output has ended.
func (o *Output) over() <-chan struct{} {
	if o == nil {
		return closed()
	}
	return o.done
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// How much of what a program says on descriptor 2 is passed on.
const (
	ErrorLineMax = 1024 // bytes of a line, before escaping
	ErrorLines   = 100
)

// listen passes on what the program says on descriptor 2, which file is the other end of.
func (p *Process) listen(file *os.File) {
	p.errors = file
	if file == nil {
		close(p.heard)
		return
	}
	go func() {
		defer close(p.heard)
		passLines(file, p.cfg.Errors)
	}()
}

// passLines reads all of r and tells of its beginning.
func passLines(r io.Reader, tell func(line string)) {
	lines := rio.NewReader(r, ErrorLineMax, rio.SplitLong)
	for range ErrorLines {
		line, err := lines.ReadLine()
		if err != nil {
			return
		}
		tell(escape.String(string(rio.Trim(line))))
	}
	if n, _ := io.Copy(io.Discard, lines); n > 0 {
		tell(fmt.Sprintf("(%d more bytes left out)", n))
	}
}
