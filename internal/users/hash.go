package users

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// What a new hash costs: 19 MiB and two passes, about 25 ms, which OWASP's password
// storage cheat sheet has as its least for argon2id.
const (
	newMemory = 19 << 10 // KiB
	newPasses = 2
	newLanes  = 1
	saltLen   = 16
	keyLen    = 32
)

// What a hash in a file may cost: whoever guesses makes us pay it each time.
const (
	maxMemory  = 256 << 10 // KiB
	maxPasses  = 16
	maxLanes   = 16
	maxRaw     = 128 // bytes of a salt or a key
	maxBcrypt  = 14  // its cost: about 1 s
	maxPasswd  = 1024
	bcryptMost = 72 // bytes of a password that bcrypt looks at
)

const argonPrefix = "$argon2id$"

// errHash does not quote the hash.
var errHash = errors.New("the hash is neither argon2id nor bcrypt, or costs too much to check; yodel passwd makes one")

// CheckPassword returns nil if a password may be used: 1 to 1024 bytes, no control
// characters, which some clients can't send.
func CheckPassword(password string) error {
	switch {
	case password == "":
		return errors.New("an empty password is none")
	case len(password) > maxPasswd:
		return fmt.Errorf("a password has at most %d bytes", maxPasswd)
	case strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("a password has no control characters")
	}
	return nil
}

// Hash returns the argon2id hash of a password, with a new salt.
func Hash(password string) string {
	salt := make([]byte, saltLen)
	rand.Read(salt) // never fails since Go 1.24
	a := argonHash{memory: newMemory, passes: newPasses, lanes: newLanes, salt: salt}
	a.key = a.derive(password, keyLen)
	return a.String()
}

// An argonHash is the parts of a hash of argon2id.
type argonHash struct {
	memory, passes uint32 // KiB, times
	lanes          uint8
	salt, key      []byte
}

func (a *argonHash) derive(password string, n uint32) []byte {
	return argon2.IDKey([]byte(password), a.salt, a.passes, a.memory, a.lanes, n)
}

// String returns the form in which a file has it.
func (a *argonHash) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s", argonPrefix, argon2.Version,
		a.memory, a.passes, a.lanes, b64.EncodeToString(a.salt), b64.EncodeToString(a.key))
}

// parseArgon reads what String writes.
func parseArgon(s string) (*argonHash, error) {
	parts := strings.Split(strings.TrimPrefix(s, argonPrefix), "$")
	if len(parts) != 4 || parts[0] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, errHash
	}
	a := &argonHash{}
	_, err := fmt.Sscanf(parts[1], "m=%d,t=%d,p=%d", &a.memory, &a.passes, &a.lanes)
	b64 := base64.RawStdEncoding.Strict()
	var saltErr, keyErr error
	a.salt, saltErr = b64.DecodeString(parts[2])
	a.key, keyErr = b64.DecodeString(parts[3])
	if cmp.Or(err, saltErr, keyErr) != nil || !a.bounded() || a.String() != s {
		return nil, errHash
	}
	return a, nil
}

func (a *argonHash) bounded() bool {
	within := func(n, least, most int) bool { return least <= n && n <= most }
	return within(int(a.memory), 8*int(a.lanes), maxMemory) && within(int(a.passes), 1, maxPasses) &&
		within(int(a.lanes), 1, maxLanes) && within(len(a.salt), 8, maxRaw) && within(len(a.key), 16, maxRaw)
}

// checkHash returns nil if verify can work with the hash, at a bounded cost.
func checkHash(hash string) error {
	if strings.HasPrefix(hash, argonPrefix) {
		_, err := parseArgon(hash)
		return err
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || cost > maxBcrypt || len(hash) != 60 {
		return errHash
	}
	return nil
}

// verify reports whether password is the one that hash is of. It costs the same whether
// it is or not; a hash that checkHash refuses is no password's.
func verify(hash, password string) bool {
	if checkHash(hash) != nil {
		return false
	}
	if strings.HasPrefix(hash, argonPrefix) {
		a, err := parseArgon(hash)
		return err == nil && subtle.ConstantTimeCompare(a.derive(password, uint32(len(a.key))), a.key) == 1
	}
	asked := []byte(password)
	ok := bcrypt.CompareHashAndPassword([]byte(hash), asked[:min(len(asked), bcryptMost)]) == nil
	return ok && len(asked) <= bcryptMost
}
