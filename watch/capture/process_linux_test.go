package capture

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseParent(t *testing.T) {
	t.Parallel()
	for stat, want := range map[string]int{
		"12 (sh) S 7 12 12 0":           7,
		"12 (a) R (b) S 9) S 7 12 12 0": 7,
		"12 (sh)":                       0,
		"12 (sh) S x":                   0,
		"":                              0,
	} {
		if got := parseParent(stat); got != want {
			t.Errorf("the parent in %q is %d, want %d", stat, got, want)
		}
	}
}

func TestParseSocketLink(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]uint32{
		"socket:[123]": 123, "socket:[4294967295]": 1<<32 - 1,
		"socket:[4294967296]": 0, "socket:[12": 0, "pipe:[12]": 0, "socket:[]": 0, "/etc/socket:[1]": 0,
	} {
		if got, ok := parseSocketLink(target); ok != (want != 0) || ok && got != want {
			t.Errorf("%q is %d, %v", target, got, ok)
		}
	}
}

// A tree has what a process has started, also when that is gone, and nothing else.
func TestTree(t *testing.T) {
	t.Parallel()
	if newTree(nil) != nil {
		t.Error("a tree of nothing")
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	own := newTree([]int{os.Getpid()})
	fresh := newTree([]int{os.Getpid()})
	fresh.members = nil
	if !own.members[cmd.Process.Pid] {
		t.Error("a child that was there is not noted")
	}
	if fresh.members = map[int]bool{os.Getpid(): true}; !fresh.has(cmd.Process.Pid) {
		t.Error("a child is not found by its parent")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if !own.has(cmd.Process.Pid) || !fresh.has(cmd.Process.Pid) {
		t.Error("a child is forgotten when it has ended")
	}
	if own.has(os.Getppid()) || own.has(1) || own.has(0) {
		t.Error("a parent, or nobody, is of the tree")
	}
	l, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if own.sockets() == nil || own.root(cmd.Process.Pid) {
		t.Error("sockets, roots")
	}
}

func TestWholeMap(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"         0          0 4294967295\n": true,
		"0 1000 1\n":                         false,
		"0 0 1\n1 1 4294967294\n":            false,
		"":                                   false,
	} {
		if wholeMap(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	after := func(p *pace) time.Duration { return p.due().Sub(p.last) }
	p := pace{last: start, soon: len(pollSoon)}
	p.looked(start, time.Millisecond)
	if after(&p) != 200*time.Millisecond {
		t.Errorf("one two-hundredth of a core: %v", after(&p))
	}
	if p.looked(start, time.Microsecond); after(&p) != pollLeast {
		t.Errorf("at least %v", after(&p))
	}
	if p.looked(start, time.Second); after(&p) != pollMost {
		t.Errorf("at most %v", after(&p))
	}
	p.told = true
	p.looked(start, time.Microsecond)
	for i, want := range append(pollSoon, pollMost, pollMost) {
		if i == 0 {
			p.news()
		}
		if after(&p) != want {
			t.Errorf("%d looks after news: %v, want %v", i, after(&p), want)
		}
		p.looked(start, time.Microsecond)
	}
	p.looked(start, time.Millisecond)
	if p.news(); after(&p) != 20*time.Millisecond {
		t.Errorf("a twentieth of a core: %v", after(&p))
	}
}

func TestWhereSocketsWait(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort
	for _, test := range []struct {
		e    socketEntry
		want int
	}{
		{socketEntry{Proto: unix.IPPROTO_TCP, Local: at("192.0.2.1:7")}, 1},
		{socketEntry{Proto: unix.IPPROTO_TCP, Local: at("[::]:7")}, 2},
		{socketEntry{Proto: unix.IPPROTO_TCP, Local: at("[::]:7"), V6Only: true}, 1},
		{socketEntry{Proto: unix.IPPROTO_UDP, Local: at("192.0.2.1:7"), Remote: at("192.0.2.2:7")}, 0},
		{socketEntry{Proto: unix.IPPROTO_UDP, Local: at("0.0.0.0:0")}, 0},
	} {
		if got := portsOf(&test.e); len(got) != test.want {
			t.Errorf("%+v waits at %+v", test.e, got)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	got := []string{
		Best.String(), ByKernel.String(), ByPort.String(), Everyone.String(), Both.String(), In.String(), Out.String(),
		NotAsked.String(), Kernel.String(), Socket.String(),
	}
	if s := strings.Join(got, " "); s != "best kernel port everyone both in out not asked kernel socket" {
		t.Error(s)
	}
	err := &PrivilegeError{Doing: "try", Missing: []string{"CAP_NET_RAW"}, Program: "/bin/y\x1b"}
	if s := err.Error(); !errors.Is(err, ErrPrivilege) || strings.Contains(s, "\x1b") || !strings.HasPrefix(s, "watch: try: not permitted needs") {
		t.Error(s)
	}
	err.Program, err.Err = "", unix.EPERM
	if s := err.Error(); !errors.Is(err, unix.EPERM) || !errors.Is(err, ErrPrivilege) || !strings.HasSuffix(s, " FILE") {
		t.Error(s)
	}
}
