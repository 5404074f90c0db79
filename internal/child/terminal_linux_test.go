package child

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// notices reads until the program has said a text, and returns how often it has changed
// the modes before that.
func notices(t *testing.T, tty *Terminal, text string) (changes int) {
	t.Helper()
	var said strings.Builder
	for buf := make([]byte, 100); !strings.HasSuffix(said.String(), text); {
		p, changed, err := tty.ReadNotice(buf)
		if err != nil {
			t.Fatalf("it says %q, %v; want %q", &said, err, text)
		}
		said.Write(p)
		if changed {
			changes++
		}
	}
	return changes
}

// A terminal that is external is still told what the program wants, and tells it.
func TestTerminalModes(t *testing.T) {
	t.Parallel()
	tty, p := onTerminal(t, `read -r x; stty -icanon -echo -isig -icrnl inlcr igncr intr ^X; echo changed; read -r x; stty -extproc; echo over; read -r x`)
	if err := errors.Join(tty.SetExternal(true), tty.Notify()); err != nil {
		t.Fatal(err)
	}
	first := Keys{Interrupt: 3, Quit: 28, Suspend: 26, EOF: 4, Erase: 127, Kill: 21, WordErase: 23, Reprint: 18, Literal: 22, Start: 17, Stop: 19}
	want := func(want Modes) {
		t.Helper()
		if got, err := tty.Modes(); got != want || err != nil {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	want(Modes{Lines: true, Echo: true, Signals: true, External: true, ReturnIsNewline: true, Keys: first})
	first.Erase = 8
	if err := tty.SetKeys(first); err != nil {
		t.Error(err)
	}
	if tty.Write([]byte("go\n")); notices(t, tty, "changed\r\n") == 0 {
		t.Error("a change is not told")
	}
	first.Interrupt = 24
	want(Modes{External: true, NewlineIsReturn: true, IgnoreReturn: true, Keys: first})
	tty.Write([]byte("go on\n"))
	if notices(t, tty, "over\r\n") == 0 {
		t.Error("that it is not external any more is not told")
	}
	tty.Write([]byte("\n\n"))
	if err := tty.SetExternal(true); err != nil {
		t.Error(err)
	}
	tty.Write([]byte("\n"))
	for {
		if _, _, err := tty.ReadNotice(make([]byte, 9)); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	p.over()
}

// What the program has not read is known at once.
func TestTerminalUnread(t *testing.T) {
	t.Parallel()
	tty, p := onTerminal(t, `echo ready; read -r x; echo "$x"; head -c 4 >/dev/null; echo read; read -r x`)
	if err := tty.SetExternal(true); err != nil {
		t.Fatal(err)
	}
	notices(t, tty, "ready\r\n") // without Notify there are none
	tty.Write([]byte("line\n"))
	notices(t, tty, "line\r\n")
	if n, err := tty.Unread(); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	tty.Write([]byte("rest and more"))
	notices(t, tty, "read\r\n")
	tick := time.NewTicker(time.Millisecond) // head may have read more, and the shell reads on
	defer tick.Stop()
	for n, err := tty.Unread(); n != 0 || err != nil; n, err = tty.Unread() {
		if err != nil {
			t.Fatal(err)
		}
		<-tick.C
	}
	tty.Write([]byte("\n"))
	p.over()
	tty.Close()
	if _, err := tty.Unread(); err == nil {
		t.Error("a terminal that was closed has something to read")
	}
	if _, err := tty.Modes(); err == nil {
		t.Error("it has modes")
	}
}
