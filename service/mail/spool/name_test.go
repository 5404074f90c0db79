package spool

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	for _, tt := range []struct{ local, domain, want string }{
		{"alice", "", "alice"},
		{"Alice", "", "alice"},
		{"bob", "Example.ORG", "bob@example.org"},
		{"o'brien+lists=2", "", "o%27brien+lists=2"},
		{"..", "", "%2e%2e"},
		{".", "", "%2e"},
		{".bashrc", "", "%2ebashrc"},
		{"-rf", "", "%2drf"},
		{"../../etc/passwd", "", "%2e.%2f..%2fetc%2fpasswd"},
		{"a/b\\c:d", "", "a%2fb%5cc%3ad"},
		{"two words@here", "", "two%20words%40here"},
		{"NUL", "", "%6eul"},
		{"com1.txt", "", "%63om1.txt"},
		{"com10", "", "com10"},
		{"end.", "", "end%2e"},
		{"alice.lock", "", "alice%2elock"},
		{"bob", "host.lock", "bob@host%2elock"},
		{"ünï", "", "%c3%bcn%c3%af"},
		{"\x00\r\n", "", "%00%0d%0a"},
		{"", "", "%"},
		{"", "a.example", "%@a.example"},
		{"100%", "", "100%25"},
		{long, "", long[:127] + "~"},
	} {
		if got := Name(tt.local, tt.domain); got != tt.want && !(len(got) == nameMax && strings.HasPrefix(got, tt.want)) {
			t.Errorf("Name(%q, %q) is %q, want %q", tt.local, tt.domain, got, tt.want)
		}
	}
	if Name(long, "") == Name(long+"x", "") {
		t.Error("two long names are the same")
	}
}

func TestAddressOfForeignNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "a%", "a%2", "a%zz", "b@c%4", "x~y"} {
		if got := Address(name); got != name {
			t.Errorf("Address(%q) is %q", name, got)
		}
	}
}

// Whatever a peer says, the name is one element of a path below the spool, is no lock
// file and no file of the spool's own, and two recipients share it only if they differ in
// case.
func FuzzName(f *testing.F) {
	f.Add("alice", "", "bob", "example.org")
	f.Add("../../x", "", "..", ".")
	f.Add("con", "", "a.lock", "b.lock")
	f.Add(strings.Repeat("%/", 100), "", "\x00", "\xff")
	f.Fuzz(func(t *testing.T, local, domain, local2, domain2 string) {
		a, b := Name(local, domain), Name(local2, domain2)
		checkName(t, a)
		lower := func(s string) string { return string(asciiLower(s)) }
		if !strings.Contains(a, "~") {
			want := lower(local)
			if domain != "" {
				want += "@" + lower(domain)
			}
			if got := Address(a); got != want {
				t.Errorf("Address(%q) is %q, want %q", a, got, want)
			}
		}
		if same := lower(local) == lower(local2) && lower(domain) == lower(domain2); same != (a == b) {
			t.Errorf("(%q, %q) and (%q, %q) have the names %q and %q", local, domain, local2, domain2, a, b)
		}
	})
}

func asciiLower(s string) []byte {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}

func checkName(t *testing.T, name string) {
	t.Helper()
	if !filepath.IsLocal(name) || filepath.Base(name) != name || len(name) > nameMax {
		t.Errorf("%q is no name of a file", name)
	}
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") || strings.HasSuffix(name, ".lock") {
		t.Errorf("%q is a name that means something else", name)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`/\:*?"<>|`, c) >= 0 {
			t.Errorf("%q has the byte %q", name, c)
		}
	}
}
