package sock

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// narrowSocket gives the socket the mode that bind(2) will give its path.
func narrowSocket(fd uintptr, opts *Options) error {
	return os.NewSyscallError("fchmod", unix.Fchmod(int(fd), uint32(opts.unixMode())))
}

// narrowed calls f: narrowSocket has done what is to do.
func narrowed(_ fs.FileMode, f func()) { f() }

// widen sets the mode of a socket's path and follows no symbolic link: another user
// may have put one there where the folder lets them.
func widen(path string, mode fs.FileMode) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return taken("somebody else has just put something there: try again")
	}
	return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode) // fchmod(2) refuses O_PATH
}
