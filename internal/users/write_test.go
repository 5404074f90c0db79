package users

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSetAndRemove(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	set := func(name, password, home string, wantMade bool) {
		t.Helper()
		if made, err := Set(path, name, password, home); err != nil || made != wantMade {
			t.Fatalf("Set %s: made %v, %v", name, made, err)
		}
	}
	set("ada", "secret", "", true)
	set("bob", "other", "b/./c", true)
	set("ada", "changed", "", false)
	set("bob", "changed too", "", false)
	f, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, password, home string }{{"ada", "changed", "/"}, {"bob", "changed too", "/b/c"}} {
		if u, err := f.Check(t.Context(), here, c.name, c.password); err != nil || u.Home != c.home {
			t.Errorf("%s: %+v, %v", c.name, u, err)
		}
	}
	if err := Remove(path, "ada"); err != nil {
		t.Error(err)
	}
	if text := read(t, path); strings.Contains(text, "ada") || !strings.HasPrefix(text, "bob:$argon2id$") || strings.Count(text, "\n") != 1 {
		t.Errorf("what is left: %q", text)
	}
	if err := Remove(path, "ada"); err == nil || !strings.Contains(err.Error(), `no user "ada"`) {
		t.Errorf("removed twice: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("files left behind: %v", left)
	}
}

// What stands in a file besides the user's line stays.
func TestSetKeepsTheRest(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "# our users\n\nada:"+cheap("secret")+":/a\r\nbob:"+bcryptHash)
	if _, err := Set(path, "ada", "new", "/elsewhere"); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(read(t, path), "\n")
	if len(lines) != 5 || lines[0] != "# our users" || lines[1] != "" || lines[3] != "bob:"+bcryptHash || lines[4] != "" ||
		!strings.HasPrefix(lines[2], "ada:") || !strings.HasSuffix(lines[2], ":/elsewhere") {
		t.Errorf("%q", lines)
	}
}

func TestSetRefuses(t *testing.T) {
	t.Parallel()
	bad := "nonsense\n"
	for _, c := range []struct{ name, text, user, password, home, says string }{
		{"a name", "", "a b", "x", "", "letters"},
		{"a password", "", "ada", "", "", "empty"},
		{"a home", "", "ada", "x", "a:b", "colon"},
		{"a file that is not understood", bad, "ada", "x", "", "line 1"},
	} {
		path := writeFile(t, c.text)
		if _, err := Set(path, c.user, c.password, c.home); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := read(t, path); got != c.text {
			t.Errorf("%s: the file has changed: %q", c.name, got)
		}
	}
	if err := Remove(filepath.Join(t.TempDir(), "none"), "ada"); err == nil {
		t.Error("removed from no file")
	}
	if _, err := Set(filepath.Join(t.TempDir(), "no", "folder"), "ada", "x", ""); err == nil {
		t.Error("set in no folder")
	}
}

// Two that change the file at once do not undo each other's work: one is told to wait.
func TestSetAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	var all sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for _, name := range []string{"a", "b", "c", "d"} {
		all.Go(func() {
			_, err := Set(path, name, "x", "")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case !strings.Contains(err.Error(), "somebody is changing it"):
				t.Error(err)
			}
		})
	}
	all.Wait()
	users, err := Parse([]byte(read(t, path)))
	if err != nil || len(users) != made || made == 0 {
		t.Errorf("%d users of %d that were made, %v", len(users), made, err)
	}
}
