// Package privilege gives up root for good. A server binds its ports as root, calls
// [Drop], and only then talks to strangers:
//
//	who, err := privilege.Lookup("nobody") // before anything is bound
//	…
//	err = privilege.Check(who)             // would it work?
//	…                                      // bind, open, read keys
//	err = privilege.Drop(who)              // give it up, and look whether it is gone
//
// # What is given up
//
// On Linux each thread has credentials of its own (credentials(7), NOTES), so each
// step is done on every thread that the process has. A thread that is made later
// inherits what its maker has left. The order matters:
//
//  1. The capability bounding set is emptied (PR_CAPBSET_DROP, capabilities(7)), so
//     that no program which is run later brings a capability in with its file. It is
//     first because it takes CAP_SETPCAP.
//  2. The supplementary groups become those of the user (setgroups(2)), then the real,
//     effective and saved group (setresgid(2)). The groups go before the user because
//     they take CAP_SETGID; left as they are, they would still be root's.
//  3. The real, effective and saved user (setresuid(2)): all three, so that there is
//     no saved root to go back to.
//  4. The effective, permitted and inheritable sets are emptied (capset(2)), and with
//     them the ambient set, which never holds what these do not. The kernel does some
//     of this itself when the user changes, but never for the inheritable set, and not
//     at all where the process was started with SECBIT_NO_SETUID_FIXUP.
//  5. no_new_privs is set (PR_SET_NO_NEW_PRIVS, prctl(2)): from now on execve(2) grants
//     nothing. Set-user-ID and set-group-ID bits and file capabilities do nothing, here
//     and in all children, so a service cannot offer su or sudo any more. It cannot be
//     unset.
//  6. The process is no longer dumpable (PR_SET_DUMPABLE, prctl(2)): it leaves no core
//     file, and no other process of that user may trace it or read its memory, in which
//     may be what only root could read, a TLS key for example. Children are dumpable
//     again once they run a program.
//  7. All of this, but for step 6, is read back from /proc/self/task/*/status, thread
//     by thread; a thread that kept something is an error which names it.
//
// Securebits are left as they are: they rule what becomes of user 0, which this is not
// any more.
//
// A process that already runs as the user does steps 4 to 7, and the others as far as
// its capabilities reach: an ordinary user's program cannot empty its bounding set,
// which no_new_privs makes useless.
//
// # What stays
//
// Open descriptors, with all that they allow: that is how the listeners live on.
// Children that were started before. The environment (HOME and USER too), the working
// directory, the umask, the limits. What any user may do, such as signalling the
// other processes of the same user, or making a user namespace, whose capabilities
// hold inside of it only. So a user of its own is better than nobody, which others share.
//
// # Where it works
//
// On Linux, in programs without cgo: the threads of C are out of Go's reach, so there
// Drop fails, with [errors.ErrUnsupported], before it has changed anything. Reading
// back needs /proc. On other Unix systems only the groups and the user are changed,
// and it is tried whether root can be had back. Elsewhere there is no such thing.
package privilege

import (
	"fmt"
	"strconv"

	"yodel/internal/escape"
)

// Credentials are what a process may become: credentials(7). The zero value is root,
// to which nothing can be dropped.
type Credentials struct {
	// User is the user as it was asked for. It is only shown.
	User string

	UID uint32
	GID uint32 // the primary group

	// Groups are the supplementary groups. The primary group is one of them.
	Groups []uint32
}

// String returns for example "nobody, uid 65534, gid 65534, groups 65534".
func (c Credentials) String() string {
	s := fmt.Sprintf("%s, uid %d, gid %d, groups", escape.String(c.User), c.UID, c.GID)
	for _, g := range c.Groups {
		s += " " + strconv.FormatUint(uint64(g), 10)
	}
	return s
}

// Check returns the error that [Drop] would return before its first step, and changes
// nothing: the user is root, the process may not become that user, or the system or
// the way the program was built does not allow it. Not all can be foreseen: what
// forbids a single system call shows in Drop.
func Check(c Credentials) error {
	if err := check(c); err != nil {
		return &Error{User: c.User, Err: err.err, Advice: err.advice}
	}
	return nil
}

// Drop makes the process run as c and gives up, for good, all that it could do beyond
// that; the package comment says what and in which order. Call it when all that needs
// root is open and before anything is read from a peer. Goroutines may run meanwhile.
//
// The error is an [*Error]. If it is one of [Check] nothing has changed; after any
// other a part may be gone and a part still there, so end the program. Where threads
// had different rights from the start, so that a call works on one and not on another,
// it is the Go runtime that ends the program.
func Drop(c Credentials) error {
	if err := drop(c); err != nil {
		return &Error{User: c.User, Err: err.err, Advice: err.advice}
	}
	return nil
}

// An Error says why privileges were not dropped.
type Error struct {
	User string // as it was asked for

	// Err is the cause. Where a system call failed it is an [*os.SyscallError], and
	// where it cannot be done here it wraps [errors.ErrUnsupported].
	Err error

	// Advice says what to do; it may be empty.
	Advice string
}

// Error returns for example "drop privileges to bob: there is no such user; …".
func (e *Error) Error() string {
	s := "drop privileges to " + escape.StringN(e.User, 80) + ": " + escape.String(e.Err.Error())
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// A failure is an Error that does not know the user.
type failure struct {
	err    error
	advice string
}

func failed(advice, format string, args ...any) *failure {
	return &failure{err: fmt.Errorf(format, args...), advice: advice}
}

// notRoot returns the failure of those who name root.
func notRoot(c Credentials) *failure {
	if c.UID != 0 {
		return nil
	}
	return failed("name another user", "user 0 is root itself")
}
