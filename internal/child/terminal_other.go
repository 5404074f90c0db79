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
