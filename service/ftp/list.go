package ftp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// A listing is names of one folder.
type listing struct {
	dir     *os.Root
	one     string // the only name; empty: all that pattern lets through
	pattern string // empty: all names
	prefix  string // what NLST writes in front of a name
	left    int    // names that were left out because they can't be said
}

// sorted is how many names are put in order; a folder with more is listed as it is read,
// so that it needs no more memory than this.
const sorted = 10000

// find returns the listing that arg asks for. Words in front that begin with a dash are
// options of ls, which clients like to send; they change nothing.
func (s *session) find(arg string) (*listing, string, error) {
	arg = withoutOptions(arg)
	p, fi, err := s.look(arg)
	pattern := path.Base(arg)
	switch {
	case err == nil && fi.IsDir():
		l := &listing{prefix: prefixOf(arg)}
		l.dir, err = s.files.root.OpenRoot(inside(p))
		return l, p, err
	case err == nil:
		l := &listing{one: path.Base(p), prefix: arg[:strings.LastIndex(arg, "/")+1]}
		l.dir, err = s.files.root.OpenRoot(inside(path.Dir(p)))
		return l, p, err
	case err != errName && strings.ContainsAny(pattern, "*?["):
		return s.findPattern(arg[:strings.LastIndex(arg, "/")+1], pattern, err)
	}
	return nil, p, err
}

// findPattern is find for a last name that is a pattern, if it is one of a folder.
func (s *session) findPattern(folder, pattern string, why error) (*listing, string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, "", why
	}
	p, err := resolve(s.cwd, folder)
	if err != nil {
		return nil, "", err
	}
	dir, err := s.files.root.OpenRoot(inside(p))
	return &listing{dir: dir, pattern: pattern, prefix: folder}, p, err
}

func withoutOptions(arg string) string {
	for strings.HasPrefix(arg, "-") {
		_, arg, _ = strings.Cut(arg, " ")
		arg = strings.TrimLeft(arg, " ")
	}
	return arg
}

// prefixOf returns what leads from where the client is to the names in the folder arg.
func prefixOf(arg string) string {
	if arg == "" || strings.HasSuffix(arg, "/") {
		return arg
	}
	return arg + "/"
}

// matches reports whether name is asked for. A pattern does not mean names with a dot in
// front unless it has one.
func (l *listing) matches(name string) bool {
	if l.pattern == "" {
		return true
	}
	if strings.HasPrefix(name, ".") && !strings.HasPrefix(l.pattern, ".") {
		return false
	}
	ok, err := path.Match(l.pattern, name)
	return ok && err == nil
}

// each calls do for each name that is asked for.
func (l *listing) each(ctx context.Context, do func(name string) error) error {
	if l.one != "" {
		return do(l.one)
	}
	d, err := l.dir.Open(".")
	if err != nil {
		return &fileError{err}
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(sorted)
		slices.Sort(names)
		for _, name := range names {
			if err := l.offer(ctx, name, do); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &fileError{err}
		}
	}
}

func (l *listing) offer(ctx context.Context, name string, do func(string) error) error {
	if !l.matches(name) {
		return nil
	}
	if hidden(name) {
		if !strings.HasPrefix(name, TempPrefix) {
			l.left++
		}
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return do(name)
}

// note says what was left out.
func (l *listing) note() string {
	switch l.left {
	case 0:
		return ""
	case 1:
		return ", without 1 name that can't be said"
	}
	return fmt.Sprintf(", without %d names that can't be said", l.left)
}

// A lister appends the line for one name of a folder. What has gone meanwhile has none.
type lister func(dst []byte, dir *os.Root, name string) []byte

// sendList sends a listing over a data connection.
func (s *session) sendList(verb string, l *listing, p string, line lister) reply {
	return s.start(task{
		verb: verb, path: p, close: func() { l.dir.Close() },
		run: func(ctx context.Context, d *data) (string, error) {
			w := bufio.NewWriterSize(d, 32<<10)
			err := l.each(ctx, func(name string) error {
				_, err := w.Write(line(w.AvailableBuffer(), l.dir, name))
				return err
			})
			if err == nil {
				err = w.Flush()
			}
			if err == nil {
				err = d.flush()
			}
			return l.note(), err
		},
	})
}

func (s *session) listVerb(arg string) reply {
	s.rest = 0
	l, p, err := s.find(arg)
	if err != nil {
		return failure(err)
	}
	return s.sendList("LIST", l, p, longLines(time.Now()))
}

func (s *session) nlstVerb(arg string) reply {
	s.rest = 0
	l, p, err := s.find(arg)
	if err != nil {
		return failure(err)
	}
	return s.sendList("NLST", l, p, func(dst []byte, _ *os.Root, name string) []byte {
		return append(append(append(dst, l.prefix...), name...), "\r\n"...)
	})
}

func (s *session) mlsdVerb(arg string) reply {
	s.rest = 0
	p, fi, err := s.look(arg)
	if err == nil && !fi.IsDir() {
		return say(501, "That is not a folder: say MLST.") // RFC 3659 §7
	}
	if err != nil {
		return failure(err)
	}
	l := &listing{}
	if l.dir, err = s.files.root.OpenRoot(inside(p)); err != nil {
		return failure(err)
	}
	facts, write := s.facts, s.files.write
	return s.sendList("MLSD", l, p, func(dst []byte, dir *os.Root, name string) []byte {
		fi, err := dir.Lstat(name)
		if err != nil {
			return dst
		}
		dst = append(facts.append(dst, fi, write), ' ')
		return append(append(dst, name...), "\r\n"...)
	})
}

func (s *session) mlstVerb(arg string) reply {
	p, err := resolve(s.cwd, arg)
	if err != nil {
		return failure(err)
	}
	fi, err := s.files.root.Lstat(inside(p))
	if err != nil {
		return failure(err)
	}
	line := string(s.facts.append(nil, fi, s.files.write)) + " " + p
	return reply{code: 250, text: "There is", more: []string{line}, end: "End."}
}

// maxStat is how many names STAT tells over the control connection.
const maxStat = 1000

// statVerb is about a transfer, the server, or a path (RFC 959 §4.1.3).
func (s *session) statVerb(arg string) reply {
	if arg == "" {
		return s.status()
	}
	if s.state != member {
		return say(530, "Log in with USER and PASS first.")
	}
	l, _, err := s.find(arg)
	if err != nil {
		return failure(err)
	}
	defer l.dir.Close()
	lines, line := []string{}, longLines(time.Now())
	err = l.each(s.ctx, func(name string) error {
		if len(lines) == maxStat {
			return io.ErrShortBuffer
		}
		if text := line(nil, l.dir, name); len(text) > 0 {
			lines = append(lines, strings.TrimSuffix(string(text), "\r\n"))
		}
		return nil
	})
	end := "End" + l.note() + "."
	switch {
	case err == io.ErrShortBuffer:
		end = fmt.Sprintf("There are more than %d: say LIST.", maxStat)
	case err != nil:
		return failure(err)
	}
	return reply{code: 213, text: "There is", more: lines, end: end}
}

// longLines returns a lister of lines as ls -l writes them, which clients parse. Owner and
// group are not told, and neither is where a symbolic link leads out to.
func longLines(now time.Time) lister {
	return func(dst []byte, dir *os.Root, name string) []byte {
		fi, err := dir.Lstat(name)
		if err != nil {
			return dst
		}
		dst = fmt.Appendf(dst, "%s   1 ftp      ftp      %10d %s %s", lsMode(fi.Mode()), fi.Size(), lsTime(fi.ModTime(), now), name)
		if fi.Mode()&fs.ModeSymlink != 0 {
			dst = append(append(dst, " -> "...), lsTarget(dir, name)...)
		}
		return append(dst, "\r\n"...)
	}
}

// lsTarget returns where a symbolic link leads, "?" if that is outside the root, or
// nowhere.
func lsTarget(dir *os.Root, name string) string {
	to, err := dir.Readlink(name)
	if err != nil || strings.ContainsFunc(to, unusable) {
		return "?"
	}
	if _, err := dir.Stat(name); err != nil {
		return "?"
	}
	return to
}

func lsMode(m fs.FileMode) string {
	kind := byte('-')
	switch {
	case m.IsDir():
		kind = 'd'
	case m&fs.ModeSymlink != 0:
		kind = 'l'
	case m&fs.ModeNamedPipe != 0:
		kind = 'p'
	case m&fs.ModeSocket != 0:
		kind = 's'
	case m&fs.ModeCharDevice != 0:
		kind = 'c'
	case m&fs.ModeDevice != 0:
		kind = 'b'
	}
	return string(kind) + m.Perm().String()[1:]
}

// lsTime is in UTC, as all times here, with the year where it is not this one's half.
func lsTime(t, now time.Time) string {
	t = t.UTC()
	if age := now.Sub(t); age < -24*time.Hour || age > 180*24*time.Hour {
		return t.Format("Jan _2  2006")
	}
	return t.Format("Jan _2 15:04")
}
