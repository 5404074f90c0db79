//go:build !linux

package capture

import (
	"errors"
	"fmt"
	"runtime"
)

// A Capture is open. There is none on this system.
type Capture struct{}

var errElsewhere = fmt.Errorf("watch: live capture is for Linux, %w on %s: capture with tcpdump -w FILE or Wireshark, and read that file: yodel watch --read FILE",
	errors.ErrUnsupported, runtime.GOOS)

// Open returns an error that is [errors.ErrUnsupported].
func Open(*Config) (*Capture, error) { return nil, errElsewhere }

// Info returns the zero value.
func (*Capture) Info() Info { return Info{} }

// Next returns an error that is [errors.ErrUnsupported].
func (*Capture) Next() ([]Packet, error) { return nil, errElsewhere }

// Stats returns the zero value.
func (*Capture) Stats() Stats { return Stats{} }

// Stop does nothing.
func (*Capture) Stop() error { return nil }

// Close does nothing.
func (*Capture) Close() error { return nil }

// Trace is a capability of Linux.
const Trace Capability = 0

// DropCapabilities does nothing: there are none.
func DropCapabilities(...Capability) error { return nil }

// NewTable returns an error that is [errors.ErrUnsupported].
func NewTable(*Config) (*Table, error) {
	return nil, fmt.Errorf("watch: the list of connections is for Linux, %w on %s: netstat -an shows what this system tells",
		errors.ErrUnsupported, runtime.GOOS)
}

// A Table lists connections. There is none on this system.
type Table struct{}

// Refresh returns an error that is [errors.ErrUnsupported].
func (*Table) Refresh() (Connections, error) { return Connections{}, errElsewhere }

// Close does nothing.
func (*Table) Close() error { return nil }
