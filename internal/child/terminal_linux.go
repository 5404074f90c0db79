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
	fd, err := openPeer(master)
	if err != nil {
		return nil, os.NewSyscallError("ioctl TIOCGPTPEER", err)
	}
	return os.NewFile(uintptr(fd), "pts"), nil
}

func openPeer(master int) (fd int, err error) {
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return int(peer), nil
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
	return t.change(func(mode *unix.Termios) { setFlag(&mode.Lflag, unix.ECHO, on) })
}

// SetExternal says whether lines, echo and signals are left to who has the master end. The
// program's own wishes stay as they are: Modes tells them.
func (t *Terminal) SetExternal(on bool) error {
	return t.change(func(mode *unix.Termios) { setFlag(&mode.Lflag, unix.EXTPROC, on) })
}

// SetKeys sets the special characters.
func (t *Terminal) SetKeys(keys Keys) error {
	return t.change(func(mode *unix.Termios) {
		for i, c := range keysOf(&keys) {
			mode.Cc[keyIndex[i]] = *c
		}
	})
}

// Modes returns what the program has made of the terminal.
func (t *Terminal) Modes() (m Modes, err error) {
	err = t.control("ioctl TCGETS", func(fd int) error {
		mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		local, in := func(bit uint32) bool { return mode.Lflag&bit != 0 }, func(bit uint32) bool { return mode.Iflag&bit != 0 }
		m.Lines, m.Echo, m.Signals, m.External = local(unix.ICANON), local(unix.ECHO), local(unix.ISIG), local(unix.EXTPROC)
		m.ReturnIsNewline, m.NewlineIsReturn, m.IgnoreReturn = in(unix.ICRNL), in(unix.INLCR), in(unix.IGNCR)
		for i, c := range keysOf(&m.Keys) {
			*c = mode.Cc[keyIndex[i]]
		}
		return nil
	})
	return m, err
}

// keyIndex says where in c_cc the characters of keysOf are.
var keyIndex = [...]int{
	unix.VINTR, unix.VQUIT, unix.VSUSP, unix.VEOF, unix.VERASE, unix.VKILL, unix.VWERASE, unix.VREPRINT,
	unix.VLNEXT, unix.VSTART, unix.VSTOP, unix.VEOL, unix.VEOL2,
}

func keysOf(k *Keys) [len(keyIndex)]*byte {
	return [...]*byte{
		&k.Interrupt, &k.Quit, &k.Suspend, &k.EOF, &k.Erase, &k.Kill, &k.WordErase, &k.Reprint,
		&k.Literal, &k.Start, &k.Stop, &k.End, &k.OtherEnd,
	}
}

func setFlag(flags *uint32, bit uint32, on bool) {
	*flags &^= bit
	if on {
		*flags |= bit
	}
}

func (t *Terminal) change(do func(*unix.Termios)) error {
	return t.control("ioctl TCSETS", func(fd int) error {
		mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		do(mode)
		return unix.IoctlSetTermios(fd, unix.TCSETS, mode)
	})
}

const noticeOfModes = unix.TIOCPKT_IOCTL

// Notify has ReadNotice tell of the modes. Read is not to be used any more.
func (t *Terminal) Notify() error {
	err := t.control("ioctl TIOCPKT", func(fd int) error { return unix.IoctlSetPointerInt(fd, unix.TIOCPKT, 1) })
	t.packets = err == nil
	return err
}

// Unread returns how many bytes the program has not read, of those that were written while
// the terminal was external.
func (t *Terminal) Unread() (n int, err error) {
	err = t.control("ioctl TIOCINQ", func(fd int) error {
		slave, err := openPeer(fd)
		if err != nil {
			return err
		}
		defer unix.Close(slave)
		// What was written comes to the other end in time of the kernel's own; poll waits for that.
		unix.Poll([]unix.PollFd{{Fd: int32(slave), Events: unix.POLLIN}}, 0)
		n, err = unix.IoctlGetInt(slave, unix.TIOCINQ)
		return err
	})
	return n, err
}
