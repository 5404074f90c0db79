package main

import (
	"slices"
	"strings"

	"yodel"
	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/engine/iterative"
	"yodel/engine/process"
)

// engineRow is one engine that serve offers.
type engineRow struct {
	name  string
	about string

	oneAtATime bool // a second client waits for the first
	children   bool // its work is done by other processes, and so is their CPU time spent

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

// open returns the engine that f names, for p: auto is the first that can run it.
// Datagrams have one loop, whatever the engine.
func (rows engineRows) open(p plan, f *serveFlags, cfg *engine.Config) (*engineRow, engine.Engine, error) {
	row := rows.chosen(f.engine, p, f, cfg)
	eng, err := row.tryMake(p, f, cfg)
	if err != nil {
		return nil, nil, usagef("%s over %s: engine %s: %w; these can: %s",
			p.row.name, p.addr.Network, row.name, err, strings.Join(rows.able(p, f, cfg), ", "))
	}
	return row, eng, nil
}

// chosen returns the row of the engine that name means for p. If auto finds none, it
// is the first, which can say why.
func (rows engineRows) chosen(name string, p plan, f *serveFlags, cfg *engine.Config) *engineRow {
	for i := range rows {
		if row := &rows[i]; row.name == name || name == auto && row.can(p, f, cfg) {
			return row
		}
	}
	return &rows[0]
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

// checkEngine refuses settings that no engine has.
func (f *serveFlags) checkEngine() error {
	if f.engine != auto && !engines.has(f.engine) {
		return usagef("there is no engine %q; there are %s", f.engine, engines.names())
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
