package ftp

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"
)

var errNotFolder = errors.New("ftp: not a folder")

// openRegular opens a regular file for reading. It looks before it opens, since the mere
// opening of a device may do something, and again behind, since what is there may have
// been replaced; a FIFO does not make it wait.
func openRegular(root *os.Root, name string) (*os.File, error) {
	fi, err := root.Stat(name)
	if err == nil {
		err = checkRegular(fi)
	}
	if err != nil {
		return nil, err
	}
	f, err := root.OpenFile(name, os.O_RDONLY|nonBlocking, 0)
	if err != nil {
		return nil, err
	}
	if fi, err = f.Stat(); err == nil {
		err = checkRegular(fi)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openFile opens the file that arg names.
func (s *session) openFile(arg string) (p string, f *os.File, r reply) {
	p, err := resolve(s.cwd, arg)
	if err == nil {
		f, err = openRegular(s.files.root, inside(p))
	}
	if err != nil {
		return p, nil, failure(err)
	}
	return p, f, reply{}
}

// look returns what arg names, following symbolic links inside the root.
func (s *session) look(arg string) (p string, fi fs.FileInfo, err error) {
	if p, err = resolve(s.cwd, arg); err == nil {
		fi, err = s.files.root.Stat(inside(p))
	}
	return p, fi, err
}

func (s *session) cwdVerb(arg string) reply {
	p, fi, err := s.look(arg)
	if err == nil && !fi.IsDir() {
		err = errNotFolder
	}
	if err != nil {
		return failure(err)
	}
	s.cwd = p
	return sayf(250, "You are in %s.", quote(p))
}

func (s *session) pwdVerb(string) reply { return sayf(257, "%s is where you are.", quote(s.cwd)) }

// change does something to the path that arg names.
func (s *session) change(arg string, do func(name string) error, done reply) reply {
	p, err := resolve(s.cwd, arg)
	if err == nil {
		err = do(inside(p))
	}
	if err != nil {
		return failure(err)
	}
	s.note(slog.LevelInfo, "changed", p, "reply", done.code)
	if done.code == 257 {
		done.text = quote(p) + done.text
	}
	return done
}

func (s *session) mkdVerb(arg string) reply {
	return s.change(arg, func(name string) error {
		if err := checkNew(name); err != nil {
			return err
		}
		return s.files.root.Mkdir(name, 0o755)
	}, say(257, " is there now."))
}

func (s *session) rmdVerb(arg string) reply {
	return s.change(arg, func(name string) error {
		if fi, err := s.files.root.Lstat(name); err != nil || !fi.IsDir() {
			return orElse(err, errNotFolder)
		}
		return s.files.root.Remove(name)
	}, say(250, "It is gone."))
}

func (s *session) deleVerb(arg string) reply {
	return s.change(arg, func(name string) error {
		if fi, err := s.files.root.Lstat(name); err != nil || fi.IsDir() {
			return orElse(err, errFolder)
		}
		return s.files.root.Remove(name)
	}, say(250, "It is gone."))
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func (s *session) rnfrVerb(arg string) reply {
	p, err := resolve(s.cwd, arg)
	if err == nil {
		_, err = s.files.root.Lstat(inside(p))
	}
	if err != nil {
		return failure(err)
	}
	s.renaming = p
	return say(350, "What shall it be called?")
}

func (s *session) rntoVerb(arg string) reply {
	from := s.renaming
	if from == "" {
		return say(503, "Say RNFR first.")
	}
	return s.change(arg, func(name string) error {
		if err := checkNew(name); err != nil {
			return err
		}
		return rename(s.files.root, inside(from), name)
	}, say(250, "It is called so now."))
}

func (s *session) sizeVerb(arg string) reply {
	_, fi, err := s.look(arg)
	switch {
	case err == nil && fi.IsDir():
		err = errFolder
	case err == nil:
		err = checkRegular(fi)
	}
	if err != nil {
		return failure(err)
	}
	if s.isText { // RFC 3659 §4: it would have to be read to the end
		return say(550, "The size of a text is not known before it is sent: say TYPE I.")
	}
	return sayf(213, "%d", fi.Size())
}

// timeForm is YYYYMMDDhhmmss, of UTC (RFC 3659 §2.3).
const timeForm = "20060102150405"

func (s *session) mdtmVerb(arg string) reply {
	_, fi, err := s.look(arg)
	if err != nil {
		return failure(err)
	}
	return say(213, fi.ModTime().UTC().Format(timeForm))
}

// mfmtVerb sets what MDTM tells, as clients do that keep a copy (draft-somers-ftp-mfxx).
func (s *session) mfmtVerb(arg string) reply {
	when, name, _ := strings.Cut(arg, " ")
	t, err := time.Parse(timeForm, when)
	if err != nil || name == "" {
		return say(501, "It is MFMT YYYYMMDDhhmmss path.")
	}
	r := s.change(name, func(name string) error {
		fi, err := s.files.root.Lstat(name)
		if err == nil && !fi.IsDir() {
			err = checkRegular(fi)
		}
		if err != nil {
			return err
		}
		return s.files.root.Chtimes(name, time.Time{}, t)
	}, say(213, ""))
	if !r.failed() {
		r.text = "Modify=" + when + "; " + name
	}
	return r
}

// rename renames, and again if it was interrupted: unlike most of package os, the method
// Rename of os.Root does not.
func rename(dir *os.Root, from, to string) error {
	for {
		if err := dir.Rename(from, to); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
