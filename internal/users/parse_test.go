package users

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	hash := cheap("secret")
	for _, c := range []struct {
		name, text string
		want       []User
	}{
		{"nothing", "", nil},
		{"comments and empty lines", "# users\n\n  \n", nil},
		{"a user", "ada:" + hash + "\n", []User{{"ada", hash, "/"}}},
		{"without a newline at the end", "ada:" + hash, []User{{"ada", hash, "/"}}},
		{"lines that end as on Windows", "ada:" + hash + "\r\n", []User{{"ada", hash, "/"}}},
		{"homes", "ada:" + hash + ":/a/b\nbob:" + hash + ":c\n", []User{{"ada", hash, "/a/b"}, {"bob", hash, "/c"}}},
		{"a home can't lead out", "ada:" + hash + ":../../etc\n", []User{{"ada", hash, "/etc"}}},
		{"bcrypt", "ada:" + bcryptHash + "\n", []User{{"ada", bcryptHash, "/"}}},
		{"an address as a name", "ada@example.org:" + hash + "\n", []User{{"ada@example.org", hash, "/"}}},
	} {
		got, err := Parse([]byte(c.text))
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: %v, %v", c.name, got, err)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %+v, want %+v", c.name, got[i], c.want[i])
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	hash := cheap("secret")
	for _, c := range []struct {
		name, text string
		line       int
		says       string
	}{
		{"no hash", "ada\n", 1, "not name:hash"},
		{"too many fields", "ada:" + hash + ":/a:b\n", 1, "not name:hash"},
		{"a second line for the same name", "ada:" + hash + "\n#\nada:" + hash + "\n", 3, "second line for ada"},
		{"a password where the hash should be", "ada:secret\n", 1, "neither argon2id nor bcrypt"},
		{"a name with a space", "a b:" + hash + "\n", 1, "letters, digits"},
		{"an option as a name", "-a:" + hash + "\n", 1, "neither a dash"},
		{"no name", ":" + hash + "\n", 1, "1 to 64"},
		{"a long name", strings.Repeat("a", 65) + ":" + hash + "\n", 1, "1 to 64"},
		{"a control character in a home", "ada:" + hash + ":/a\x1bb\n", 1, "control characters"},
		{"a backslash in a home", "ada:" + hash + `:\a` + "\n", 1, "no backslash"},
		{"a long home", "ada:" + hash + ":/" + strings.Repeat("a", 1024) + "\n", 1, "at most 1024"},
		{"a long line", "ada:" + strings.Repeat("a", 2048) + "\n", 1, "longer than 2048"},
	} {
		_, err := Parse([]byte(c.text))
		var at *ParseError
		if !errors.As(err, &at) || at.Line != c.line || !strings.Contains(err.Error(), c.says) || at.Unwrap() == nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && (strings.Contains(err.Error(), hash) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: the error quotes what stands there: %v", c.name, err)
		}
	}
	if _, err := Parse(make([]byte, maxFile+1)); err == nil {
		t.Error("a file of more than a mebibyte is read")
	}
}

// What costs too much to check is refused when the file is read, not when somebody logs
// in.
func TestHashesAreBounded(t *testing.T) {
	t.Parallel()
	good := cheap("secret")
	for _, bad := range []string{
		"",
		"secret",
		"$argon2id$",
		strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=8,", "m=1048576,", 1),
		strings.Replace(good, "m=8,", "m=7,", 1),
		strings.Replace(good, "m=8,", "m=08,", 1),
		strings.Replace(good, "t=1,", "t=0,", 1),
		strings.Replace(good, "t=1,", "t=1000,", 1),
		strings.Replace(good, "p=1", "p=0", 1),
		strings.Replace(good, "p=1", "p=300", 1),
		good + "=",
		good + "$",
		good[:len(good)-30],
		strings.Replace(good, "$argon2id", "$argon2i", 1),
		strings.Replace(bcryptHash, "$04$", "$31$", 1),
		bcryptHash + "x",
		bcryptHash[:20],
	} {
		if checkHash(bad) == nil {
			t.Errorf("%s is taken for a hash", bad)
		}
		if verify(bad, "secret") {
			t.Errorf("%s is a hash of the password", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("ada:" + cheap("secret") + ":/home\n# comment\n\nbob:" + bcryptHash + "\r\n")
	f.Add("a:b:c:d\n")
	f.Add("$argon2id$v=19$m=,t=,p=$$")
	f.Add("ada:$argon2id$v=19$m=99999999999999999999,t=1,p=1$YQ$YQ\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Parse([]byte(text))
		if err != nil {
			return
		}
		var again strings.Builder
		for _, u := range all {
			if CheckName(u.Name) != nil || checkHash(u.Hash) != nil || u.Home == "" || u.Home[0] != '/' || strings.Contains(u.Home, "/../") {
				t.Fatalf("%+v", u)
			}
			again.WriteString(u.Name + ":" + u.Hash + ":" + u.Home + "\n")
		}
		same, err := Parse([]byte(again.String()))
		if err != nil || len(same) != len(all) {
			t.Fatalf("what was read is not read again: %v", err)
		}
	})
}
