package main

import (
	"errors"
	"runtime"
	"slices"
	"strings"

	"yodel"
	"yodel/engine"
	"yodel/engine/epoll"
	"yodel/engine/goroutine"
	"yodel/engine/iterative"
	"yodel/engine/kernel"
	"yodel/engine/process"
	"yodel/engine/uring"
)

// engineRow is one engine that serve offers.
type engineRow struct {
	name  string
	about string

	oneAtATime bool // a second client waits for the first
	loops      bool // it has event loops, --loops of them
	children   bool // its work is done by other processes, and so is their CPU time spent
	privileged bool // it is made with privileges that it does not need once it is

	// probe returns nil if this machine can run the engine, and else an error that says
	// what it lacks: the system, a privilege, a version of the kernel. A nil probe is
	// that of an engine for all machines.
	probe func() error

	// make returns the engine for the service of a plan, with the settings of f. An
	// error that wraps engine.ErrUnfit says that it can't run that.
	make func(p plan, f *serveFlags, cfg *engine.Config) (engine.Engine, error)
}

// engineRows are engines, in the order in which auto tries them.
type engineRows []engineRow

// engines are all that serve offers.
var engines = engineRows{
	{
		name: "uring", about: "event loops over io_uring, one for each processor", loops: true,
		probe: uring.Probe,
		make: func(p plan, f *serveFlags, cfg *engine.Config) (engine.Engine, error) {
			return uring.New(p.service(f), cfg, &uring.Options{Loops: f.loops})
		},
	},
	{
		name: "epoll", about: "event loops over epoll, one for each processor", loops: true,
		probe: epoll.Probe,
		make: func(p plan, f *serveFlags, cfg *engine.Config) (engine.Engine, error) {
			return epoll.New(p.service(f), cfg, &epoll.Options{Loops: f.loops})
		},
	},
	{
		name: "goroutine", about: "a goroutine for each connection",
		make: func(p plan, f *serveFlags, cfg *engine.Config) (engine.Engine, error) {
			return goroutine.New(p.service(f), cfg)
		},
	},
	{
		name: "process", about: "a process for each connection: the lecture's fork", children: true,
		probe: process.Probe,
		make:  newProcess,
	},
	{
		name: "iterative", about: "one client at a time; others wait in the accept queue", oneAtATime: true,
		make: func(p plan, f *serveFlags, cfg *engine.Config) (engine.Engine, error) {
			return iterative.New(p.service(f), cfg)
		},
	},
	{ // the last, so that auto never comes to it
		name: "kernel", about: "echo by a program inside the kernel, without waking this one", loops: true, privileged: true,
		probe: kernel.Probe,
		make: func(p plan, f *serveFlags, cfg *engine.Config) (engine.Engine, error) {
			if p.addr.Network == "unix" {
				return nil, &engine.UnfitError{Engine: "kernel", Why: "TCP only"}
			}
			return kernel.New(p.service(f), cfg, &kernel.Options{Loops: f.loops})
		},
	},
}

// datagrams is what serves datagrams, whatever the engine of connections.
const datagrams = "datagrams"

// auto is the engine's name that leaves the choice to us.
const auto = "auto"

// tryMake is make, where the machine can run the engine.
func (row *engineRow) tryMake(p plan, f *serveFlags, cfg *engine.Config) (engine.Engine, error) {
	if row.probe != nil {
		if err := row.probe(); err != nil {
			return nil, err
		}
	}
	return row.make(p, f, cfg)
}

// can reports whether the engine runs p here.
func (row *engineRow) can(p plan, f *serveFlags, cfg *engine.Config) bool {
	p.made = nil // it is asked for the form alone
	eng, err := row.tryMake(p, f, cfg)
	if err != nil {
		return false
	}
	eng.Close()
	return true
}

// here returns the engines that this machine can run.
func (rows engineRows) here() engineRows {
	return slices.DeleteFunc(slices.Clone(rows), func(e engineRow) bool { return e.probe != nil && e.probe() != nil })
}

// choice is an engine that was made for a service.
type choice struct {
	engine.Engine
	row *engineRow

	// passedOver says which engines auto would rather have taken, and why it did not.
	passedOver string
}

// open returns the engine that f names, for p: auto is the first that can run it.
// Datagrams have one loop, whatever the engine.
func (rows engineRows) open(p plan, f *serveFlags, cfg *engine.Config) (*choice, error) {
	var not reasons
	for i := range rows {
		row := &rows[i]
		if f.engine != auto && f.engine != row.name {
			continue
		}
		eng, err := row.tryMake(p, f, cfg)
		if err == nil {
			return &choice{eng, row, not.String()}, nil
		}
		not.add(row.name, err)
	}
	return nil, usagef("%s over %s: engine %s; these can: %s",
		p.row.name, p.addr.Network, not, strings.Join(rows.able(p, f, cfg), ", "))
}

// reasons say why engines can't, those with the same reason together.
type reasons []struct{ engines, why string }

func (r *reasons) add(engine string, err error) {
	why := whyNot(err)
	for i := range *r {
		if same := &(*r)[i]; same.why == why {
			same.engines += ", " + engine
			return
		}
	}
	*r = append(*r, struct{ engines, why string }{engine, why})
}

// String returns the reasons as text.
func (r reasons) String() string {
	var list []string
	for _, of := range r {
		list = append(list, of.engines+": "+of.why)
	}
	return strings.Join(list, "; ")
}

// whyNot returns what err, of tryMake, says is missing.
func whyNot(err error) string {
	var unfit *engine.UnfitError
	switch {
	case errors.As(err, &unfit):
		return unfit.Why
	case errors.Is(err, errors.ErrUnsupported) && strings.Contains(err.Error(), " on "+runtime.GOOS):
		return "not on " + runtime.GOOS // so those of the same kind are said together
	}
	return err.Error()
}

// able returns the engines that can run p here.
func (rows engineRows) able(p plan, f *serveFlags, cfg *engine.Config) []string {
	var names []string
	for _, row := range rows {
		if row.can(p, f, cfg) {
			names = append(names, row.name)
		}
	}
	return names
}

// names lists what --engine may be.
func (rows engineRows) names() string {
	names := []string{auto}
	for _, row := range rows {
		names = append(names, row.name)
	}
	return strings.Join(names, ", ")
}

// has reports whether there is an engine of that name.
func (rows engineRows) has(name string) bool {
	return slices.ContainsFunc(rows, func(e engineRow) bool { return e.name == name })
}

// withLoops returns the engines with event loops.
func (rows engineRows) withLoops() (names []string) {
	for _, row := range rows {
		if row.loops {
			names = append(names, row.name)
		}
	}
	return names
}

// mayLoop reports whether the engine may be one with event loops.
func (f *serveFlags) mayLoop() bool {
	return f.engine == auto || slices.Contains(engines.withLoops(), f.engine)
}

// mostLoops is the greatest --loops: each has a thread and some descriptors.
const mostLoops = 1024

// checkEngine refuses settings that no engine has.
func (f *serveFlags) checkEngine() error {
	if f.engine != auto && !engines.has(f.engine) {
		return usagef("there is no engine %q; there are %s", f.engine, engines.names())
	}
	if f.loops < 0 || f.loops > mostLoops {
		return usagef("--loops %d: give a number from 1 to %d, or 0 for one for each processor", f.loops, mostLoops)
	}
	if f.loops != 0 && !f.mayLoop() {
		return usagef("--loops is for the engines with event loops: %s, or %s where it takes one of them",
			strings.Join(engines.withLoops(), ", "), auto)
	}
	if f.children != 0 && f.engine != "process" {
		return usagef("--max-children is for --engine process")
	}
	if f.children < 0 {
		return usagef("--max-children %d: give a positive number, or 0 for the default", f.children)
	}
	return nil
}

// replier returns the datagram form of p's service, or a usage error that says which
// services have one.
func replier(p plan, f *serveFlags) (yodel.Replier, error) {
	if r, ok := p.row.make(f).(yodel.Replier); ok {
		return r, nil
	}
	var names []string
	for _, s := range services {
		if _, ok := s.make(f).(yodel.Replier); ok {
			names = append(names, s.name)
		}
	}
	return nil, usagef("%s has no datagram form; over udp there are %s", p.row.name, strings.Join(names, ", "))
}
