//go:build unix

package sock

import (
	"io/fs"
	"os"
	"syscall"
)

// hasModes says that the permissions of a socket's path mean something.
const hasModes = true

func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
