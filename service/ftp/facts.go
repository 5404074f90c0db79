package ftp

import (
	"fmt"
	"io/fs"
	"strings"
)

// facts are what MLST and MLSD tell of a file (RFC 3659 §7.5).
type facts uint8

const (
	factModify facts = 1 << iota
	factPerm
	factSize
	factType
	factMode

	allFacts = factModify | factPerm | factSize | factType | factMode
)

var factNames = []struct {
	fact facts
	name string
}{
	{factModify, "modify"},
	{factPerm, "perm"},
	{factSize, "size"},
	{factType, "type"},
	{factMode, "UNIX.mode"},
}

// parseFacts reads what OPTS MLST says; facts that are not known are left out.
func parseFacts(list string) (f facts) {
	for name := range strings.SplitSeq(list, ";") {
		for _, n := range factNames {
			if strings.EqualFold(name, n.name) {
				f |= n.fact
			}
		}
	}
	return f
}

// names returns the facts as OPTS MLST answers.
func (f facts) names() string {
	var b strings.Builder
	for _, n := range factNames {
		if f&n.fact != 0 {
			b.WriteString(n.name + ";")
		}
	}
	return b.String()
}

// features returns all facts as FEAT lists them, with a star behind those of f.
func (f facts) features() string {
	var b strings.Builder
	for _, n := range factNames {
		b.WriteString(n.name)
		if f&n.fact != 0 {
			b.WriteByte('*')
		}
		b.WriteByte(';')
	}
	return b.String()
}

// append appends the facts of a file, without the space behind them. write says whether
// the user may change files.
func (f facts) append(dst []byte, fi fs.FileInfo, write bool) []byte {
	if f&factModify != 0 {
		dst = append(append(dst, "modify="...), fi.ModTime().UTC().Format(timeForm)...)
		dst = append(dst, ';')
	}
	if f&factPerm != 0 {
		dst = append(append(append(dst, "perm="...), permFact(fi.Mode(), write)...), ';')
	}
	if f&factSize != 0 && fi.Mode().IsRegular() {
		dst = fmt.Appendf(dst, "size=%d;", fi.Size())
	}
	if f&factType != 0 {
		dst = append(append(append(dst, "type="...), typeFact(fi.Mode())...), ';')
	}
	if f&factMode != 0 {
		dst = fmt.Appendf(dst, "UNIX.mode=%04o;", fi.Mode().Perm())
	}
	return dst
}

// permFact says what may be tried (RFC 3659 §7.5.5).
func permFact(m fs.FileMode, write bool) string {
	switch {
	case m.IsDir() && write:
		return "cdeflmp"
	case m.IsDir():
		return "el"
	case m.IsRegular() && write:
		return "adfrw"
	case m.IsRegular():
		return "r"
	case write:
		return "df"
	}
	return ""
}

// typeFact tells links from folders, so that nobody deletes through one what is elsewhere.
func typeFact(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "dir"
	case m.IsRegular():
		return "file"
	case m&fs.ModeSymlink != 0:
		return "OS.unix=symlink"
	}
	return "OS.unix=special"
}
