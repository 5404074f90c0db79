//go:build unix

package users

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"yodel/yodeltest"
)

func TestModes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	Set(path, "ada", "x", "")
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("a new file: %v, %v", fi.Mode(), err)
	}
	os.Chmod(path, 0o640)
	Set(path, "ada", "y", "")
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("the mode was not kept: %v, %v", fi.Mode(), err)
	}
	os.Chmod(path, 0o602)
	if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that everybody may write to: %v", err)
	}
}

// A server that has given up root still reads the file when root has changed it.
func TestOwnerIsKept(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	path := writeFile(t, twoUsers)
	if err := os.Chown(path, 12345, 54321); err != nil {
		t.Fatal(err)
	}
	if _, err := Set(path, "ada", "y", ""); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := fi.Sys().(*syscall.Stat_t); s.Uid != 12345 || s.Gid != 54321 {
		t.Errorf("it is of %d:%d now", s.Uid, s.Gid)
	}
}
