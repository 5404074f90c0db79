//go:build unix

package engine

import "golang.org/x/sys/unix"

// descriptorLimit returns how many descriptors this process may have open, 0 if
// that is not known.
func descriptorLimit() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 0
	}
	return int(min(uint64(r.Cur), 1<<20))
}
