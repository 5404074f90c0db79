package ftp

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
)

// failure returns the reply for what went wrong with a file. It never tells where that is
// on the server.
func failure(err error) reply {
	for _, f := range failures() {
		if errors.Is(err, f.err) {
			return say(f.code, f.text)
		}
	}
	return say(550, "That can't be done here.") // os.Root has refused it, for example
}

type failureRow struct {
	err  error
	code int
	text string
}

// failures are in the order in which they are looked for (RFC 959 §4.2.2).
func failures() []failureRow {
	return append([]failureRow{
		{errName, 550, "There is no such name."},
		{errUTF8, 553, "New names are UTF-8."},
		{errFolder, 550, "That is a folder."},
		{errNotFolder, 550, "That is not a folder."},
		{errLink, 553, "There is a symbolic link of that name: delete it first."},
		{errNotRegular, 550, "That is not a regular file."},
		{errBeyond, 554, "The file is not that long."}, // RFC 3659 §5
		{context.Canceled, 426, "Aborted."},
		{syscall.ENOTEMPTY, 550, "The folder is not empty."}, // it is an fs.ErrExist too
		{fs.ErrNotExist, 550, "There is no such file or folder."},
		{fs.ErrExist, 550, "That is there already."},
		{fs.ErrPermission, 550, "The server may not do that."},
		{syscall.ENOTDIR, 550, "That is not a folder."},
		{syscall.EISDIR, 550, "That is a folder."},
		{syscall.ENAMETOOLONG, 553, "The name is too long."},
		{syscall.EMFILE, 451, "Too many files are open; try again."},
		{syscall.ENFILE, 451, "Too many files are open; try again."},
		{syscall.ENOMEM, 451, "There is no memory left; try again."},
		{syscall.EIO, 451, "The disk has failed."},
	}, diskFailures...)
}

// isOfFile reports whether an error of sendfile(2) is the file's and not the connection's.
func isOfFile(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOMEM)
}
