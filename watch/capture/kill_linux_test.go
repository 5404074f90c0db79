package capture

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

// An opening is what a process of its own found when it opened a capture.
type opening struct {
	Error      string
	Privilege  bool // ErrPrivilege
	Missing    []string
	Info       Info
	Maps       []uint32
	Dropped    string // the error of DropCapabilities, "-" for none
	CapPrm     string
	AfterDrop  string // what opening another one says then
	FromPacket string // with its own echo on loopback, afterwards
}

// playCapture opens a capture with the Config that comes in, tells about it, and waits
// until it is told to go on.
func playCapture() int {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var cfg Config
	if in.Decode(&cfg) != nil {
		return 2
	}
	var o opening
	c, err := Open(&cfg)
	if err != nil {
		o.Error, o.Privilege = err.Error(), errors.Is(err, ErrPrivilege)
		if e, ok := errors.AsType[*PrivilegeError](err); ok {
			o.Missing = e.Missing
		}
		out.Encode(o)
		return 0
	}
	defer c.Close()
	o.Info = c.Info()
	if c.programs != nil {
		for _, m := range []*ebpf.Map{c.programs.flows, c.programs.ports} {
			if info, err := m.Info(); err == nil {
				id, _ := info.ID()
				o.Maps = append(o.Maps, uint32(id))
			}
		}
	}
	out.Encode(o)
	var word string
	if in.Decode(&word) != nil {
		return 0
	}
	o.Dropped = "-"
	if err := DropCapabilities(); err != nil {
		o.Dropped = err.Error()
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if set, ok := strings.CutPrefix(line, "CapPrm:"); ok {
			o.CapPrm = strings.TrimSpace(set)
		}
	}
	if again, err := Open(&cfg); err != nil {
		o.AfterDrop = err.Error()
	} else {
		again.Close()
	}
	o.FromPacket = talkAndWatch(c)
	out.Encode(o)
	return 0
}

// talkAndWatch says something to itself and looks for it in the capture.
func talkAndWatch(c *Capture) string {
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err.Error()
	}
	defer p.Close()
	p.WriteTo([]byte("to myself"), p.LocalAddr())
	for {
		packets, err := c.Next()
		if err != nil {
			return err.Error()
		}
		for _, p := range packets {
			if s := seen(&p); s.key.Proto == unix.IPPROTO_UDP {
				return string(p.Data[42:])
			}
		}
	}
}

// A watcher is such a process.
type watcher struct {
	cmd *exec.Cmd
	in  *json.Encoder
	out *json.Decoder
}

// pureProgram builds this test without cgo: DropCapabilities works only there, and the
// race detector needs cgo.
var pureProgram = sync.OnceValues(func() (string, error) {
	var err error
	if scratch, err = os.MkdirTemp("", "yodel-capture-test-"); err != nil {
		return "", err
	}
	if err := os.Chmod(scratch, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(scratch, "watcher")
	cmd := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(text)))
	}
	return path, nil
})

func startWatcher(t *testing.T, h *netns.Host, attr *syscall.SysProcAttr, cfg *Config) (*watcher, opening) {
	t.Helper()
	yodeltest.NeedProgram(t, "go")
	program, err := pureProgram()
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{cmd: exec.Command(program)}
	w.cmd.Env = append(os.Environ(), playVar+"=capture")
	w.cmd.Stderr, w.cmd.Dir, w.cmd.SysProcAttr = os.Stderr, "/", attr
	in, err1 := w.cmd.StdinPipe()
	out, err2 := w.cmd.StdoutPipe()
	if err := errors.Join(err1, err2, h.Inside(w.cmd.Start)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		io.Copy(io.Discard, out)
		w.cmd.Wait()
	})
	w.in, w.out = json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))
	if err := w.in.Encode(cfg); err != nil {
		t.Fatal(err)
	}
	return w, w.hear(t)
}

func (w *watcher) hear(t *testing.T) (o opening) {
	t.Helper()
	if err := w.out.Decode(&o); err != nil {
		t.Fatal(err)
	}
	return o
}

func asUser(uid uint32, capabilities ...uintptr) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, AmbientCaps: capabilities}
}

// What a user may do depends on the capabilities: none, some, or all three. Nothing else
// is needed, and after opening none at all.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	a, _ := netns.Two(t)
	const setcap = "setcap cap_net_raw,cap_net_admin,cap_bpf=ep /"
	tests := []struct {
		name  string
		caps  []uintptr
		cfg   Config
		check func(o opening) bool
	}{
		{"none", nil, Config{}, func(o opening) bool {
			return o.Privilege && strings.Contains(o.Error, "CAP_NET_RAW") && strings.Contains(o.Error, setcap) && len(o.Missing) == 1
		}},
		{"raw", []uintptr{unix.CAP_NET_RAW}, Config{Ports: []uint16{7}}, func(o opening) bool {
			return o.Error == "" && o.Info.Method == ByPort && o.Info.Reason != ""
		}},
		{"raw, but no second best", []uintptr{unix.CAP_NET_RAW}, Config{Method: ByKernel}, func(o opening) bool {
			return o.Privilege && strings.Contains(o.Error, "CAP_BPF") && strings.Contains(o.Error, setcap)
		}},
		{"all three", []uintptr{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN, unix.CAP_BPF}, Config{}, func(o opening) bool {
			return o.Error == "" && o.Info.Method == ByKernel && o.Info.UID == firstUser && o.Info.Exact && o.Info.Reason == ""
		}},
		{"all users", []uintptr{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN, unix.CAP_BPF}, Config{AllUsers: true}, func(o opening) bool {
			return o.Privilege && strings.Contains(o.Error, "only root")
		}},
		{"another user", []uintptr{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN, unix.CAP_BPF}, Config{UID: 1}, func(o opening) bool {
			return o.Privilege && strings.Contains(o.Error, "only root")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, o := startWatcher(t, a, asUser(firstUser, test.caps...), &test.cfg)
			if !test.check(o) {
				t.Fatalf("%+v", o)
			}
			if o.Info.Method != ByKernel {
				return
			}
			w.in.Encode("go on")
			after := w.hear(t)
			if after.Dropped != "-" || strings.Trim(after.CapPrm, "0") != "" || !strings.Contains(after.AfterDrop, "CAP_NET_RAW") || after.FromPacket != "to myself" {
				t.Errorf("%+v", after)
			}
		})
	}
}

// Root of a user namespace of its own has no BPF, and the users that it knows are told
// apart all the same. One that stands for all whom it does not know is refused.
func TestUserNamespace(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	a, _ := netns.Two(t)
	space := func(inside int) *syscall.SysProcAttr {
		ids := []syscall.SysProcIDMap{{ContainerID: inside, HostID: firstUser, Size: 1}}
		return &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, UidMappings: ids, GidMappings: ids,
			Credential:  &syscall.Credential{Uid: uint32(inside), Gid: uint32(inside), NoSetGroups: true},
			AmbientCaps: []uintptr{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN},
		}
	}
	if _, o := startWatcher(t, a, space(0), &Config{Ports: []uint16{7}}); o.Error != "" || o.Info.Method != ByPort || o.Info.Reason == "" {
		t.Errorf("%+v", o)
	}
	if _, o := startWatcher(t, a, space(0), &Config{Method: ByKernel}); !o.Privilege || !strings.Contains(o.Error, "CAP_BPF") {
		t.Errorf("%+v", o)
	}
	if _, o := startWatcher(t, a, space(overflow), &Config{}); !strings.Contains(o.Error, "stands for every user") {
		t.Errorf("%+v", o)
	}
}

// Whatever ends the process, nothing of it stays in the kernel.
func TestKilled(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	a, _ := netns.Two(t)
	w, o := startWatcher(t, a, asUser(firstUser, unix.CAP_NET_RAW, unix.CAP_NET_ADMIN, unix.CAP_BPF), &Config{})
	if len(o.Maps) != 2 {
		t.Fatalf("%+v", o)
	}
	if n := attached(t, a); n != 2 { // lo and eth0
		t.Fatalf("%d programs while it runs", n)
	}
	w.cmd.Process.Kill()
	w.cmd.Wait()
	tick := time.NewTicker(5 * time.Millisecond) // the kernel frees them after a grace period
	defer tick.Stop()
	for end := time.Now().Add(patience); attached(t, a) != 0 || mapsLeft(o.Maps) != 0; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%d programs and %d maps are left", attached(t, a), mapsLeft(o.Maps))
		}
	}
}

func attached(t *testing.T, h *netns.Host) (n int) {
	t.Helper()
	err := h.Inside(func() error {
		for _, index := range []int{1, 2} {
			r, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXEgress})
			if err != nil {
				return err
			}
			n += len(r.Programs)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mapsLeft(ids []uint32) (n int) {
	for _, id := range ids {
		if m, err := ebpf.NewMapFromID(ebpf.MapID(id)); err == nil {
			m.Close()
			n++
		}
	}
	return n
}
