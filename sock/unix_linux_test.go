package sock

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAbstractName(t *testing.T) {
	t.Parallel()
	a := Address{Network: "unix", Path: "@yodel-test-" + t.TempDir()}
	l, err := Listen(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	if l.Address() != a {
		t.Errorf("bound is %+v", l.Address())
	}
	if _, err := os.Lstat(a.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an abstract name has a file: %v", err)
	}
	say(t, dial(t, a, nil), "hello there\n")
	_, err = Listen(t.Context(), a, nil)
	if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "choose another name") {
		t.Errorf("a name that is taken: %v", err)
	}
	l.Close()
	again, err := Listen(t.Context(), a, nil)
	if err != nil {
		t.Fatalf("the name is free again, but: %v", err)
	}
	again.Close()
}

func TestLongestNames(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, path := range []string{strings.Repeat("x", 107), "@" + strings.Repeat("y", 107)} {
		l := listenOn(t, "unix:"+path, nil)
		echo(t, l)
		say(t, dial(t, l.Address(), nil), "hello there\n")
	}
}

// In a folder where others may write, the path can be anything by the time its
// permissions are set.
func TestWidenFollowsNoLink(t *testing.T) {
	t.Parallel()
	path := mustParse(t, "tmp:s").Path
	if err := os.WriteFile(path+".secret", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path+".secret", path); err != nil {
		t.Fatal(err)
	}
	if err := widen(path, 0o666); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("through a link: %v", err)
	}
	if info, err := os.Stat(path + ".secret"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file behind the link has %v, %v", info.Mode(), err)
	}
	if err := widen(path+".none", 0o666); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
}
