package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"yodel"
	"yodel/engine"
	"yodel/internal/loop"
)

// New returns an Engine for svc, a yodel.Echoer. cfg and opts may be nil. It loads the
// program, so it is called while the process has its privileges; Close, or a Shutdown that
// returns nil, unloads it. The error wraps engine.ErrUnfit if svc is something else, or if cfg
// asks for TLS or PROXY headers, and os.ErrPermission if privileges lack.
func New(svc any, cfg *engine.Config, opts *Options) (Engine, error) {
	if echo, ok := svc.(yodel.Echoer); !ok || !echo.Echoes() {
		return Engine{}, &engine.UnfitError{Engine: "kernel", Why: "echo only"}
	}
	if opts == nil {
		opts = &Options{}
	}
	p := &programs{}
	e, err := engine.NewEvented(svc, cfg, engine.EventedOptions{
		Name: "kernel", Loops: opts.loops(), Open: descriptorOf, Close: loop.Close, Make: p.newWorker,
	})
	if err != nil {
		return Engine{}, err
	}
	if err := p.load(opts.loops(), opts.sockets()); err != nil {
		e.Close()
		return Engine{}, err
	}
	return Engine{e, p}, nil
}

func (o *Options) loops() int {
	if o.Loops <= 0 {
		return 1
	}
	return o.Loops
}

func (o *Options) sockets() int {
	if o.Sockets <= 0 {
		return DefaultSockets
	}
	return o.Sockets
}

// Probe returns nil if this engine can run here, and else why not: it loads the program
// and unloads it.
func Probe() error {
	p, err := loadProgram(1)
	if err != nil {
		return err
	}
	p.close()
	return loop.Probe()
}

// Shutdown implements engine.Engine.
func (e Engine) Shutdown(ctx context.Context) error {
	err := e.Evented.Shutdown(ctx)
	if err == nil {
		e.programs.close()
	}
	return err
}

// Close implements engine.Engine.
func (e Engine) Close() error {
	err := e.Evented.Close()
	e.programs.close()
	return err
}

// Stats implements engine.Engine. What the program has echoed is in it at once, though
// messages and reasons are the server's to see.
func (e Engine) Stats() engine.Stats {
	for {
		before := e.programs.told()
		s := e.Evented.Stats()
		relayed := e.programs.relayed()
		if e.programs.told() == before {
			s.BytesIn += relayed - before
			s.BytesOut += relayed - before
			return s
		}
	}
}

// Relayed returns how many bytes the program has sent back, of those in Stats.
func (e Engine) Relayed() int64 { return e.programs.relayed() }

// descriptorOf returns a new descriptor for the socket of l, which must be of TCP.
func descriptorOf(l net.Listener) (fd int, err error) {
	conn, ok := l.(syscall.Conn)
	if !ok {
		return -1, unfit(l)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, errors.Join(unfit(l), err)
	}
	if _, ok := l.Addr().(*net.TCPAddr); !ok {
		return -1, unfit(l)
	}
	controlErr := raw.Control(func(listener uintptr) {
		fd, err = unix.FcntlInt(listener, unix.F_DUPFD_CLOEXEC, 0)
		err = os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	})
	if controlErr != nil {
		return -1, controlErr
	}
	return fd, err
}

func unfit(l net.Listener) error {
	return &engine.UnfitError{Engine: "kernel", Why: fmt.Sprintf("TCP sockets only, and a %T is none", l)}
}
