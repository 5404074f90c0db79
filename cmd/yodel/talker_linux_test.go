package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

// A talker is a user's process, which connects from given ports.
type talker struct {
	*started
	in  *json.Encoder
	say string
}

func startTalker(t testing.TB, h *netns.Host, uid, say string) *talker {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(publicFolder(t), "talker")
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	p := startOn(t, h, []string{talkerVar + "=1"}, yodeltest.NeedProgram(t, "setpriv"), "--reuid="+uid, "--regid="+uid, "--clear-groups", path)
	return &talker{p, json.NewEncoder(p.in), say}
}

// An errand is one connection of a talker's.
type errand struct{ Local, Remote, Say string }

// talk makes one connection, and waits for its end.
func (k *talker) talk(t testing.TB, local string, remote netip.AddrPort, n int) {
	t.Helper()
	if err := k.in.Encode(errand{local, remote.String(), fmt.Sprintf("%s-%d;", k.say, n)}); err != nil {
		t.Fatal(err)
	}
	if said := k.await(t, &k.out, fmt.Sprintf(`(?m)^%d (.*)\n`, n))[1]; said != "done" {
		t.Fatalf("%s: %s", k.say, said)
	}
}

// playTalker is the process itself.
func playTalker() int {
	in := json.NewDecoder(os.Stdin)
	for n := 0; ; n++ {
		var e errand
		if in.Decode(&e) != nil {
			return 0
		}
		result := "done"
		if err := e.run(); err != nil {
			result = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Printf("%d %s\n", n, result)
	}
}

// run says something from a port that someone else may have used just now, hears it
// again, and resets the connection, so that the port is free at once.
func (e *errand) run() error {
	local, err := net.ResolveTCPAddr("tcp", e.Local)
	if err != nil {
		return err
	}
	d := net.Dialer{LocalAddr: local, Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	}}
	d.SetMultipathTCP(false)
	var c net.Conn
	for end := time.Now().Add(patience); ; {
		c, err = d.Dial("tcp", e.Remote)
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, e.Say); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, make([]byte, len(e.Say))); err != nil {
		return err
	}
	return c.(*net.TCPConn).SetLinger(0)
}
