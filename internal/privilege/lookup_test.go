//go:build unix

package privilege

import (
	"errors"
	"strings"
	"testing"
)

func TestLookupRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, spec, want string }{
		{"nothing", "", "drop privileges to : there is no user in it; write USER or USER:GROUP, each a name or a number"},
		{"no user", ":users", "drop privileges to :users: there is no user in it; write"},
		{"no group", "nobody:", "drop privileges to nobody:: there is no group after the colon; write"},
		{"three words", "a:b:c", "drop privileges to a:b:c: there are two colons in it; write"},
		{"a line break", "nobody\n", `drop privileges to nobody\n: there is a control character in it; write`},
		{"a NUL in a group", "1:a\x00", `drop privileges to 1:a\x00: there is a control character in it; write`},
		{"longer than names are", strings.Repeat("a", 256), "a…: it is longer than 255 bytes; write"},
		{"nobody has that name", "no-such-user", "there is no such user; name one of /etc/passwd, or give numbers: UID:GID"},
		{"nobody has that name, with a group", "no-such-user:1", "there is no such user; name one of /etc/passwd"},
		{"nobody has that number", "4294967293", "there is no such user; give its group too: 4294967293:GID"},
		{"no group has that name", "1:no-such-group", "there is no such group; name one of /etc/group, or give its number"},
		{"-1 to system calls", "4294967295", "4294967295 is not the number of a user or group: they go from 0 to 4294967294"},
		{"-1 as a user of a pair", "4294967295:1", "4294967295 is not the number"},
		{"-1 as a group", "1:4294967295", "4294967295 is not the number"},
		{"a number too large", "1:18446744073709551616", "18446744073709551616 is not the number"},
		{"a negative number is a name", "-1:1", "there is no such user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := Lookup(tt.spec)
			if err == nil {
				t.Fatalf("Lookup(%q) = %v, want an error", tt.spec, got)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Lookup(%q):\n%v\nwant\n…%s…", tt.spec, err, tt.want)
			}
			if e, ok := errors.AsType[*Error](err); !ok || e.User != tt.spec || e.Unwrap() == nil {
				t.Errorf("the error is %#v, want an *Error with the user and a cause", err)
			}
		})
	}
}

// Numbers with a group need no file: containers often have neither.
func TestLookupNumbers(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{
		"123456:234567":         "123456:234567, uid 123456, gid 234567, groups 234567",
		"007:08":                "007:08, uid 7, gid 8, groups 8",
		"4294967294:4294967294": "4294967294:4294967294, uid 4294967294, gid 4294967294, groups 4294967294",
		"0:0":                   "0:0, uid 0, gid 0, groups 0",
	} {
		got, err := Lookup(spec)
		if err != nil || got.String() != want {
			t.Errorf("Lookup(%q) = %v, %v, want %s", spec, got, err, want)
		}
	}
}

func TestNothingIsDroppedToRoot(t *testing.T) {
	t.Parallel()
	root, err := Lookup("root")
	if err != nil {
		t.Fatal(err)
	}
	const want = "drop privileges to root: user 0 is root itself; name another user"
	for name, f := range map[string]func(Credentials) error{"Check": Check, "Drop": Drop} {
		if err := f(root); err == nil || err.Error() != want {
			t.Errorf("%s(root) = %v, want %s", name, err, want)
		}
	}
}

func FuzzSplitSpec(f *testing.F) {
	for _, spec := range []string{"nobody", "1000", "1000:100", "a:b", ":", "a:", ":a", "a:b:c", "a\x00", "007:4294967295", "\u0661"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		w, fail := splitSpec(spec)
		if fail != nil {
			if w != (words{}) {
				t.Errorf("%q is refused, and yet gives %q", spec, w)
			}
			return
		}
		if again := strings.TrimSuffix(w.user+":"+w.group, ":"); again != spec || w.user == "" {
			t.Errorf("%q was split into %q", spec, w)
		}
		for _, word := range []string{w.user, w.group} {
			if id, fail := parseID(word); fail == nil && (!isNumber(word) || id == noID) {
				t.Errorf("%q is taken for the number %d", word, id)
			}
		}
	})
}
