package call

import (
	"errors"
	"fmt"
	"io"

	"yodel/rio"
)

// MaxTyped is the longest line in bytes, newline included, that NewLines takes from a
// reader.
const MaxTyped = 1 << 20

// Lines is where the lines of a dialogue come from. A *Terminal of package
// golang.org/x/term is one, and NewLines makes one from a reader.
type Lines interface {
	// ReadLine returns the next line without its newline. It returns io.EOF at the
	// end, and may return it together with a last line that has no newline.
	ReadLine() (string, error)
}

// NewLines returns the lines of r. A line of more than MaxTyped bytes is an error.
func NewLines(r io.Reader) Lines {
	return &lineReader{r, rio.NewReader(r, MaxTyped, rio.RefuseLong)}
}

type lineReader struct {
	src   io.Reader
	lines *rio.Reader
}

func (l *lineReader) ReadLine() (string, error) {
	line, err := l.lines.ReadLine()
	if errors.Is(err, rio.ErrTooLong) {
		return "", fmt.Errorf("a line has more than %d bytes; send it through a pipe", MaxTyped)
	}
	if err != nil {
		return "", err
	}
	if n := len(line) - 1; line[n] == '\n' {
		return string(line[:n]), nil
	}
	return string(line), io.EOF
}
