//go:build unix && !linux

package sock

import (
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

func narrowSocket(uintptr, *Options) error { return nil }

// umask guards the umask, which is the process's own and not this package's alone.
var umask sync.Mutex

// narrowed calls f under a umask that keeps all but mode back. Files that other
// goroutines make meanwhile may come out with fewer permissions, never with more.
func narrowed(mode fs.FileMode, f func()) {
	umask.Lock()
	defer umask.Unlock()
	defer unix.Umask(unix.Umask(int(0o777 &^ mode)))
	f()
}

func widen(path string, mode fs.FileMode) error {
	return os.NewSyscallError("fchmodat", unix.Fchmodat(unix.AT_FDCWD, path, uint32(mode), unix.AT_SYMLINK_NOFOLLOW))
}
