//go:build !unix

package process

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
)

func supported() error {
	return fmt.Errorf("a process for each connection on %s: %w; use the goroutine engine", runtime.GOOS, errors.ErrUnsupported)
}

func command() *exec.Cmd { return exec.Command(os.Args[0]) }

func controlPipe() (ours net.Conn, theirs *os.File, err error) { return nil, nil, supported() }

func (c *child) kill() { c.cmd.Process.Kill() }

func connOf(*os.File) (net.Conn, error) { return nil, supported() }

func keepFromChildren(...int) {}

var lacks []error
