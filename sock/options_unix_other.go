//go:build unix && !linux

package sock

import "golang.org/x/sys/unix"

const soReuseAddr = unix.SO_REUSEADDR
