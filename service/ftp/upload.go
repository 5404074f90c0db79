package ftp

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// keepAll keeps all of a file that is appended to.
const keepAll = -1

// Why a file can't be stored.
var (
	errFolder     = errors.New("ftp: there is a folder of that name")
	errLink       = errors.New("ftp: there is a symbolic link of that name")
	errNotRegular = errors.New("ftp: not a regular file")
	errBeyond     = errors.New("ftp: an offset beyond the end of the file")
)

// An upload is a file that is being received. It has a name of its own until commit.
type upload struct {
	dir        *os.Root // the folder that it is in
	temp, name string
	file       *os.File // open under temp
	made       bool     // there is a file of the name temp
	lock       *os.File // says until the end that it is no orphan; nil: nothing can
	old        *os.File // what name is now, open if some of it is kept
	keep       int64
	sync       bool
}

// newName returns prefix and 26 random letters.
func newName(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

// newUpload begins to receive the file p, behind the first keep bytes of what is there.
func (srv *Server) newUpload(f *files, p string, keep int64) (*upload, error) {
	dir, err := f.root.OpenRoot(inside(path.Dir(p)))
	if err != nil {
		return nil, err
	}
	srv.orphans.sweep(dir)
	u := &upload{dir: dir, temp: newName(TempPrefix), name: path.Base(p), keep: keep, sync: srv.cfg.Sync}
	if p == "/" {
		err = errFolder
	} else {
		err = u.open()
	}
	if err != nil {
		u.discard()
		return nil, err
	}
	return u, nil
}

func (u *upload) open() error {
	mode, err := u.look()
	if err != nil {
		return err
	}
	if u.file, err = u.dir.OpenFile(u.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode); err == nil {
		u.made = true
		u.lock, err = lock(u.dir, u.temp)
	}
	return err
}

// look looks at what is there under the real name, and returns the mode for the new file.
func (u *upload) look() (fs.FileMode, error) {
	fi, err := u.dir.Lstat(u.name)
	if errors.Is(err, fs.ErrNotExist) {
		if u.keep > 0 {
			return 0, errBeyond
		}
		u.keep = 0
		return 0o644, nil
	}
	if err == nil {
		err = checkRegular(fi)
	}
	if err != nil {
		return 0, err
	}
	if u.keep == keepAll {
		u.keep = fi.Size()
	}
	if u.keep > fi.Size() {
		return 0, errBeyond
	}
	if u.keep > 0 {
		u.old, err = openRegular(u.dir, u.name)
	}
	return fi.Mode().Perm(), err
}

// checkRegular returns nil for a regular file, and else what it is.
func checkRegular(fi fs.FileInfo) error {
	switch {
	case fi.Mode().IsRegular():
		return nil
	case fi.IsDir():
		return errFolder
	case fi.Mode()&fs.ModeSymlink != 0:
		return errLink
	}
	return errNotRegular
}

// receive writes what comes, and gives the file its name.
func (u *upload) receive(ctx context.Context, d *data, text bool) error {
	if err := u.copyKept(ctx); err != nil {
		return &fileError{err}
	}
	if !text {
		if err := d.receiveFile(u.file); err != io.EOF {
			return err
		}
		return u.commit()
	}
	w := &fromNetwork{dst: u.file}
	if err := d.copyTo(w, 0); err != io.EOF {
		return err
	}
	if err := w.Close(); err != nil {
		return &fileError{err}
	}
	return u.commit()
}

// keepPiece is how much of an old file is copied between two looks at whether somebody
// still waits.
const keepPiece = 64 << 20

// copyKept copies the first keep bytes of the old file, inside the kernel or inside the
// file system where that can be (copy_file_range(2)).
func (u *upload) copyKept(ctx context.Context) error {
	for left := u.keep; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(u.file, u.old, min(left, keepPiece))
		left -= n
		if err != nil {
			return err
		}
	}
	return nil
}

// commit makes the file what is there under its name. A failed fsync is not tried again:
// what was not written may be forgotten (fsync(2)).
func (u *upload) commit() error {
	var err error
	if u.sync {
		err = u.file.Sync()
	}
	if closeErr := u.file.Close(); err == nil {
		err = closeErr
	}
	u.file = nil
	if err == nil {
		err = rename(u.dir, u.temp, u.name)
	}
	if err != nil {
		return &fileError{err}
	}
	u.made = false
	if u.sync {
		if err := syncFolder(u.dir); err != nil {
			return &fileError{err}
		}
	}
	return nil
}

// discard gives back what the upload holds, and removes it if it was not committed.
func (u *upload) discard() {
	for _, f := range []*os.File{u.file, u.old} {
		if f != nil {
			f.Close()
		}
	}
	if u.made {
		u.dir.Remove(u.temp)
	}
	if u.lock != nil {
		u.lock.Close()
	}
	u.dir.Close()
}
