package ftp

import (
	"errors"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// TempPrefix begins the name of a file that is being received. Such names are not listed
// and can't be used.
const TempPrefix = ".yodel-upload-"

// Errors of names.
var (
	errName = errors.New("ftp: a name that can't be used")
	errUTF8 = errors.New("ftp: a new name that is not UTF-8")
)

// resolve returns the path that arg names for somebody who is in the folder cwd: clean,
// with a slash in front. Both are paths as the client sees them; ".." ends at the root.
//
// Control characters (NUL among them) are refused since they can't be said in a list, and
// backslashes since elsewhere they are slashes.
func resolve(cwd, arg string) (string, error) {
	if strings.ContainsFunc(arg, unusable) {
		return "", errName
	}
	if !strings.HasPrefix(arg, "/") {
		arg = cwd + "/" + arg
	}
	p := path.Clean("/" + arg)
	for name := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(name, TempPrefix) {
			return "", errName
		}
	}
	return p, nil
}

func unusable(r rune) bool { return r == '\\' || unicode.IsControl(r) }

// hidden reports whether a name is left out of lists: it could not be said, or not be
// used.
func hidden(name string) bool {
	return strings.ContainsFunc(name, unusable) || strings.HasPrefix(name, TempPrefix)
}

// checkNew returns nil if something new may have that name (RFC 2640 §3.1).
func checkNew(p string) error {
	if !utf8.ValidString(p) {
		return errUTF8
	}
	return nil
}

// inside returns the path for an os.Root that resolve's path is.
func inside(p string) string {
	if p == "/" {
		return "."
	}
	return strings.TrimPrefix(p, "/")
}

// quote returns a path as 257 has it (RFC 959, appendix II).
func quote(p string) string { return `"` + strings.ReplaceAll(p, `"`, `""`) + `"` }
