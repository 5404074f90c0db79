//go:build !linux

package child

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
)

// OpenTerminal makes a pseudo-terminal of 24 rows and 80 columns.
func OpenTerminal() (*Terminal, error) {
	return nil, fmt.Errorf("pseudo-terminals: %w on %s", errors.ErrUnsupported, runtime.GOOS)
}

// Resize tells the program how large the window is; it gets SIGWINCH if that is new.
func (t *Terminal) Resize(uint16, uint16) error { return errors.ErrUnsupported }

// Signal sends a signal to who is in the foreground, as a key of the terminal does.
func (t *Terminal) Signal(syscall.Signal) error { return errors.ErrUnsupported }

// Echo says whether the terminal shows what is typed.
func (t *Terminal) Echo(bool) error { return errors.ErrUnsupported }

const noticeOfModes = 0

// SetExternal says whether lines, echo and signals are left to who has the master end.
func (t *Terminal) SetExternal(bool) error { return errors.ErrUnsupported }

// SetKeys sets the special characters.
func (t *Terminal) SetKeys(Keys) error { return errors.ErrUnsupported }

// Modes returns what the program has made of the terminal.
func (t *Terminal) Modes() (Modes, error) { return Modes{}, errors.ErrUnsupported }

// Notify has ReadNotice tell of the modes.
func (t *Terminal) Notify() error { return errors.ErrUnsupported }

// Unread returns how many bytes the program has not read.
func (t *Terminal) Unread() (int, error) { return 0, errors.ErrUnsupported }
