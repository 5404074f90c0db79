package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"yodel/internal/privilege"
	"yodel/watch/capture"
)

// ownCapture begins to capture the packets of all connections that this process, or one
// that it starts, makes from now on: so it is called before the first one. Then the
// process gives up what it may do beyond that (see lessen).
//
// The source is a watch.Source for one goroutine. Its stop ends the capture in order: what
// has come by then can still be read, up to io.EOF. Its close ends it at once, and must be
// called. The error says what is missing, and what to do.
func ownCapture(s std) (*liveSource, error) {
	user, err := invoker()
	if err != nil {
		return nil, err
	}
	c, err := openOwn(user)
	if err != nil {
		return nil, err
	}
	if err := lessen(s, user, false); err != nil {
		c.Close()
		return nil, err
	}
	return newLiveSource(c), nil
}

// keptCapture is ownCapture for who needs the privileges afterwards, too: it stays who it is,
// under sudo root, and so are the connections that it captures.
func keptCapture(std) (*liveSource, error) {
	c, err := openOwn(privilege.Credentials{})
	if err != nil {
		return nil, err
	}
	return newLiveSource(c), nil
}

func openOwn(user privilege.Credentials) (*capture.Capture, error) {
	return capture.Open(&capture.Config{UID: user.UID, Processes: []int{os.Getpid()}})
}

// invoker returns who has called sudo, or the zero value, which is who runs this program.
// Only root is asked: for others the environment may say what it likes.
func invoker() (privilege.Credentials, error) {
	uid := os.Getenv("SUDO_UID")
	if os.Getuid() != 0 || uid == "" || uid == "0" {
		return privilege.Credentials{}, nil
	}
	if n, err := strconv.ParseUint(uid, 10, 32); err != nil || n == 0 || strconv.FormatUint(n, 10) != uid {
		return privilege.Credentials{}, usagef("SUDO_UID=%q is no user: unset it, or let sudo set it", uid)
	}
	user, err := privilege.Lookup(uid)
	if err != nil {
		return user, fmt.Errorf("SUDO_UID: %w", err)
	}
	return user, nil
}

// lessen gives up what opening a capture has needed: under sudo this process becomes
// again, for good, who has called sudo; otherwise it gives up its capabilities. If look is
// set and it stays root, it may still see which sockets root's processes have open.
func lessen(s std, user privilege.Credentials, look bool) error {
	var err error
	switch {
	case user.UID != 0:
		err = privilege.Drop(user)
	case look && os.Getuid() == 0:
		err = capture.DropCapabilities(capture.Trace)
	default:
		err = capture.DropCapabilities()
	}
	if errors.Is(err, errors.ErrUnsupported) { // built with cgo
		fmt.Fprintf(s.err, "yodel: what only root may do is not given up: %v\n", err)
		return nil
	}
	return err
}
