//go:build !unix

package command

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
)

func supported() error {
	return fmt.Errorf("a program for each connection: %w on %s", errors.ErrUnsupported, runtime.GOOS)
}

func socketOf(net.Conn) (*os.File, error)    { return nil, supported() }
func awaitGone(net.Conn) bool                { return false }
func pair() (*os.File, *net.UnixConn, error) { return nil, nil, supported() }
func copyTo(net.Conn, net.Conn) error        { return supported() }
