//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package ftp

import "os"

// lock does nothing.
func lock(*os.Root, string) (*os.File, error) { return nil, nil }

// isLocked does not know.
func isLocked(*os.File) (held, known bool) { return false, false }
