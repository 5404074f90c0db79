package ftp

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/yodeltest"
	"yodel/yodeltest/programs"
)

// asServer is the environment variable that makes this test's program a server of the
// folder it names.
const asServer = "YODEL_FTP_TEST_SERVE"

func TestMain(m *testing.M) {
	if root := os.Getenv(asServer); root != "" {
		os.Exit(serveAlone(root))
	}
	goleak.VerifyTestMain(m)
}

// serveAlone serves a folder to anybody, who may write, and prints its address. It ends
// with its standard input.
func serveAlone(root string) int {
	signal.Ignore(syscall.SIGPIPE)
	srv, err := New(&Config{Root: root, Anonymous: true, AllowWrite: true, Sync: os.Getenv(asServer+"_SYNC") != "", Log: quiet})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	eng, err := goroutine.New(srv, &engine.Config{Service: "ftp", Idle: -1})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(l.Addr())
	go eng.Serve(l)
	io.Copy(io.Discard, os.Stdin)
	eng.Close()
	return 0
}

// alone starts this test's program as a server; wrap, if any, is a program that starts
// it. The server ends with the test at the latest.
func alone(t testing.TB, root string, env []string, wrap ...string) (*rig, *exec.Cmd) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(wrap, self)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(append(os.Environ(), asServer+"="+root), env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	cmd.WaitDelay = patience // a program that was started by another may outlive it
	in, out := yodeltest.Start(t, cmd)
	t.Cleanup(func() {
		in.Close() // the server ends with it
		late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		cmd.Wait()
		late.Stop()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server does not start: %v: %q %s", err, addr, &errs)
	}
	return &rig{t: t, addr: strings.TrimSpace(addr), root: root}, cmd
}

var kills = flag.Int("kills", 6, "how often TestKill kills a server")

// A server that is killed at any moment leaves the old file or the new one, whole, and
// what it leaves besides is gone soon after the next one begins.
func TestKill(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	old, new := strings.Repeat("old", 1<<20), strings.Repeat("NEW", 1<<20)
	half := 0
	times := *kills
	for i := range times {
		if err := os.WriteFile(filepath.Join(root, "file"), []byte(old), 0o644); err != nil {
			t.Fatal(err)
		}
		r, cmd := alone(t, root, nil)
		c := r.login()
		c.do("TYPE I", "200")
		appends := rand.IntN(2) == 0
		verb, want := "STOR", new
		if appends {
			verb, want = "APPE", old+new
		}
		nc := c.data()
		c.do(verb+" file", "150")
		sent := len(new) / 2
		if i > 0 {
			sent = rand.IntN(len(new) + len(new)/2) // often all of it
		}
		go func() {
			io.WriteString(nc, new[:min(sent, len(new))])
			if sent >= len(new) {
				nc.Close()
				c.nc.SetReadDeadline(time.Now().Add(time.Duration(rand.IntN(3)) * time.Millisecond))
				c.in.ReadString('\n')
			}
			cmd.Process.Kill()
		}()
		cmd.Wait()
		got, err := os.ReadFile(filepath.Join(root, "file"))
		switch {
		case err != nil:
			t.Fatal(err)
		case string(got) != old && string(got) != want:
			t.Fatalf("behind %s of %d bytes there are %d bytes, neither the old file nor the new one", verb, sent, len(got))
		case sent < len(new) && string(got) != old:
			t.Fatalf("%d of %d bytes were sent, and taken for all", sent, len(new))
		case string(got) == old:
			half++
		}
	}
	t.Logf("%d of %d were killed before the file was there", half, times)
	temps, err := filepath.Glob(filepath.Join(root, TempPrefix+"*"))
	if err != nil || len(temps) == 0 {
		t.Fatalf("nothing was left behind, so this shows nothing: %v", err)
	}
	ago := time.Now().Add(-2 * sweepAfter)
	for _, name := range temps {
		os.Chtimes(name, ago, ago)
	}
	r := serve(t, Config{Root: root, AllowWrite: true})
	r.login().put("STOR other", "x")
	r.wantNames("what was left behind is gone", ".", "file", "other")
}

// What somebody is still receiving is no orphan, however long nothing has come.
func TestOrphansOfTheLiving(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	c := r.login()
	nc := c.data()
	c.do("STOR slow", "150")
	ago := time.Now().Add(-sweepBlind - time.Hour)
	temps, _ := filepath.Glob(r.path(TempPrefix + "*"))
	if len(temps) != 1 {
		t.Fatalf("there are %v", temps)
	}
	os.Chtimes(temps[0], ago, ago)
	r.write(TempPrefix+"old", "")
	os.Chtimes(r.path(TempPrefix+"old"), ago, ago)
	r.write(TempPrefix+"young", "")
	os.Mkdir(r.path(TempPrefix+"folder"), 0o755)
	os.Chtimes(r.path(TempPrefix+"folder"), ago, ago)

	other := serve(t, Config{Root: r.root, AllowWrite: true})
	other.login().put("STOR quick", "x")
	if _, err := os.Stat(r.path(TempPrefix + "old")); !os.IsNotExist(err) {
		t.Errorf("the old one is still there: %v", err)
	}
	for _, name := range []string{"young", "folder"} {
		if _, err := os.Stat(r.path(TempPrefix + name)); err != nil {
			t.Error(err)
		}
	}
	io.WriteString(nc, "done")
	nc.Close()
	c.want("behind STOR", "226")
	r.wantFile("stored", "slow", "done")
}

// A folder is swept once, and only so many are remembered.
func TestOrphansAreRemembered(t *testing.T) {
	t.Parallel()
	var o orphans
	var first os.FileInfo
	dir := t.TempDir()
	for i := range maxSwept + 10 {
		name := filepath.Join(dir, fmt.Sprint(i))
		os.Mkdir(name, 0o700)
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = fi
		}
		if !o.isNew(fi) || o.isNew(fi) {
			t.Fatal("a folder is swept never, or twice")
		}
	}
	if len(o.seen) != maxSwept || !o.isNew(first) {
		t.Errorf("%d are remembered", len(o.seen))
	}
}

// C3: only regular files are opened. A FIFO does not make anybody wait.
func TestOnlyRegularFiles(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	if err := unix.Mkfifo(r.path("fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", r.path("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	names := []string{"fifo", "socket"}
	if unix.Mknod(r.path("device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) == nil { // root only
		names = append(names, "device")
	}
	c := r.login()
	c.do("TYPE I", "200")
	for _, name := range names {
		for _, verb := range []string{"RETR", "SIZE", "STOR", "APPE"} {
			c.do(verb+" "+name, "550 That is not a regular file.")
		}
		c.do("MFMT 20200102030405 "+name, "550")
	}
	if got := c.get("LIST"); !strings.Contains(got, "prw-r--r-- ") || !strings.Contains(got, "\r\ns") {
		t.Errorf("LIST: %q", got)
	}
	c.do("DELE fifo", "250")
}

// A full disk is told as such, and nothing half is left on it.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=2m"); err != nil {
		yodeltest.Skip(t, fmt.Sprintf("no tmpfs can be mounted: %v", err), "run it where that is allowed")
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	for _, sync := range []bool{false, true} {
		r := serve(t, Config{Root: root, AllowWrite: true, Sync: sync})
		r.write("file", "old")
		c := r.login()
		c.do("TYPE I", "200")
		for _, verb := range []string{"STOR", "APPE"} {
			nc := c.data()
			c.do(verb+" file", "150")
			io.WriteString(nc, pattern(4<<20))
			nc.Close()
			c.want("full", "452 The disk is full.")
			r.wantFile("the old file is there", "file", "old")
			r.wantNames("and nothing else", ".", "file")
		}
		c.do("TYPE A", "200")
		nc := c.data()
		c.do("STOR text", "150")
		io.WriteString(nc, pattern(4<<20))
		nc.Close()
		c.want("full", "452")
		c.do("TYPE I", "200")
		c.put("STOR small", "it still works")
		c.do("DELE small", "250")
	}
}

// A failing disk is told as such, and a call that was interrupted is made again: of the
// calls that write a file, make it durable and give it its name, each fails once.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	programs.NeedTracing(t)
	for _, c := range []struct{ inject, want string }{
		{"write:error=EIO", "451 The disk has failed."},
		{"write:error=ENOSPC", "452 The disk is full."},
		{"write:error=EDQUOT", "552"},
		{"write:error=EINTR:when=1", "226"},
		{"fsync:error=EIO", "451"},
		{"fsync:error=ENOSPC", "452"},
		{"fsync:error=EINTR:when=1", "226"},
		{"renameat:error=EIO", "451"},
		{"renameat:error=ENOSPC", "452"},
		{"renameat:error=EINTR:when=1", "226"},
	} {
		t.Run(c.inject, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			os.WriteFile(filepath.Join(root, "file"), []byte("old"), 0o644)
			r, cmd := alone(t, root, []string{asServer + "_SYNC=1"})
			c1 := r.login()
			c1.do("TYPE I", "200")
			nc := c1.data()
			c1.do("STOR file", "150")
			temps, _ := filepath.Glob(r.path(TempPrefix + "*"))
			if len(temps) != 1 {
				t.Fatalf("there are %v", temps)
			}
			calls := programs.Calls{Fail: []string{c.inject}}
			if strings.HasPrefix(c.inject, "write:") {
				calls.Paths = temps
			}
			tr := programs.Trace(t, calls, cmd.Process.Pid)
			io.WriteString(nc, "new")
			nc.Close()
			c1.want(c.inject, c.want)
			if tr.Detach(); tr.Failed() == 0 {
				t.Error("nothing has failed")
			}
			content := "old"
			if c.want == "226" {
				content = "new"
			}
			r.wantFile("the old file is there, or the new one", "file", content)
			r.wantNames("and nothing else", ".", "file")
		})
	}
}

// TELNET's Synch is urgent data: the last byte of what is sent so must not get lost, nor
// be taken for a part of a command.
func TestUrgentABOR(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	c := r.login()
	nc := c.data()
	c.do("STOR file", "150")
	io.WriteString(nc, "half")
	raw, err := c.nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if err := unix.Sendto(int(fd), []byte{iac, 244, iac}, unix.MSG_OOB, nil); err != nil {
			t.Error(err)
		}
	})
	c.raw("\xf2ABOR\r\n")
	c.want("the transfer", "426 Aborted.")
	c.want("the ABOR", "226")
	r.wantNames("nothing half is left", ".")
}

// Many sessions, transfers and failures leave no descriptor behind.
func TestNoDescriptorIsLeft(t *testing.T) {
	r := serve(t, Config{AllowWrite: true})
	r.write("file", "hello")
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	visit := func() {
		c := r.login()
		c.put("STOR new", "x")
		c.get("RETR file")
		c.get("LIST")
		c.passive()
		c.do("RETR none", "550")
		c.do("STOR /", "550")
		c.do("STOR file/x", "550")
		c.do("STAT *", "213")
		nc := c.data()
		c.do("STOR cut", "150")
		nc.SetLinger(0)
		nc.Close()
		c.want("reset", "426")
		c.do("QUIT", "221")
		c.wantEnd("behind QUIT")
	}
	visit()
	before := count()
	for range 50 {
		visit()
	}
	if err := r.eng.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after 50 visits", before, after)
	}
}
