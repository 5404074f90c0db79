package main

import (
	"context"
	"errors"
)

// openLive opens a capture of this host's own connections. Each packet that its Source
// yields has its interface, time, direction and owner.
func openLive(context.Context, *watchFlags) (*packetSource, func() error, error) {
	return nil, nil, usageError{errors.New("say what to read: --read FILE, or --read - for standard input")}
}
