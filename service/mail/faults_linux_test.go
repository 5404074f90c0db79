package mail

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"yodel/engine"
	"yodel/service/mail/spool"
	"yodel/yodeltest"
	"yodel/yodeltest/programs"
)

// A fault makes system calls of the server fail, by strace, while one message comes.
type fault struct {
	format spool.Format
	inject []string // as strace takes it
	path   string   // of the only file whose calls fail, below the spool; empty: any
	to     []string // the message's recipients
	want   string   // its reply
}

func (f fault) name() string {
	return strings.NewReplacer(":", " ", "error=", "", "/", "_").Replace(fmt.Sprint(f.format, " ", strings.Join(f.inject, " "), " ", f.path, " ", len(f.to)))
}

// faults are the calls by which messages are stored, each with errors that Linux knows
// for it. EINTR is for the first call of each thread: one after the other for ever is no
// interruption.
func faults() (all []fault) {
	one, two := []string{"alice"}, []string{"alice", "newcomer"}
	answers := map[string]string{"ENOSPC": "452 4.3.1", "EDQUOT": "452 4.3.1", "EIO": "451 4.3.0", "EINTR:when=1": "250 2.0.0"}
	add := func(format spool.Format, call, path string, to []string, errnos ...string) {
		for _, errno := range errnos {
			want := answers[errno]
			if format == spool.Mbox && path != "" {
				want = "250 2.0.0" // what is in the journal is durable, and the mailbox is tried again
			}
			all = append(all, fault{format, []string{call + ":error=" + errno}, path, to, want})
		}
	}
	md, mb := spool.Maildir, spool.Mbox
	add(md, "pwrite64", "", one, "ENOSPC", "EDQUOT", "EIO", "EINTR:when=1")
	add(md, "fsync", "", one, "ENOSPC", "EIO", "EINTR:when=1")
	add(md, "fsync", "alice/new", two, "ENOSPC", "EIO")
	add(md, "renameat", "", two, "ENOSPC", "EIO", "EINTR:when=1")
	add(md, "linkat", "", two, "ENOSPC", "EIO", "EINTR:when=1")
	add(md, "mkdirat", "", two, "ENOSPC", "EIO", "EINTR:when=1")
	add(mb, "pwrite64", "", one, "ENOSPC", "EDQUOT", "EIO", "EINTR:when=1")
	add(mb, "fdatasync", "", two, "ENOSPC", "EIO", "EINTR:when=1")
	add(mb, "pwrite64", "alice", two, "ENOSPC", "EIO", "EINTR:when=1")
	add(mb, "fsync", "alice", two, "ENOSPC", "EIO", "EINTR:when=1")
	add(mb, "openat", "alice", one, "EIO", "EMFILE")
	add(mb, "linkat", "alice.lock", one, "ENOSPC", "EIO")
	// What was written can't be cut off again either.
	return append(all,
		fault{mb, []string{"pwrite64:error=EIO", "ftruncate:error=EIO"}, "", one, "451 4.3.0"},
		fault{mb, []string{"fsync:error=EIO", "ftruncate:error=EIO"}, "alice", one, "250 2.0.0"},
	)
}

// D4: what can't be stored is answered with 451 or 452, nothing half is left of it, and
// what comes when the fault has passed is stored.
func TestFaults(t *testing.T) {
	programs.NeedTracing(t)
	for i, f := range faults() {
		if testing.Short() && i%5 != 0 {
			continue
		}
		t.Run(f.name(), func(t *testing.T) {
			t.Parallel()
			for range 3 {
				if f.play(t) {
					return
				}
			}
			t.Error("nothing has failed, in three runs")
		})
	}
}

// play reports whether the call was made, and has failed.
func (f fault) play(t *testing.T) bool {
	dir := fastDir(t)
	c := startChild(t, childConfig{dir, f.format})
	s := &served{t: t, addr: c.addr, Server: &Server{cfg: Config{Dir: dir}}}
	caller := s.call()
	caller.say("HELO x", "220", "250")
	send := func(text string, to []string, want string) {
		t.Helper()
		caller.say("MAIL FROM:<s@example.net>", "250")
		for _, box := range to {
			caller.say("RCPT TO:<"+box+"@example.org>", "250")
		}
		caller.say("DATA", "354")
		caller.say(text+"\r\n.", want)
	}
	send("before", []string{"alice"}, "250 2.0.0")
	tr := programs.Trace(t, f.calls(dir), c.cmd.Process.Pid)
	send("under the fault", f.to, f.want)
	tr.Detach()
	send("after", f.to, "250 2.0.0")
	caller.say("QUIT", "221")
	c.end()
	for _, box := range f.to {
		want := []string{"after\n"}
		if strings.HasPrefix(f.want, "250") {
			want = append(want, "under the fault\n")
		}
		if box == "alice" {
			want = append(want, "before\n")
		}
		got := mailbox(t, s.Server, box)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("mailbox %s has %q, want %q", box, got, want)
		}
	}
	for _, folder := range []string{"tmp", "journal"} {
		if left, err := os.ReadDir(filepath.Join(dir, ".yodel", folder)); len(left) > 0 || err != nil {
			t.Errorf("in %s is left %v, %v", folder, left, err)
		}
	}
	return tr.Failed() > 0
}

func (f fault) calls(dir string) programs.Calls {
	calls := programs.Calls{Fail: f.inject}
	if f.path != "" {
		calls.Paths = []string{filepath.Join(dir, f.path), f.path}
	}
	return calls
}

// A disk that is really full, in the middle of messages.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	for _, f := range []spool.Format{spool.Mbox, spool.Maildir} {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
			yodeltest.Skip(t, fmt.Sprintf("mount: %v", err), "run it as a root that may mount")
		}
		t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
		server := newServer(t, func(c *Config) { c.Dir, c.Format = dir, f })
		s := serve(t, server, engine.Config{})
		c := s.call()
		c.say(hello+"MAIL FROM:<>", "220", "250", "452 4.3.1")
		server.policy.hasRoom = func() bool { return true }
		text := strings.Repeat(strings.Repeat("x", 998)+"\r\n", 60)
		taken := 0
		for range 100 {
			c.say(strings.TrimSuffix(envelope, "\r\n"), "250", "250", "354")
			c.send(text + ".\r\n")
			if got := c.reply(); strings.HasPrefix(got, "452 4.3.1") {
				break
			} else if !strings.HasPrefix(got, "250") {
				t.Fatalf("%s: %s", f, got)
			}
			taken++
		}
		if taken == 0 || taken == 100 {
			t.Errorf("%s: %d messages were taken", f, taken)
		}
		s.engine.Close()
		// What was promised is there, or comes when there is room.
		syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=8m")
		again, err := spool.Open(&spool.Config{Dir: dir, Log: server.cfg.Log})
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
		got := mailbox(t, server, "alice")
		if len(got) != taken || slices.ContainsFunc(got, func(m string) bool { return m != strings.ReplaceAll(text, "\r", "") }) {
			t.Errorf("%s: %d messages were promised, %d are there", f, taken, len(got))
		}
	}
}
