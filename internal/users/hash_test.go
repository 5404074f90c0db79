package users

import (
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"yodel/yodeltest"
)

// cheap returns a hash that costs little, for tests.
func cheap(password string) string {
	a := argonHash{memory: 8, passes: 1, lanes: 1, salt: []byte("twelve bytes")}
	a.key = a.derive(password, 16)
	return a.String()
}

var bcryptHash = cheapBcrypt("secret")

func cheapBcrypt(password string) string {
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(h)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 72)
	for _, c := range []struct {
		name, hash, password string
		want                 bool
	}{
		{"argon2id", cheap("secret"), "secret", true},
		{"argon2id, another", cheap("secret"), "Secret", false},
		{"argon2id, none", cheap("secret"), "", false},
		{"as yodel passwd writes it", Hash("secret"), "secret", true},
		{"bcrypt", bcryptHash, "secret", true},
		{"bcrypt, another", bcryptHash, "secret2", false},
		{"bcrypt looks at 72 bytes, and we at all", cheapBcrypt(long), long + "y", false},
		{"72 bytes", cheapBcrypt(long), long, true},
	} {
		if checkHash(c.hash) != nil {
			t.Errorf("%s: the hash is refused", c.name)
		}
		if got := verify(c.hash, c.password); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if one, other := Hash("a"), Hash("a"); one == other {
		t.Error("two hashes have the same salt")
	}
}

// What other programs write is read.
func TestOthersHashes(t *testing.T) {
	t.Parallel()
	t.Run("htpasswd", func(t *testing.T) {
		t.Parallel()
		out, err := exec.Command(yodeltest.NeedProgram(t, "htpasswd"), "-nbB", "-C", "4", "ada", "secret").Output()
		if err != nil {
			t.Fatal(err)
		}
		all, err := Parse(out)
		if err != nil || len(all) != 1 || !verify(all[0].Hash, "secret") || verify(all[0].Hash, "no") {
			t.Errorf("%s: %v", out, err)
		}
	})
	t.Run("argon2", func(t *testing.T) {
		t.Parallel()
		cmd := exec.Command(yodeltest.NeedProgram(t, "argon2"), "some salt", "-id", "-e", "-t", "1", "-k", "64")
		cmd.Stdin = strings.NewReader("secret")
		out, err := cmd.Output()
		if hash := strings.TrimSpace(string(out)); err != nil || checkHash(hash) != nil || !verify(hash, "secret") {
			t.Errorf("%s: %v", out, err)
		}
	})
}

func TestCheckPassword(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		password string
		ok       bool
	}{
		{"correct horse battery staple", true},
		{"grüße", true},
		{"", false},
		{"a\nb", false},
		{"a\x7f", false},
		{strings.Repeat("x", 1024), true},
		{strings.Repeat("x", 1025), false},
	} {
		if err := CheckPassword(c.password); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.password, err)
		}
	}
}
