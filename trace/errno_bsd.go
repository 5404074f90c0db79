//go:build !linux && !windows

package trace

import "syscall"

// errnoNoNet is what a host says that has no network: these systems have one error for
// that.
const errnoNoNet = syscall.ENETDOWN
