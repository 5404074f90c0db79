package privilege

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"yodel/yodeltest"
)

// nobody is a user of every Linux system; which number it has is not the same on all.
func nobody(t *testing.T) Credentials {
	t.Helper()
	who, err := Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// childProgram builds this test's program without cgo. The one that runs the tests has
// cgo wherever there is a C compiler, and always under the race detector.
var childProgram = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "child")
	args := []string{"test", "-c", "-o", path}
	if mode := testing.CoverMode(); mode != "" {
		args = append(args, "-covermode="+mode)
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c: %w\n%s", err, text)
	}
	return path, nil
})

// A child is a process that carries out orders.
type child struct {
	t   *testing.T
	pid int
	in  *json.Encoder
	out *json.Decoder
}

// start runs a child without cgo.
func start(t *testing.T, attr *syscall.SysProcAttr) *child {
	t.Helper()
	yodeltest.NeedRoot(t)
	yodeltest.NeedProgram(t, "go")
	path, err := childProgram()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, path, attr)
}

func startProgram(t *testing.T, path string, attr *syscall.SysProcAttr) *child {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path)
	env, gather := forCoverage(t)
	cmd.Env = append(os.Environ(), append(env, childRole+"=server")...)
	cmd.SysProcAttr = attr
	cmd.Stderr = t.Output()
	in, out := yodeltest.Start(t, cmd)
	c := &child{t, cmd.Process.Pid, json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))}
	t.Cleanup(func() {
		in.Close() // it ends then
		if err := cmd.Wait(); err != nil {
			t.Errorf("the child ended with %v", err)
		}
		gather()
	})
	return c
}

// try gives an order that may fail.
func (c *child) try(name string, args ...string) report {
	c.t.Helper()
	var r report
	if err := errors.Join(c.in.Encode(order{name, args}), c.out.Decode(&r)); err != nil {
		c.t.Fatalf("the child was told to %s: %v", name, err)
	}
	return r
}

// do gives an order that must not fail.
func (c *child) do(name string, args ...string) report {
	c.t.Helper()
	r := c.try(name, args...)
	if r.Error != "" {
		c.t.Fatalf("the child was told to %s: %s", name, r.Error)
	}
	return r
}

// threads returns what each thread of the child has, as seen from here.
func (c *child) threads(atLeast int) map[string]map[string]string {
	c.t.Helper()
	threads, err := threadsOf(c.pid)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(threads) < atLeast {
		c.t.Fatalf("%d threads are seen, want at least %d", len(threads), atLeast)
	}
	return threads
}

const (
	none  = "0000000000000000"
	ports = "0000000000000400" // CAP_NET_BIND_SERVICE
)

// powerless is the status of a thread after the drop.
func powerless(who Credentials) map[string]string {
	return map[string]string{
		"Uid":        strings.Repeat(fmt.Sprintf("\t%d", who.UID), 4)[1:],
		"Gid":        strings.Repeat(fmt.Sprintf("\t%d", who.GID), 4)[1:],
		"CapInh":     none,
		"CapPrm":     none,
		"CapEff":     none,
		"CapBnd":     none,
		"CapAmb":     none,
		"NoNewPrivs": "1",
	}
}

func wantStatus(t *testing.T, whose string, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if strings.TrimSpace(got[name]) != value {
			t.Errorf("%s has %s %q, want %q", whose, name, got[name], value)
		}
	}
}

func (c *child) wantThreads(when string, atLeast int, want map[string]string) {
	c.t.Helper()
	for id, got := range c.threads(atLeast) {
		wantStatus(c.t, when+", thread "+id, got, want)
	}
}

// lowAddress is an address for this child alone, with a port that takes privilege.
func (c *child) lowAddress() string {
	return fmt.Sprintf("127.81.%d.%d:80", c.pid>>8&0xff, c.pid&0xff)
}

// greeting connects to the child's listener and returns what it says.
func greeting(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDrop(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before []string
		had    map[string]string // what each thread has before
	}{
		{"root as it comes", nil, map[string]string{"Uid": "0\t0\t0\t0", "NoNewPrivs": "0"}},
		{
			"capabilities made to stay",
			[]string{"cling"},
			map[string]string{"CapInh": ports, "CapAmb": ports, "CapPrm": "00000000000005c0"},
		},
		{"threads in system calls, threads that come and go", []string{"busy"}, map[string]string{"NoNewPrivs": "0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			who := nobody(t)
			c := start(t, nil)
			c.do("listen", c.lowAddress())
			for _, do := range tt.before {
				c.do(do)
			}
			c.do("check", "nobody")
			c.wantThreads("before", 2, tt.had)
			t.Logf("Drop took %v", c.do("drop", "nobody").Took)

			want := powerless(who)
			c.wantThreads("after", 2, want)
			c.do("threads")
			c.wantThreads("with threads made later", 10, want)
			if got, want := greeting(t, c.lowAddress()), fmt.Sprintf("hello from user %d\n", who.UID); got != want {
				t.Errorf("the listener says %q, want %q", got, want)
			}
			c.wantNoWayBack()
			c.wantUndumpable()

			text := c.do("run", "/proc/self/exe").Text
			wantStatus(t, "a program that it runs", fieldsOf(text), want)
			c.do("drop", "nobody") // there is nothing left to give up, and that is no error
		})
	}
}

// wantNoWayBack has the child try all it can to get something back.
func (c *child) wantNoWayBack() {
	c.t.Helper()
	const eperm, eacces, einval = "operation not permitted", "permission denied", "invalid argument"
	want := map[string]string{
		"setuid 0": eperm, "setresuid -1 0 0": eperm, "setgid 0": eperm, "setgroups 0": eperm,
		"capset": eperm, "capset inherited": eperm, "ambient": eperm, "securebits": eperm,
		"no_new_privs 0": einval,
		"/etc/shadow":    eacces, "write /etc": eacces, "/proc/1/environ": eacces,
		"kill 1": eperm, "chroot": eperm, "raw socket": eperm, "packet socket": eperm, "bind 81": eacces,
	}
	if !portsTakePrivilege() {
		delete(want, "bind 81")
	}
	got := c.do("try").Results
	for name, why := range want {
		if !strings.HasSuffix(got[name], why) {
			c.t.Errorf("%s: %q, want %q", name, got[name], why)
		}
	}
}

// portsTakePrivilege is not so in many containers.
func portsTakePrivilege() bool {
	text, _ := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	first, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return err != nil || first > 81
}

// wantUndumpable looks who owns the files of the process: root, if it is not dumpable
// (proc(5)).
func (c *child) wantUndumpable() {
	c.t.Helper()
	info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", c.pid))
	if err != nil {
		c.t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 {
		c.t.Errorf("its memory belongs to user %d, want root: others of that user could read it", owner)
	}
}

// A set-user-ID program is the old way from an ordinary user to root.
func TestSetUserIDProgramsGrantNothing(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	who := nobody(t)
	program := setUserID(t, yodeltest.NeedProgram(t, "id"))
	cmd := exec.Command(program, "-u")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: who.UID, Gid: who.GID}}
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if string(text) != "0\n" {
		yodeltest.Skip(t, "set-user-ID programs do nothing in "+scratch+" anyway", "set TMPDIR to a folder on a file system without nosuid")
	}
	c.do("drop", "nobody")
	if got, want := c.do("run", program, "-u").Text, fmt.Sprintln(who.UID); got != want {
		t.Errorf("after the drop a set-user-ID program of root runs as %q, want %q", got, want)
	}
}

// setUserID copies a program, with the set-user-ID bit.
func setUserID(t *testing.T, program string) string {
	t.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(scratch, filepath.Base(program))
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDropByWhoIsNotRoot(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t) // to start a child that is not
	who := nobody(t)
	c := start(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: who.UID, Gid: who.GID}})

	got := c.try("drop", "root:0").Error
	if want := "drop privileges to root:0: user 0 is root itself; name another user"; got != want {
		t.Errorf("to root: %q, want %q", got, want)
	}
	got = c.try("drop", "1:1").Error
	want := fmt.Sprintf("drop privileges to 1:1: user %d may not do that without CAP_SETUID, CAP_SETGID, CAP_SETPCAP; "+
		"start it as root, or name the user that it runs as: %d", who.UID, who.UID)
	if got != want {
		t.Errorf("to another user:\n%s\nwant\n%s", got, want)
	}
	before := map[string]string{"NoNewPrivs": "0"}
	c.wantThreads("after what failed", 2, before)

	c.do("drop", "nobody")
	after := powerless(who)
	delete(after, "CapBnd") // it takes CAP_SETPCAP
	c.wantThreads("after dropping to itself", 2, after)
	c.wantUndumpable()
}

func TestDropWithoutCapSetPCap(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	c.do("lose")
	got := c.try("drop", "nobody").Error
	const want = "drop privileges to nobody: user 0 may not do that without CAP_SETPCAP; let it have them: " +
		"CapabilityBoundingSet= in a systemd unit, --cap-add in a container"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	c.wantThreads("nothing is given up", 2, map[string]string{"Uid": "0\t0\t0\t0", "NoNewPrivs": "0"})
}

func TestDropInAUserNamespace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		setgroups bool // whether the namespace allows to call it
		want      string
	}{
		{"that does not know the user", true, "drop privileges to nobody: setgroups: invalid argument; the user namespace may not know that user or group"},
		{"that forbids setgroups", false, "drop privileges to nobody: setgroups: operation not permitted; a rule of this system forbids it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			needUserNamespaces(t)
			onlyRoot := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
			c := start(t, &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER,
				UidMappings: onlyRoot, GidMappings: onlyRoot,
				GidMappingsEnableSetgroups: tt.setgroups,
			})
			if got := c.try("drop", "nobody").Error; !strings.HasPrefix(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func needUserNamespaces(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
	if err != nil || strings.TrimSpace(string(text)) == "0" {
		yodeltest.Skip(t, "there are no user namespaces", "sysctl user.max_user_namespaces=10000")
	}
}

const (
	passwdFile = "root:x:0:0::/:/bin/sh\n" +
		"service:x:4242:4243::/:/bin/false\n" +
		"bad:x:4294967295:1::/:/bin/false\n" +
		"worse:x:1:4294967295::/:/bin/false\n" +
		"nobody:x:65534:65534::/:/bin/false\n"
	groupFile = "root:x:0:\n" +
		"service:x:4243:\n" +
		"tls:x:4250:service,nobody\n" +
		"tls-again:x:4250:service\n" +
		"log:x:4200:a,service\n" +
		"other:x:4300:root\n" +
		"bad:x:4294967295:\n"
)

// withFiles starts a child that has an /etc/passwd and /etc/group of its own.
func withFiles(t *testing.T) *child {
	t.Helper()
	c := start(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
	for name, text := range map[string]string{"/etc/passwd": passwdFile, "/etc/group": groupFile} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil { // root's: others cannot read it
			t.Fatal(err)
		}
		c.do("mount", path, name)
	}
	return c
}

func TestLookupInFiles(t *testing.T) {
	t.Parallel()
	c := withFiles(t)
	for _, tt := range []struct{ name, spec, want string }{
		{"a user with its groups", "service", "service, uid 4242, gid 4243, groups 4243 4250 4250 4200"},
		{"the same by its number", "4242", "4242, uid 4242, gid 4243, groups 4243 4250 4250 4200"},
		{"with leading zeros", "04242", "04242, uid 4242, gid 4243, groups 4243 4250 4250 4200"},
		{"one group instead", "service:other", "service:other, uid 4242, gid 4300, groups 4300"},
		{"a number and a name", "7:other", "7:other, uid 7, gid 4300, groups 4300"},
		{"a name and a number", "service:8", "service:8, uid 4242, gid 8, groups 8"},
		{"a user number that is none", "bad", "drop privileges to bad: 4294967295 is not the number of a user or group: they go from 0 to 4294967294"},
		{"a user number that is none, with a group", "bad:1", "drop privileges to bad:1: 4294967295 is not the number"},
		{"a group number that is none", "worse", "drop privileges to worse: 4294967295 is not the number"},
		{"a group that is none", "service:bad", "drop privileges to service:bad: 4294967295 is not the number"},
	} {
		r := c.try("lookup", tt.spec)
		if got := r.Text + r.Error; !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: Lookup(%q):\n%s\nwant\n%s", tt.name, tt.spec, got, tt.want)
		}
	}

	c.do("drop", "nobody")
	const want = "drop privileges to service: look it up: open /etc/passwd: permission denied"
	if got := c.try("lookup", "service").Error; got != want {
		t.Errorf("a file that it may not read: %q, want %q", got, want)
	}
}

func TestDropTakesTheGroupsOfTheUser(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{
		"service":       "4200 4243 4250 4250",
		"service:other": "4300",
		"4242:4243":     "4243",
	} {
		t.Run(spec, func(t *testing.T) {
			t.Parallel()
			c := withFiles(t)
			c.do("drop", spec)
			c.wantThreads("after", 2, map[string]string{"Uid": "4242\t4242\t4242\t4242", "Groups": want})
		})
	}
}

// Programs with cgo have threads that Go cannot reach: they keep all or lose all.
func TestDropInAProgramWithCgo(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	if reachable() == nil {
		yodeltest.Skip(t, "this test is about cgo and was built without it", "go test -race has it")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := startProgram(t, self, nil)
	r := c.try("drop", "nobody")
	const want = "drop privileges to nobody: this program was built with cgo, whose threads are out of reach: " +
		"unsupported operation; build it with CGO_ENABLED=0, or have it started as that user"
	if r.Error != want || !r.Unsupported {
		t.Errorf("got\n%s\nwant\n%s, as errors.ErrUnsupported", r.Error, want)
	}
	c.wantThreads("nothing is given up", 2, map[string]string{"Uid": "0\t0\t0\t0", "NoNewPrivs": "0"})
	if err := Check(nobody(t)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Check: %v, want the same", err)
	}
}
