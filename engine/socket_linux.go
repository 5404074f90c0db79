package engine

import (
	"os"
	"time"

	"yodel/internal/loop"
)

// ShutSocket does what Next has asked for by Shut, for a connection whose socket is fd.
func (c *Core) ShutSocket(fd int, now time.Time) {
	if errno := loop.EndWrites(fd); errno != 0 {
		c.Failed(os.NewSyscallError("shutdown", errno), now)
		return
	}
	c.ShutDone(now)
}
