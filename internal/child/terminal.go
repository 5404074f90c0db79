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

	slave   *os.File
	packets bool // what is read begins with a byte of the kernel's: Notify
}

// Modes are what a program has made of its terminal: termios(3).
type Modes struct {
	Lines    bool // the terminal edits lines: ICANON
	Echo     bool // what is typed is shown: ECHO
	Signals  bool // keys are signals: ISIG
	External bool // all that is done by who has the master end: EXTPROC

	ReturnIsNewline bool // ICRNL: the key Return ends a line
	NewlineIsReturn bool // INLCR
	IgnoreReturn    bool // IGNCR

	Keys Keys
}

// Keys are the special characters of a terminal; 0: there is none.
type Keys struct {
	Interrupt, Quit, Suspend, EOF, Erase, Kill, WordErase, Reprint, Literal, Start, Stop, End, OtherEnd byte
}

// ReadNotice reads as Read does into b, which must hold more than one byte, and returns what
// of it the program has written. After Notify, changed reports that the program has
// changed the modes, since SetExternal; then there may be no data.
func (t *Terminal) ReadNotice(b []byte) (data []byte, changed bool, err error) {
	n, err := t.Read(b)
	switch {
	case !t.packets || n == 0:
		return b[:n], false, err
	case b[0] == 0: // TIOCPKT_DATA
		return b[1:n], false, err
	}
	return nil, b[0]&noticeOfModes != 0, err
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
