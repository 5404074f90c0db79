//go:build unix

package web

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/yodeltest"
)

// A pipe, a device and a socket are not there: opening one might wait for ever. E3.
func TestWhatIsNoFile(t *testing.T) {
	t.Parallel()
	root := folder(t, nil)
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(root, "s"))
	if err != nil {
		yodeltest.Skip(t, err.Error(), "run it with a TMPDIR whose path is short: that of a socket has about 100 bytes at the most")
	}
	defer l.Close()
	s := newSite(t, &Config{Root: root})
	for _, path := range []string{"/pipe", "/s", "/pipe/", "/pipe/x"} {
		s.want("it is no file", path, 404, "")
	}
	if list := s.get("/").body; strings.Contains(list, "pipe") {
		t.Errorf("it is listed:\n%s", list)
	}
}

func TestDevices(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	root := folder(t, nil)
	name := filepath.Join(root, "zero")
	if err := syscall.Mknod(name, syscall.S_IFCHR|0o666, 1<<8|5); err != nil {
		yodeltest.Skip(t, err.Error(), "run it as a root that may make devices (CAP_MKNOD)")
	}
	newSite(t, &Config{Root: root}).want("a device", "/zero", 404, "")
}

// A file that may not be read is not there either, and the log says why.
func TestFileThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	root := folder(t, map[string]string{"dir/x": "x"})
	if err := os.Chmod(filepath.Join(root, "dir"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Join(root, "dir"), 0o755)
	if os.Geteuid() == 0 {
		return // to root nothing is forbidden
	}
	s := newSite(t, &Config{Root: root})
	s.want("forbidden", "/dir/x", 404, "")
	s.want("forbidden", "/dir/", 404, "")
	s.log.await(t, "permission denied")
}

// What is a file when it is looked at, and a pipe when it is opened, holds nothing up.
func TestFileThatBecomesAPipe(t *testing.T) {
	t.Parallel()
	root := folder(t, map[string]string{"file": "x"})
	pipe := filepath.Join(root, "pipe")
	if err := syscall.Mkfifo(pipe, 0o666); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, &Config{Root: root, CacheMax: -1})
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			os.Rename(filepath.Join(root, "file"), filepath.Join(root, "other"))
			os.Rename(pipe, filepath.Join(root, "file"))
			os.Rename(filepath.Join(root, "file"), pipe)
			os.Rename(filepath.Join(root, "other"), filepath.Join(root, "file"))
		}
	}()
	w := s.dial()
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
		w.send("GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
		if r := w.reply("GET"); r.StatusCode != 404 && r.body != "x" {
			t.Errorf("%s %q", r.Status, r.body)
		}
	}
	close(stop)
	<-stopped
}
