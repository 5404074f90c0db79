package faults

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// engines are the engines of serve that the table is played on.
var engines = slices.Concat(blocking, looping)

var (
	blocking = []string{"goroutine", "iterative", "process"} // which read and write by package net
	looping  = []string{"epoll", "uring"}                    // which have event loops, and calls of their own
)

// leastRuns is how many runs the whole table must have.
const leastRuns = 500

// A fault is a system call that fails.
type fault struct {
	call  string
	errno unix.Errno
	when  string // which calls of a thread, as strace's when=; "" for all
}

// String returns the fault as strace takes it.
func (f fault) String() string {
	s := f.call + ":error=" + f.errnoName()
	if f.when != "" {
		s += ":when=" + f.when
	}
	return s
}

// errnoName returns the name that Linux and strace have for the error.
func (f fault) errnoName() string {
	if f.errno == unix.EOPNOTSUPP {
		return "EOPNOTSUPP" // not ENOTSUP, which is the same number
	}
	return unix.ErrnoName(f.errno)
}

// times returns how many faults a run waits for.
func (f fault) times() int {
	switch {
	case f.call == "":
		return 0
	case f.when == "", strings.ContainsAny(f.when, ".+"):
		return 3
	}
	return 1
}

// A row is one run: a fault, on whom it falls, and what must come of it.
type row struct {
	engine  string
	network string // of the clients that the fault may reach: "tcp" or "unix"
	scene   *scene
	fault   fault
}

// loops reports whether the engine has event loops.
func (r row) loops() bool { return slices.Contains(looping, r.engine) }

func (r row) name() string {
	parts := []string{r.scene.name, r.engine, r.network}
	if r.fault != (fault{}) {
		parts = append(parts, r.fault.call, r.fault.errnoName(), "when="+r.fault.when)
	}
	return strings.TrimSuffix(strings.Join(parts, "/"), "when=")
}

// A scene is what goes on while the faults come.
type scene struct {
	name string
	play func(*run) error
}

// group is a part of the table: every combination of its columns.
type group struct {
	scene    *scene
	engines  []string // nil: blocking
	networks []string
	calls    []string
	errnos   []unix.Errno
	when     []string
}

var (
	// Calls that a new process makes for itself: the runtime, to have an epoll instance
	// at all, and package net, to know what socket it was given.
	oneProcess = []string{"goroutine", "iterative"}

	// What happens before an engine is there.
	oneEngine = []string{"goroutine"}

	both    = []string{"tcp", "unix"}
	overTCP = []string{"tcp"}
	overIPC = []string{"unix"}

	once  = []string{"1", "2", "4"}
	often = []string{"1", "2", "3", "1..3", "1+2"}
	twice = []string{"1", "1..3"}

	first        = []string{"1"}
	fromNowOn    = []string{""}
	ringTroubles = []unix.Errno{unix.EINTR, unix.EAGAIN, unix.EBUSY, unix.ENOMEM}

	// What ends a connection on which it happens.
	ends = []unix.Errno{
		unix.ECONNRESET, unix.ETIMEDOUT, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENOBUFS, unix.ENOMEM, unix.EIO,
	}

	// What a lack of something makes of accept, on every kind of socket.
	lacks = []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EPERM}

	// What the network has done to a connection before it was accepted: Linux hands
	// that out as an error of accept, and accept(2) asks to treat it as EAGAIN.
	pending = []unix.Errno{
		unix.ECONNABORTED, unix.EPROTO, unix.ENETDOWN, unix.ENOPROTOOPT, unix.EHOSTDOWN,
		unix.ENONET, unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH, unix.ETIMEDOUT,
	}

	interrupted = []unix.Errno{unix.EINTR}
)

// groups are the table.
var groups = []group{
	{scene: visits, networks: both, calls: []string{"accept4"}, errnos: lacks, when: often},
	{scene: visits, networks: both, calls: []string{"accept4"}, errnos: []unix.Errno{unix.ECONNABORTED, unix.EINTR}, when: often},
	{scene: visits, networks: overTCP, calls: []string{"accept4"}, errnos: pending[1:], when: often},
	{scene: visits, networks: both, calls: []string{"epoll_pwait"}, errnos: interrupted, when: often},
	{scene: visits, networks: overTCP, calls: []string{"setsockopt"}, errnos: []unix.Errno{unix.ENOPROTOOPT, unix.ENOMEM, unix.EINVAL}, when: once},
	{scene: visits, engines: oneProcess, networks: both, calls: []string{"getsockname"}, errnos: []unix.Errno{unix.ENOBUFS}, when: once},
	{scene: visits, engines: oneProcess, networks: both, calls: []string{"epoll_ctl"}, errnos: []unix.Errno{unix.ENOSPC, unix.ENOMEM}, when: often},

	{scene: visits, engines: looping, networks: both, calls: []string{"accept4"}, errnos: append(lacks, unix.ECONNABORTED, unix.EINTR), when: twice},
	{scene: visits, engines: looping, networks: overTCP, calls: []string{"accept4"}, errnos: pending[1:], when: first},
	{scene: visits, engines: looping, networks: both, calls: []string{"epoll_pwait"}, errnos: interrupted, when: often},
	{scene: visits, engines: looping[:1], networks: both, calls: []string{"epoll_ctl"}, errnos: []unix.Errno{unix.ENOSPC, unix.ENOMEM}, when: twice},
	{scene: visits, engines: looping[1:], networks: both, calls: []string{"io_uring_enter"}, errnos: ringTroubles, when: often},
	{scene: outage, engines: looping, networks: both, calls: []string{"accept4"}, errnos: lacks, when: fromNowOn},
	{scene: stopInOutage, engines: looping, networks: both, calls: []string{"accept4"}, errnos: lacks[:2], when: fromNowOn},
	{scene: deaf, engines: looping, networks: both, calls: []string{"accept4"}, errnos: []unix.Errno{unix.EINVAL}, when: first},
	{scene: victim, engines: looping[:1], networks: both, calls: []string{"recvfrom"}, errnos: ends, when: first},
	{scene: victim, engines: looping, networks: both, calls: []string{"sendto"}, errnos: append(ends, unix.EPIPE), when: first},
	{scene: victim, engines: looping, networks: both, calls: []string{"sendto"}, errnos: interrupted, when: often},
	{scene: victim, engines: looping[:1], networks: both, calls: []string{"recvfrom"}, errnos: interrupted, when: often},
	{scene: halfClose, engines: looping, networks: both, calls: []string{"shutdown"}, errnos: []unix.Errno{unix.ENOTCONN}, when: first},
	{scene: pressed, engines: looping, networks: both},
	{scene: pressed, engines: looping, networks: both, calls: []string{"sendto"}, errnos: interrupted, when: []string{"1+2", "2+3"}},

	{scene: outage, networks: both, calls: []string{"accept4"}, errnos: lacks, when: []string{""}},
	{scene: stopInOutage, networks: both, calls: []string{"accept4"}, errnos: lacks, when: []string{""}},
	{scene: deaf, networks: both, calls: []string{"accept4"}, errnos: []unix.Errno{unix.EINVAL}, when: []string{"1", "2"}},

	{scene: victim, networks: overTCP, calls: []string{"read"}, errnos: []unix.Errno{
		unix.ECONNRESET, unix.ETIMEDOUT, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN,
		unix.ENETDOWN, unix.ENONET, unix.EPROTO, unix.ENOBUFS, unix.ENOMEM, unix.EIO,
	}, when: once},
	{scene: victim, networks: overTCP, calls: []string{"write"}, errnos: []unix.Errno{
		unix.EPIPE, unix.ECONNRESET, unix.ETIMEDOUT, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN,
		unix.ENETDOWN, unix.EPROTO, unix.ENOBUFS, unix.ENOMEM, unix.EIO, unix.EPERM,
	}, when: once},
	{scene: victim, networks: overIPC, calls: []string{"read"}, errnos: []unix.Errno{unix.ECONNRESET, unix.ENOMEM}, when: once},
	{scene: victim, networks: overIPC, calls: []string{"write"}, errnos: []unix.Errno{unix.EPIPE, unix.ECONNRESET, unix.ENOBUFS, unix.ENOMEM}, when: once},
	{scene: victim, networks: both, calls: []string{"read", "write"}, errnos: interrupted, when: often},
	{scene: halfClose, networks: both, calls: []string{"shutdown"}, errnos: []unix.Errno{unix.ENOTCONN}, when: []string{"1"}},

	{scene: pressed, networks: both},
	{scene: pressed, networks: both, calls: []string{"read", "write"}, errnos: interrupted, when: []string{"1+2", "2+3"}},

	{scene: mute, networks: overTCP, calls: []string{"write"}, errnos: []unix.Errno{unix.EPIPE, unix.EIO, unix.ENOSPC}, when: []string{"1", "1+2", ""}},
	{scene: mute, networks: overTCP, calls: []string{"write"}, errnos: interrupted, when: []string{"1", "1+2"}},

	{scene: refusedStart, engines: oneEngine, networks: both, calls: []string{"socket"}, errnos: []unix.Errno{
		unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EACCES, unix.EPERM, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT,
	}, when: []string{"1"}},
	{scene: refusedStart, engines: oneEngine, networks: both, calls: []string{"bind"}, errnos: []unix.Errno{unix.EADDRINUSE, unix.EADDRNOTAVAIL, unix.EACCES, unix.EPERM, unix.ENOMEM}, when: []string{"1"}},
	{scene: refusedStart, engines: oneEngine, networks: overIPC, calls: []string{"bind"}, errnos: []unix.Errno{unix.EROFS, unix.ENOSPC, unix.ENOENT, unix.ENOTDIR}, when: []string{"1"}},
	{scene: refusedStart, engines: oneEngine, networks: overIPC, calls: []string{"fchmod"}, errnos: []unix.Errno{unix.EPERM, unix.EIO}, when: []string{"1"}},
	{scene: refusedStart, engines: oneEngine, networks: overTCP, calls: []string{"getsockname"}, errnos: []unix.Errno{unix.ENOBUFS}, when: []string{"1"}},
	{scene: refusedStart, engines: oneEngine, networks: both, calls: []string{"listen"}, errnos: []unix.Errno{unix.EADDRINUSE, unix.EOPNOTSUPP, unix.ENOBUFS, unix.EPERM}, when: []string{"1"}},
}

// table returns all rows, in the order of groups.
func table() (rows []row) {
	for _, g := range groups {
		rows = append(rows, g.rows()...)
	}
	return rows
}

func (g group) rows() (rows []row) {
	if g.engines == nil {
		g.engines = blocking
	}
	for _, engine := range g.engines {
		for _, network := range g.networks {
			for _, f := range g.faults() {
				rows = append(rows, row{engine, network, g.scene, f})
			}
		}
	}
	return rows
}

// faults returns the faults of g; one that is none where it has no columns for them.
func (g group) faults() (faults []fault) {
	if g.calls == nil {
		return []fault{{}}
	}
	for _, call := range g.calls {
		for _, errno := range g.errnos {
			for _, when := range g.when {
				faults = append(faults, fault{call, errno, when})
			}
		}
	}
	return faults
}

// kind is what a row is but for which of the calls fail.
func (r row) kind() row {
	r.fault.when = ""
	return r
}

// sample returns a part of the rows, the same ones each time: every kind of row, with one of
// the columns when that it has in rows, some with two. The next kind has the next column, so
// that a call which fails in many ways fails at each of its columns as well.
func sample(rows []row) (part []row) {
	for n := 0; len(rows) > 0; n++ {
		end := slices.IndexFunc(rows, func(r row) bool { return r.kind() != rows[0].kind() })
		if end < 0 {
			end = len(rows)
		}
		for i, r := range rows[:end] {
			if turn := (i + n) % end; turn == 0 || turn == 3 && n%4 == 0 {
				part = append(part, r)
			}
		}
		rows = rows[end:]
	}
	return part
}

// checkTable returns what is wrong with rows: too few, the same twice, or a fault
// that would lie.
func checkTable(rows []row) error {
	lies := []string{"close", "futex", "mmap", "clone", "clone3"}
	seen := make(map[string]bool)
	for _, r := range rows {
		switch {
		case seen[r.name()]:
			return fmt.Errorf("%s is in the table twice", r.name())
		case slices.Contains(lies, r.fault.call), r.fault.errno == unix.EAGAIN && r.fault.call != "io_uring_enter":
			return fmt.Errorf("%s: strace can't fail that call so without a lie", r.name())
		}
		seen[r.name()] = true
	}
	if len(rows) < leastRuns {
		return fmt.Errorf("the table has %d runs; it must have %d", len(rows), leastRuns)
	}
	return nil
}
