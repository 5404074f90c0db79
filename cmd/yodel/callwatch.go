package main

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	var kept *keptPackets
	stop, err := watchOwn(c.std, c.status, watch.Filter{Ports: []uint16{c.to.Port}}, func() watch.View {
		kept = keepPackets(c.noRecord)
		return watch.Views(&watch.Diagram{W: c.status}, kept.view())
	})
	return func() error {
		defer kept.close()
		return stop()
	}, err
}

// watchOwn begins to show what of this process's packets fits filter on what view
// returns, and returns what ends it: when the connections are over, or a second later. Without
// the right to do so it is said on status what is missing, and view is not called.
func watchOwn(s std, status io.Writer, filter watch.Filter, view func() watch.View) (end func() error, err error) {
	end = func() error { return nil }
	source, err := ownCapture(s)
	if errors.Is(err, capture.ErrPrivilege) || errors.Is(err, errors.ErrUnsupported) {
		fmt.Fprintf(status, "yodel: --watch: the packets are not captured: %v\n", err)
		return end, nil
	}
	if err != nil {
		return end, err
	}
	tail := newTail(source)
	views := watch.Views(view(), tail)
	source.tick = tail.tick
	done := make(chan error, 1)
	go func() {
		_, err := watch.Watch(context.Background(), source, &watch.Config{View: views, Filter: filter})
		done <- err
	}()
	return func() error {
		tail.end()
		return errors.Join(<-done, source.close())
	}, nil
}
