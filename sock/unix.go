package sock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"yodel/trace"
)

// listenUnix listens on a path or an abstract name.
//
// Whoever may write to the path may connect, so it must at no moment have more
// permissions than asked for: chmod after bind is too late. On Linux bind(2) gives
// the path the mode of the socket itself, less the umask, and fchmod(2) sets that
// before; elsewhere the umask of the whole process is narrowed while bind runs.
func (o *opening) listenUnix(ctx context.Context) (*Listener, error) {
	o.unix = true
	if err := o.checkUnix(); err != nil {
		return nil, o.failed(err)
	}
	if o.opts.ReusePort {
		return nil, o.failed(unsupported("SO_REUSEPORT on a Unix socket", "use one listener and accept from it in several goroutines"))
	}
	abstract := isAbstract(o.addr.Path)
	if !abstract {
		if err := clearDead(ctx, o.addr.Path); err != nil {
			return nil, o.failed(err)
		}
	}
	var inner net.Listener
	var err error
	narrowed(o.opts.unixMode(), func() { inner, err = o.listen(ctx, "unix", o.addr.Path) })
	if err != nil {
		if !abstract && failedIn(err, "listen") {
			clearDead(ctx, o.addr.Path) // bind has made it, and nobody will listen there
		}
		return nil, err
	}
	l := o.listener(inner)
	if abstract {
		return l, nil
	}
	inner.(*net.UnixListener).SetUnlinkOnClose(false) // it would not look whose path it is
	if l.path, err = claimPath(o.addr.Path, o.opts.unixMode()); err != nil {
		inner.Close()
		return nil, o.failed(err)
	}
	return l, nil
}

// failedIn reports whether err is what a system call failed with.
func failedIn(err error, call string) bool {
	failed, ok := errors.AsType[*os.SyscallError](err)
	return ok && failed.Syscall == call
}

func isAbstract(path string) bool { return strings.HasPrefix(path, "@") }

// checkUnix refuses paths that no socket can have.
func (o *opening) checkUnix() error {
	abstract := isAbstract(o.addr.Path)
	switch {
	case abstract && runtime.GOOS != "linux":
		return unsupported("an abstract name", "use a path")
	case abstract && o.opts.UnixMode != 0:
		return errors.New("an abstract name has no permissions: leave UnixMode out, or use a path")
	}
	_, err := parseUnixPath(strings.TrimPrefix(o.addr.String(), "unix:"))
	return err
}

// prepareUnix is prepare for Unix sockets.
func (o *opening) prepareUnix(fd uintptr) error {
	if o.side == trace.Server && !isAbstract(o.addr.Path) {
		if err := narrowSocket(fd, o.opts); err != nil {
			return err
		}
	}
	return setAll(fd, o.opts.bufferOptions())
}

// A pathTaken is a path at which something is that Listen must not remove. It
// is the EADDRINUSE that bind(2) would answer with.
type pathTaken struct {
	error
	advice string // what is there, and what to do
}

func (e pathTaken) Unwrap() error { return e.error }

func taken(what string) error {
	return pathTaken{os.NewSyscallError("bind", errnoInUse), what}
}

// unixAdvice says what to do when a path could not be had.
func unixAdvice(path string, err error) string {
	if taken, ok := errors.AsType[pathTaken](err); ok {
		return taken.advice
	}
	switch {
	case errors.Is(err, errnoInUse):
		return "another program listens there: `ss -lxp` shows which, or choose another name"
	case errors.Is(err, fs.ErrNotExist):
		return "the folder of the path does not exist: make it first"
	case errors.Is(err, fs.ErrPermission) && !isAbstract(path) && aboutFolder(err):
		return "the folder of the path is not writable: choose another, or change its permissions"
	case errors.Is(err, fs.ErrPermission):
		return forbidden
	}
	return ""
}

// aboutFolder reports whether err is of a call that needs permissions of the path's
// folder; socket, fchmod and listen need none of it.
func aboutFolder(err error) bool {
	call, ok := errors.AsType[*fs.PathError](err)
	return ok && (call.Op == "lstat" || call.Op == "remove") || failedIn(err, "bind")
}

// clearDead removes the socket of a program that was killed before it could. It
// fails if anything else is at path.
//
// Two programs may do this at the same time, so just before it is removed it is
// checked to be the same file still. What is left of the race is the moment between
// these two calls.
func clearDead(ctx context.Context, path string) error {
	before, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case before.Mode().Type() != fs.ModeSocket:
		return taken("a file that is not a socket is there: move it away, or choose another path")
	case !ownedByUs(before):
		return taken("another user's socket is there: choose another path")
	}
	if err := checkDead(ctx, path); err != nil {
		return err
	}
	return removeIfSame(path, before)
}

func removeIfSame(path string, before fs.FileInfo) error {
	if now, err := os.Lstat(path); err != nil || !sameFile(before, now) {
		return taken("somebody else has just put something there: try again")
	}
	return os.Remove(path)
}

// sameFile compares times too: an inode's number is used again soon after its
// file is removed.
func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime())
}

// checkDead returns nil if a connection to path is refused: there is no listening
// socket behind it any more.
func checkDead(ctx context.Context, path string) error {
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		c.Close()
		return taken("another program listens there: `ss -lxp` shows which, or choose another path")
	}
	if errors.Is(err, errnoRefused) {
		return nil
	}
	return taken(fmt.Sprintf("a socket is there, and it cannot be told whether it is in use (%v): choose another path", cause(err)))
}

// A boundPath is the file of a listening Unix socket.
type boundPath struct {
	path string
	info fs.FileInfo
}

// claimPath notes which file bind has just made, and gives it the permissions that
// the umask may have kept back.
func claimPath(path string, mode fs.FileMode) (*boundPath, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if hasModes && info.Mode().Perm() != mode {
		if err := widen(path, mode); err != nil {
			os.Remove(path)
			return nil, err
		}
	}
	return &boundPath{path, info}, nil
}

// remove removes the file unless it has been replaced. The socket must still be
// open: it keeps the number of its inode from being used again.
func (b *boundPath) remove() {
	if b == nil {
		return
	}
	if now, err := os.Lstat(b.path); err == nil && os.SameFile(b.info, now) {
		os.Remove(b.path)
	}
}

// dialUnix connects to a path or an abstract name.
func (d *dialing) dialUnix(ctx context.Context) (net.Conn, error) {
	d.unix = true
	began := time.Now()
	raw, err := d.connectUnix(ctx)
	d.ended = time.Now()
	took := d.ended.Sub(began)
	d.phases.Connect, d.phases.Attempts = took, []Attempt{{Took: took, Err: err}}
	d.traceConnect(raw, trace.AddrPort(nil), err)
	if err != nil {
		return nil, &ConnectError{Address: d.addr, Attempts: d.phases.Attempts}
	}
	return raw, nil
}

func (d *dialing) connectUnix(ctx context.Context) (net.Conn, error) {
	if err := d.checkUnix(); err != nil {
		return nil, err
	}
	nd := net.Dialer{Control: d.control}
	return nd.DialContext(ctx, "unix", d.addr.Path)
}
