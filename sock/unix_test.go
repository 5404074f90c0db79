//go:build unix

package sock

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"yodel/trace"
	"yodel/yodeltest"
)

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

// Not parallel: the umask is the process's.
func TestUnixModeWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o777} {
		for _, tt := range []struct{ asked, want fs.FileMode }{{0, 0o600}, {0o660, 0o660}, {0o666, 0o666}} {
			a := mustParse(t, "tmp:s")
			var atBind fs.FileMode // as soon as bind has returned
			sink := trace.Func(func(e *trace.Event) {
				if e.Op == trace.Bind {
					atBind = modeOf(t, a.Path)
				}
			})
			old := syscall.Umask(umask)
			l, err := Listen(t.Context(), a, &Options{UnixMode: tt.asked, Sink: sink})
			syscall.Umask(old)
			if err != nil {
				t.Fatal(err)
			}
			if got := modeOf(t, a.Path); got != fs.ModeSocket|tt.want {
				t.Errorf("umask %o, UnixMode %o: the path has %v", umask, tt.asked, got)
			}
			if wider := atBind.Perm() &^ tt.want; wider != 0 {
				t.Errorf("umask %o, UnixMode %o: the path had %v at first", umask, tt.asked, atBind)
			}
			l.Close()
		}
	}
}

func TestClosedUnixPathIsGone(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "tmp:s", nil)
	l.Close()
	if _, err := os.Lstat(l.Address().Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

func TestCloseLeavesWhatOthersPutThere(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "tmp:s", nil)
	path := l.Address().Path
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	successor := listenOn(t, "unix:"+path, nil) // it may not get the same inode number
	echo(t, successor)
	l.Close()
	say(t, dial(t, successor.Address(), nil), "hello there\n")

	l = listenOn(t, "tmp:s", nil)
	path = l.Address().Path
	os.Remove(path)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if got, err := os.ReadFile(path); err != nil || string(got) != "precious" {
		t.Errorf("a file in the socket's place: %q, %v", got, err)
	}
}

// deadSocket leaves what a server that was killed leaves.
func deadSocket(t *testing.T, network, path string) {
	t.Helper()
	if network == "unixgram" {
		c, err := net.ListenUnixgram(network, &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() }) // a live one: what is dead refuses, whatever its type
		return
	}
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestDeadSocketIsReplaced(t *testing.T) {
	t.Parallel()
	a := mustParse(t, "tmp:s")
	deadSocket(t, "unix", a.Path)
	l, err := Listen(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	say(t, dial(t, a, nil), "hello there\n")
}

func TestWhatIsThereIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what string
		make func(t *testing.T, path string)
		want string
	}{
		{"a file", func(t *testing.T, path string) { writeFile(t, path) }, "not a socket"},
		{"a folder", func(t *testing.T, path string) { os.Mkdir(path, 0o700) }, "not a socket"},
		{"a pipe", func(t *testing.T, path string) { syscall.Mkfifo(path, 0o600) }, "not a socket"},
		{"a link to a dead socket", func(t *testing.T, path string) {
			deadSocket(t, "unix", path+".dead")
			os.Symlink(path+".dead", path)
		}, "not a socket"},
		{"a link to nothing", func(t *testing.T, path string) { os.Symlink(path+".none", path) }, "not a socket"},
		{"a live server", func(t *testing.T, path string) { listenOn(t, "unix:"+path, nil) }, "another program listens there"},
		{"a live server of datagrams", func(t *testing.T, path string) { deadSocket(t, "unixgram", path) }, "cannot be told"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			a := mustParse(t, "tmp:s")
			tt.make(t, a.Path)
			before, err := os.Lstat(a.Path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Listen(t.Context(), a, nil)
			if !isA[*ListenError](err) || !errors.Is(err, errnoInUse) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %q", err, tt.want)
			}
			if after, err := os.Lstat(a.Path); err != nil || !sameFile(before, after) {
				t.Errorf("it was %v, now it is %v, %v", before, after, err)
			}
		})
	}
}

func writeFile(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLiveServerDoesNotMindBeingAsked(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "tmp:s", nil)
	echo(t, l)
	for range 3 {
		if _, err := Listen(t.Context(), l.Address(), nil); err == nil {
			t.Fatal("bound twice")
		}
		say(t, dial(t, l.Address(), nil), "hello there\n")
	}
}

func TestDeadSocketOfAnotherUser(t *testing.T) {
	yodeltest.NeedRoot(t)
	t.Parallel()
	a := mustParse(t, "tmp:s")
	deadSocket(t, "unix", a.Path)
	if err := os.Chown(a.Path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), a, nil); !errors.Is(err, errnoInUse) || !strings.Contains(err.Error(), "another user's socket") {
		t.Errorf("another user's dead socket: %v", err)
	}
}

// Two programs find the same dead socket, and the other one was faster.
func TestReplacedWhileWeLooked(t *testing.T) {
	t.Parallel()
	path := mustParse(t, "tmp:s").Path
	deadSocket(t, "unix", path)
	before, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := removeIfSame(path, before); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("it is gone: %v", err)
	}
	deadSocket(t, "unix", path) // perhaps with the same inode number, but later
	if err := removeIfSame(path, before); err == nil {
		t.Error("what the other one put there was removed")
	}
}

func TestUnixFolderErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	writeFile(t, file)
	_, err := Listen(t.Context(), Address{Network: "unix", Path: filepath.Join(file, "s")}, nil)
	if !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), "lstat: not a directory") {
		t.Errorf("a file for a folder: %v", err)
	}
	const folder = "the folder of the path is not writable"
	for _, tt := range []struct {
		path string
		err  error
		want string
	}{
		{"/root/s", &fs.PathError{Op: "lstat", Path: dir, Err: errnoAccess}, folder},
		{"/root/s", &fs.PathError{Op: "remove", Path: dir, Err: errnoAccess}, folder},
		{"/root/s", os.NewSyscallError("bind", errnoAccess), folder},
		{"/root/s", os.NewSyscallError("socket", errnoPerm), forbidden},
		{"/root/s", os.NewSyscallError("fchmod", errnoPerm), forbidden},
		{"/root/s", os.NewSyscallError("listen", errnoPerm), forbidden},
		{"/root/s", &fs.PathError{Op: "chmod", Path: "/proc/self/fd/7", Err: errnoPerm}, forbidden},
		{"@name", os.NewSyscallError("bind", errnoAccess), forbidden},
		{"/root/s", os.NewSyscallError("bind", syscall.ENOSPC), ""},
	} {
		if got := unixAdvice(tt.path, tt.err); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: advice for %v: %q, want %q", tt.path, tt.err, got, tt.want)
		}
	}
}

func TestLongUnixPath(t *testing.T) {
	t.Parallel()
	for _, call := range []func(Address) error{
		func(a Address) error { _, err := Listen(t.Context(), a, nil); return err },
		func(a Address) error { _, err := Dial(t.Context(), a, nil); return err },
	} {
		err := call(Address{Network: "unix", Path: strings.Repeat("x", maxUnixPath+1)})
		if err == nil || !strings.Contains(err.Error(), "is too long; the system takes") {
			t.Errorf("a path too long by one byte: %v", err)
		}
	}
}

func TestClaimOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	if _, err := claimPath(filepath.Join(t.TempDir(), "s"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that has gone already: %v", err)
	}
}

func TestListenUnixWithAContextThatHasEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := mustParse(t, "tmp:s")
	deadSocket(t, "unix", a.Path)
	if _, err := Listen(ctx, a, nil); err == nil {
		t.Error("a dead socket was found to be dead without asking")
	}
}
