package child

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// A Terminal is a pseudo-terminal: pty(7). A program sits at its slave end; who reads and
// writes the Terminal is the person there. Deadlines work, and Close ends a Read.
type Terminal struct {
	*os.File // the master end

	slave *os.File
}

// Read implements io.Reader. It is io.EOF when the last program has closed its end.
func (t *Terminal) Read(b []byte) (int, error) {
	n, err := t.File.Read(b)
	if errors.Is(err, syscall.EIO) {
		err = io.EOF
	}
	return n, err
}

// WriteTo hides the one of os.File, which would read past Read.
func (t *Terminal) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{t})
}

// Close closes both ends. The kernel sends SIGHUP to who sits there.
func (t *Terminal) Close() error {
	t.closeSlave()
	return t.File.Close()
}

func (t *Terminal) closeSlave() { t.slave.Close() }
