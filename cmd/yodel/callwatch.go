package main

import (
	"context"
	"errors"
	"fmt"

	"yodel/watch"
	"yodel/watch/capture"
)

// startWatch begins to show the packets of the call, if that is asked for, and returns
// what ends it: when the connection is over, or a second later. Without the right to do
// so the dialogue goes on, and it is said what is missing.
func (c *calling) startWatch() (end func() error, err error) {
	end = func() error { return nil }
	if !c.watch {
		return end, nil
	}
	if c.to.Network == "unix" {
		return nil, usagef("--watch: a unix socket has no packets; --time shows what is said, and when")
	}
	source, err := ownCapture(c.std)
	if errors.Is(err, capture.ErrPrivilege) || errors.Is(err, errors.ErrUnsupported) {
		fmt.Fprintf(c.status, "yodel: --watch: the packets are not captured: %v\n", err)
		return end, nil
	}
	if err != nil {
		return nil, err
	}
	tail := newTail(source)
	source.tick = tail.tick
	kept := keepPackets(c.noRecord)
	views := watch.Views(&watch.Diagram{W: c.status}, kept.view(), tail)
	done := make(chan error, 1)
	go func() {
		_, err := watch.Watch(context.Background(), source, &watch.Config{View: views, Filter: watch.Filter{Ports: []uint16{c.to.Port}}})
		done <- err
	}()
	return func() error {
		tail.end()
		err := <-done
		kept.close()
		return errors.Join(err, source.close())
	}, nil
}
