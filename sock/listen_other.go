//go:build !linux

package sock

import (
	"runtime"
	"strconv"
)

// backlogInForce returns the backlog that was asked for; the system's own bound is
// not known.
func backlogInForce(asked int) int { return max(asked, 0) }

// whoListens returns the command that shows who holds the port of a.
func whoListens(a Address) string {
	if runtime.GOOS == "windows" {
		return "netstat -ano"
	}
	return "lsof -nP -i :" + strconv.Itoa(int(a.Port))
}
