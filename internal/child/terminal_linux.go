package child

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenTerminal makes a pseudo-terminal of 24 rows and 80 columns.
func OpenTerminal() (*Terminal, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	t := &Terminal{File: os.NewFile(uintptr(fd), "/dev/ptmx")}
	if t.slave, err = openSlave(fd); err != nil {
		t.File.Close()
		return nil, err
	}
	if err := t.Resize(24, 80); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// openSlave opens the other end by its master, so that no path has to be there for it.
func openSlave(master int) (*os.File, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, os.NewSyscallError("ioctl TIOCSPTLCK", err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, os.NewSyscallError("ioctl TIOCGPTPEER", errno)
	}
	return os.NewFile(fd, "pts"), nil
}

// Resize tells the program how large the window is; it gets SIGWINCH if that is new.
func (t *Terminal) Resize(rows, cols uint16) error {
	return t.control("ioctl TIOCSWINSZ", func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

// Signal sends a signal to who is in the foreground, as a key of the terminal does.
func (t *Terminal) Signal(sig syscall.Signal) error {
	return t.control("ioctl TIOCSIG", func(fd int) error {
		return unix.IoctlSetInt(fd, unix.TIOCSIG, int(sig))
	})
}

func (t *Terminal) control(name string, do func(fd int) error) error {
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return os.NewSyscallError(name, failed)
}

// Echo says whether the terminal shows what is typed.
func (t *Terminal) Echo(on bool) error {
	return t.control("ioctl TCSETS", func(fd int) error {
		mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		mode.Lflag &^= unix.ECHO
		if on {
			mode.Lflag |= unix.ECHO
		}
		return unix.IoctlSetTermios(fd, unix.TCSETS, mode)
	})
}
