package jury

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"yodel/watch/capture"
)

// capture captures on one host until stop is called, which waits until the last packets
// are there: a busy machine lets captures lag behind. It is tcpdump that captures, or we.
func (h *hosts) capture(ctx context.Context, ns, file string, own bool) (stop func(last []byte) tape, err error) {
	if own {
		return h.ours(ns)
	}
	return h.tcpdump(ctx, ns, file)
}

func (h *hosts) tcpdump(ctx context.Context, ns, file string) (stop func(last []byte) tape, err error) {
	cmd := h.command(ctx, ns, "tcpdump", "-i", "eth0", "-n", "-U", "--immediate-mode", "-B", "16384", "-s", "200", "-Z", "root", "-w", file)
	said := heard{want: "listening on", done: make(chan struct{})}
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	select {
	case <-said.done:
	case <-time.After(20 * time.Second):
		return nil, fmt.Errorf("tcpdump does not start")
	}
	return func(last []byte) tape {
		h.captured(file, last)
		cmd.Process.Signal(unix.SIGINT)
		cmd.Wait()
		text, _ := os.ReadFile(file)
		os.Remove(file)
		t, err := readTape(text)
		if err != nil {
			h.t.Errorf("%s: %v", file, err)
		}
		return t
	}, nil
}

// ours captures as yodel watch does: the packets of connections of this user.
func (h *hosts) ours(ns string) (stop func(last []byte) tape, err error) {
	var c *capture.Capture
	err = inside(ns, func() (err error) {
		c, err = capture.Open(&capture.Config{Interface: "eth0", Snap: 200, Ring: 4 << 20})
		return err
	})
	if err != nil {
		return nil, err
	}
	whole := make(chan tape)
	go func() { whole <- taped(c) }()
	return func([]byte) tape {
		nap(20 * time.Millisecond) // what has been sent has come: both are on this machine
		c.Stop()
		t := <-whole
		if s := c.Stats(); s.Dropped > 0 {
			h.t.Errorf("our capture has dropped %d packets", s.Dropped)
		}
		c.Close()
		return t
	}, nil
}

func taped(c *capture.Capture) tape {
	var t tape
	for {
		packets, err := c.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return nil
			}
			return t
		}
		for _, p := range packets {
			t = append(t, shot{time.Unix(0, p.Time), p.Length, slices.Clone(p.Data[:min(len(p.Data), 200)]), byte(p.Direction)})
		}
	}
}

// captured waits until a capture has the last packets.
func (h *hosts) captured(file string, last []byte) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-tick.C {
		if text, _ := os.ReadFile(file); strings.Contains(string(text), string(last)) {
			return
		}
	}
	h.t.Logf("%s: the last packet is not in it", file)
}
