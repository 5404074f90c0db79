//go:build !linux

package engine

import (
	"errors"
	"fmt"
	"runtime"
)

const controlRoom = 0

// sourceControl makes no control messages: the layouts of these systems differ from
// Linux's and are not written down here.
type sourceControl struct{}

func (*sourceControl) ask(messenger, bool) error {
	return fmt.Errorf("addresses of datagrams: %w on %s", errors.ErrUnsupported, runtime.GOOS)
}

func (*sourceControl) message(packetInfo) []byte { return nil }

func parseControl([]byte) packetInfo { return packetInfo{} }
