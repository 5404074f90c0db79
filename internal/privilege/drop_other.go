//go:build !unix

package privilege

import (
	"errors"
	"runtime"
)

func supported() *failure {
	return failed("have it started by an account with fewer rights: on Windows as a service under NT SERVICE\\NAME",
		"a running program cannot change its user on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func check(Credentials) *failure { return supported() }

func drop(Credentials) *failure { return supported() }
