package faults

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"yodel/yodeltest/programs"
)

// Where the kernel has no io_uring, or forbids it, --engine auto takes the next best, says
// why, and serves.
func TestAutoWithoutRings(t *testing.T) {
	t.Parallel()
	programs.NeedTracing(t)
	program(t)
	for _, errno := range []unix.Errno{unix.ENOSYS, unix.EPERM, unix.EMFILE} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			strace := []string{
				"strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", "signal=none", "-o", t.TempDir() + "/calls",
				"-e", "trace=io_uring_setup", "-e", "inject=io_uring_setup:error=" + unix.ErrnoName(errno),
			}
			s, err := start(t, launch{prefix: strace, engine: "auto", networks: both})
			if err == nil {
				err = s.awaitListening(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, network := range both {
				if _, err := s.visit(ctx, network); err != nil {
					t.Errorf("%s: %v", network, err)
				}
			}
			lines, _ := s.out.since(0)
			for _, line := range lines[:len(both)] {
				var l struct {
					Engine string
					Over   string `json:"passed_over"`
				}
				err := json.Unmarshal([]byte(line), &l)
				if err != nil || l.Engine != "epoll" || !strings.HasPrefix(l.Over, "uring: io_uring_setup: "+errno.Error()) {
					t.Errorf("it says %s", line)
				}
			}
			s.cmd.Process.Signal(unix.SIGTERM)
			if status, err := s.awaitEnd(ctx); status != 0 || err != nil {
				t.Errorf("status %d, %v", status, err)
			}
		})
	}
}
