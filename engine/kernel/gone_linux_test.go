package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"yodel/engine"
	"yodel/service/small"
	"yodel/yodeltest"
)

// asChild makes TestServeAsChild a server.
const asChild = "YODEL_KERNEL_CHILD"

// TestServeAsChild is run by others, in a process of its own.
func TestServeAsChild(t *testing.T) {
	if os.Getenv(asChild) == "" {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(small.Echo{}, nil, nil)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	var numbers string
	for _, id := range ids(t, e.programs.list[0].program) {
		numbers += fmt.Sprint(" ", id)
	}
	if os.Getenv(asChild) == "nobody" {
		if err := syscall.Setuid(65534); err != nil {
			t.Fatal(err)
		}
	}
	go e.Serve(l)
	fmt.Println("serves:", l.Addr(), numbers)
	io.Copy(io.Discard, os.Stdin) // until it is killed, or its parent has gone
	fmt.Println("relayed:", e.Relayed())
}

// ids returns the numbers of the program and of its maps.
func ids(t *testing.T, p *program) (list [6]uint32) {
	t.Helper()
	for i, prog := range []*ebpf.Program{p.prog, p.brake} {
		info, err := prog.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		list[i] = uint32(id)
	}
	for i, m := range []*ebpf.Map{p.sockets, p.places, p.slots, p.bell} {
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		list[i+2] = uint32(id)
	}
	return list
}

// awaitGone waits until there are no such program and maps any more: the kernel takes its
// time.
func awaitGone(t *testing.T, list [6]uint32) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for late := time.Now().Add(20 * time.Second); ; <-look.C {
		var left []string
		for _, id := range list[:2] {
			if p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id)); err == nil {
				left = append(left, p.String())
				p.Close()
			} else if !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		for _, id := range list[2:] {
			if m, err := ebpf.NewMapFromID(ebpf.MapID(id)); err == nil {
				left = append(left, m.String())
				m.Close()
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("what is left: %v", left)
		}
	}
}

// startChild starts this test as a server and returns the first line that it says.
func startChild(t *testing.T, how string, attr *syscall.SysProcAttr) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command("/proc/self/exe", "-test.run=^TestServeAsChild$")}
	c.cmd.Env = append(os.Environ(), asChild+"="+how)
	c.cmd.SysProcAttr = attr
	in, err1 := c.cmd.StdinPipe()
	out, err2 := c.cmd.StdoutPipe()
	if err := errors.Join(err1, err2, c.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	t.Cleanup(func() {
		in.Close()
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
	c.first = c.line()
	return c
}

type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.Closer
	out   *bufio.Reader
	first string // what it said first
}

func (c *child) line() string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("the child says %q, %v", line, err)
	}
	return strings.TrimSpace(line)
}

// dial connects to the child, and returns the numbers of its program and maps.
func (c *child) dial() (nc net.Conn, list [6]uint32) {
	c.t.Helper()
	var addr string
	if _, err := fmt.Sscanf(c.first, "serves: %s %d %d %d %d %d %d", &addr, &list[0], &list[1], &list[2], &list[3], &list[4], &list[5]); err != nil {
		c.t.Fatalf("%q: %v", c.first, err)
	}
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	return nc, list
}

func askHello(t *testing.T, nc net.Conn) {
	t.Helper()
	got := make([]byte, 5)
	io.WriteString(nc, "hello")
	if _, err := io.ReadFull(nc, got); string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
}

// Killed in the middle of a conversation, a server leaves neither program nor maps.
func TestNothingIsLeftAfterKill(t *testing.T) {
	yodeltest.NeedRoot(t)
	c := startChild(t, "itself", nil)
	nc, list := c.dial()
	askHello(t, nc)
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on without its server")
	}
	awaitGone(t, list)
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	yodeltest.NeedRoot(t)
	e, err := New(small.Echo{}, nil, &Options{Loops: 2, Sockets: 10})
	if err != nil {
		t.Fatal(err)
	}
	first, second := ids(t, e.programs.list[0].program), ids(t, e.programs.list[1].program)
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	awaitGone(t, first)
	awaitGone(t, second)
	if s := e.Stats(); s.BytesIn != 0 {
		t.Errorf("%+v", s)
	}
}

// Without the privileges, the error says which, and how to give them; with these three
// and no others it works.
func TestPrivileges(t *testing.T) {
	yodeltest.NeedRoot(t)
	const capNetAdmin, capPerfmon, capBPF = 12, 38, 39
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, tt := range []struct {
		caps []uintptr
		want string
	}{
		{nil, "error:"},
		{[]uintptr{capBPF, capPerfmon}, "error:"},
		{[]uintptr{capNetAdmin, capPerfmon}, "error:"},
		{[]uintptr{capBPF, capNetAdmin}, "error:"},
		{[]uintptr{capBPF, capNetAdmin, capPerfmon}, "serves:"},
	} {
		line := startChild(t, "itself", &syscall.SysProcAttr{Credential: nobody, AmbientCaps: tt.caps}).first
		if !strings.HasPrefix(line, tt.want) {
			t.Errorf("with capabilities %v: %s", tt.caps, line)
		}
		if tt.want != "error:" {
			continue
		}
		for _, word := range []string{"CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "setcap cap_bpf,cap_net_admin,cap_perfmon+ep /"} {
			if !strings.Contains(line, word) {
				t.Errorf("with capabilities %v the error does not say %q: %s", tt.caps, word, line)
			}
		}
	}
}

// A server that gives its privileges up when the engine is made relays as before.
func TestPrivilegesGivenUp(t *testing.T) {
	yodeltest.NeedRoot(t)
	c := startChild(t, "nobody", nil)
	nc, _ := c.dial()
	for range 100 {
		askHello(t, nc)
	}
	nc.Close()
	c.in.Close()
	if line := c.line(); line == "relayed: 0" || !strings.HasPrefix(line, "relayed: ") {
		t.Error(line)
	}
}

func TestProbe(t *testing.T) {
	yodeltest.NeedRoot(t)
	if err := Probe(); err != nil {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{syscall.EPERM, "setcap"},
		{syscall.EACCES, "CAP_BPF"},
		{syscall.ENOSYS, "Linux 6.4"},
		{syscall.ENOMEM, "cannot allocate memory"},
	} {
		if err := explain(fmt.Errorf("try: %w", tt.err)); !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v", err)
		}
	}
}

// Other services and other sockets are for other engines, and the error names those.
func TestUnfit(t *testing.T) {
	yodeltest.NeedRoot(t)
	for name, svc := range map[string]any{"upper": small.Upper{}, "no service": 7, "says that it does not": mute{}} {
		if _, err := New(svc, nil, nil); !errors.Is(err, engine.ErrUnfit) || !strings.Contains(err.Error(), "goroutine, process and iterative can") {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, err := New(small.Echo{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	unix, err := net.Listen("unix", "@yodel-kernel-test")
	if err != nil {
		t.Fatal(err)
	}
	memory, err := new(yodeltest.Net).Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	closed, _ := net.Listen("tcp", "127.0.0.1:0")
	for _, l := range []net.Listener{unix, memory} {
		if err := e.Serve(l); !errors.Is(err, engine.ErrUnfit) {
			t.Errorf("%T: %v", l, err)
		}
	}
	closed.Close()
	if err := e.Serve(closed); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener: %v", err)
	}
}

type mute struct{ small.Echo }

func (mute) Echoes() bool { return false }
