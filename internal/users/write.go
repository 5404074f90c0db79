package users

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Set gives the user name the password, and a home unless home is empty: a new line, or
// the user's own in place. A new user without a home has "/". The file is made, with mode
// 0600, if there is none; made says whether the user is new.
//
// The file is replaced as a whole: whoever reads it sees the old or the new one, also
// after a crash. What stood in it is kept but for that line, and so are its mode and owner.
func Set(path, name, password, home string) (made bool, err error) {
	if err := cmp.Or(CheckName(name), CheckPassword(password)); err != nil {
		return false, err
	}
	if home != "" {
		if home, err = CleanHome(home); err != nil {
			return false, err
		}
	}
	made = true
	err = edit(path, true, func(lines []string) ([]string, error) {
		i, old := indexOf(lines, name)
		if made = i < 0; made {
			return append(lines, entry(name, Hash(password), home)), nil
		}
		if home == "" {
			home = old.Home
		}
		lines[i] = entry(name, Hash(password), home)
		return lines, nil
	})
	return made, err
}

// Remove takes the user's line out of the file.
func Remove(path, name string) error {
	return edit(path, false, func(lines []string) ([]string, error) {
		i, _ := indexOf(lines, name)
		if i < 0 {
			return nil, fmt.Errorf("users file %s: there is no user %q", path, name)
		}
		return append(lines[:i], lines[i+1:]...), nil
	})
}

func entry(name, hash, home string) string {
	if home == "" || home == "/" {
		return name + ":" + hash
	}
	return name + ":" + hash + ":" + home
}

// indexOf returns where the user's line is, -1 if there is none.
func indexOf(lines []string, name string) (int, User) {
	for i, line := range lines {
		if u, ok, err := parseLine([]byte(line)); err == nil && ok && u.Name == name {
			return i, u
		}
	}
	return -1, User{}
}

// edit rewrites the file. While it does, a file of the same name with ".new" behind it
// keeps others from doing so, and holds what is to be.
func edit(path string, mayMake bool, change func([]string) ([]string, error)) error {
	temp := path + ".new"
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("users file %s: somebody is changing it, or was stopped while doing so: remove %s if nobody is", path, temp)
	}
	if err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	err = errors.Join(rewrite(out, path, mayMake, change), out.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// rewrite writes to out what path is to hold.
func rewrite(out *os.File, path string, mayMake bool, change func([]string) ([]string, error)) error {
	text, fi, err := readFile(path)
	if mayMake && errors.Is(err, fs.ErrNotExist) {
		text, err = nil, nil
	}
	if err != nil {
		return err
	}
	if _, err := Parse(text); err != nil {
		return fmt.Errorf("users file %s: %w", path, err)
	}
	lines, err := change(linesOf(text))
	if err != nil {
		return err
	}
	if fi != nil {
		if err := cmp.Or(keepOwner(out, fi), out.Chmod(fi.Mode().Perm())); err != nil {
			return fmt.Errorf("users file: %w", err)
		}
	}
	if _, err := out.WriteString(strings.Join(append(lines, ""), "\n")); err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	return out.Sync()
}

func linesOf(text []byte) []string {
	var lines []string
	for line := range bytes.Lines(text) {
		lines = append(lines, strings.TrimRight(string(line), "\r\n"))
	}
	return lines
}
