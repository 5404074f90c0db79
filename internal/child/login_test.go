package child

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLoginConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "ada"), 0o755); err != nil {
		t.Fatal(err)
	}
	for home, want := range map[string]string{"/ada": filepath.Join(dir, "ada"), "": dir, "/": dir, "/../../etc": "/", "/bob": "/"} {
		if got := (&Login{Root: dir, Home: home}).Config().Dir; got != want {
			t.Errorf("home %q: starts in %q, want %q", home, got, want)
		}
	}
	c := (&Login{Name: "ada\n-froot", Shell: []string{"/bin/cat", "-u"}, Term: "XTERM"}).Config()
	if c.Path != "/bin/cat" || !slices.Equal(c.Args, []string{"-u"}) || c.Umask != 0o077 || c.Limits.Files == 0 || c.Dir != "/" {
		t.Errorf("%+v", c)
	}
	for _, want := range []string{"TERM=xterm", "HOME=/", "SHELL=/bin/cat", "USER=ada-froot", "LOGNAME=ada-froot"} {
		if !slices.Contains(c.Env, want) {
			t.Errorf("no %s in %q", want, c.Env)
		}
	}
	if c := (&Login{}).Config(); c.Path != "/bin/sh" || !slices.Contains(c.Env, "TERM=dumb") {
		t.Errorf("of nothing: %+v", c)
	}
}

func TestCleanTerm(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"xterm-256color": "xterm-256color", "VT220": "vt220", "": "dumb", "x y": "dumb", "x\x1b[m": "dumb",
		"../../x": "dumb", strings.Repeat("x", 40): strings.Repeat("x", 40), strings.Repeat("x", 41): "dumb",
	} {
		if got := CleanTerm(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
