package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// openTerminal returns a terminal, and the end at which a person would sit.
func openTerminal(t *testing.T) (tty, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return tty, person
}

// sit runs yodel call at a terminal in this process. What is on the terminal goes to
// out; type with say.
func sit(t *testing.T, args ...string) (p *started, status func() int) {
	t.Helper()
	tty, person := openTerminal(t)
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	p = &started{in: person, ended: make(chan struct{})}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := person.Read(buf)
			p.out.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	exit := 0
	go func() {
		defer close(p.ended)
		exit = run(within(t), append([]string{"call", "--no-history"}, args...), std{tty, tty, tty})
	}()
	return p, func() int {
		t.Helper()
		<-p.ended
		if after, err := term.GetState(int(tty.Fd())); err != nil || *after != *before {
			t.Errorf("the terminal is not as it was (%v)", err)
		}
		signal.Reset(syscall.SIGPIPE)
		return exit
	}
}

func TestInsideTerminal(t *testing.T) {
	s := serveInside(t, "upper@127.0.0.1:0")
	p, status := sit(t, s.address(0))
	p.await(t, &p.out, `Escape character is '\^\]'\.\r\n`)
	p.say(t, "hello\r")
	p.await(t, &p.out, `HELLO\r\n`)
	p.say(t, "\x1d")
	if got := status(); got != 0 {
		t.Errorf("^]: status %d", got)
	}

	p, status = sit(t, "--prompt", s.address(0))
	p.await(t, &p.out, `type:`)
	p.say(t, "hello\r")
	p.await(t, &p.out, `echo:HELLO\r\n(.*)type:`)
	p.say(t, "\x03")
	if got := status(); got != 130 {
		t.Errorf("^C: status %d", got)
	}

	p, status = sit(t, "--hex", s.address(0))
	p.await(t, &p.out, `Escape character`)
	p.say(t, "hi\r")
	p.await(t, &p.out, `< 00000000  48 49 0a .*\r\n`) // what is shown goes through the editor too
	p.say(t, "\x04")
	if got := status(); got != 0 {
		t.Errorf("^D: status %d", got)
	}
}
