package users

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds of a file.
const (
	maxFile = 1 << 20 // bytes
	maxName = 64      // bytes
	maxHome = 1024    // bytes
	maxLine = 2048    // bytes
)

// A User is one line of the file.
type User struct {
	Name string
	Hash string // of the password, as the file has it
	Home string // clean and with a slash in front; "/" where the line has none
}

// A ParseError is a line that can't be understood. It never quotes the line, which may
// hold a hash, or by mistake a password.
type ParseError struct {
	Line int // from 1
	Err  error
}

// Error says which line it is, and why.
func (e *ParseError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns why.
func (e *ParseError) Unwrap() error { return e.Err }

// Parse reads the text of a file. Its error, other than for a file of more than a
// mebibyte, is a [*ParseError].
func Parse(text []byte) ([]User, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("longer than %d bytes", maxFile)
	}
	var all []User
	seen := make(map[string]bool)
	number := 0
	for line := range bytes.Lines(text) {
		number++
		u, ok, err := parseLine(line)
		if err == nil && ok && seen[u.Name] {
			err = fmt.Errorf("a second line for %s", u.Name)
		}
		if err != nil {
			return nil, &ParseError{Line: number, Err: err}
		}
		if ok {
			seen[u.Name] = true
			all = append(all, u)
		}
	}
	return all, nil
}

var errFields = errors.New("not name:hash or name:hash:/home; yodel passwd writes such lines")

// parseLine returns the user of a line, if it has one.
func parseLine(line []byte) (u User, ok bool, err error) {
	if len(line) > maxLine {
		return u, false, fmt.Errorf("longer than %d bytes", maxLine)
	}
	text := strings.TrimRight(string(line), "\r\n")
	if !isEntry(text) {
		return u, false, nil
	}
	fields := strings.Split(text, ":")
	if len(fields) < 2 || len(fields) > 3 {
		return u, false, errFields
	}
	u = User{Name: fields[0], Hash: fields[1], Home: "/"}
	if len(fields) == 3 {
		u.Home, err = CleanHome(fields[2])
	}
	return u, true, cmp.Or(CheckName(u.Name), checkHash(u.Hash), err)
}

// isEntry reports whether a line is one of a user.
func isEntry(text string) bool {
	return strings.TrimSpace(text) != "" && !strings.HasPrefix(text, "#")
}

// CheckName returns nil if a user may be called so: 1 to 64 letters, digits and . _ - @
// +, of ASCII, the first of them no dash and no dot.
func CheckName(name string) error {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("a name has 1 to %d characters", maxName)
	case name[0] == '-' || name[0] == '.':
		return errors.New("a name begins with neither a dash nor a dot")
	case strings.ContainsFunc(name, notInName):
		return errors.New("a name has letters, digits and . _ - @ + only")
	}
	return nil
}

func notInName(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("._-@+", r)
}

// CleanHome returns home as a clean path with a slash in front, "/" if it is empty. What
// it names is inside the folder that is served, whatever it says.
func CleanHome(home string) (string, error) {
	switch {
	case len(home) > maxHome:
		return "", fmt.Errorf("a home has at most %d bytes", maxHome)
	case !utf8.ValidString(home) || strings.ContainsFunc(home, unicode.IsControl):
		return "", errors.New("a home is UTF-8 without control characters")
	case strings.ContainsAny(home, `:\`):
		return "", errors.New("a home has no colon and no backslash")
	}
	return path.Clean("/" + home), nil
}
