package main

import (
	"slices"
	"strings"

	"yodel"
	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/engine/iterative"
)

// engineRow is one engine that serve offers.
type engineRow struct {
	name  string
	about string

	oneAtATime bool // a second client waits for the first

	make func(svc any, cfg *engine.Config) (engine.Engine, error)
}

// engines are all that serve offers, the one that auto takes first.
var engines = []engineRow{
	{
		name: "goroutine", about: "a goroutine for each connection",
		make: func(svc any, cfg *engine.Config) (engine.Engine, error) { return goroutine.New(svc, cfg) },
	},
	{
		name: "iterative", about: "one client at a time; others wait in the accept queue", oneAtATime: true,
		make: func(svc any, cfg *engine.Config) (engine.Engine, error) { return iterative.New(svc, cfg) },
	},
}

// engineFor returns the engine that name, "auto" or an engine's, means for p.
// Datagrams have one loop, whatever the engine.
func engineFor(name string, p plan) (*engineRow, error) {
	if name == "auto" {
		return &engines[0], nil
	}
	i := slices.IndexFunc(engines, func(e engineRow) bool { return e.name == name })
	if i < 0 {
		return nil, usagef("there is no engine %q; %s can run %s", name, engineNames(), p.row.name)
	}
	return &engines[i], nil
}

func engineNames() string {
	names := []string{"auto"}
	for _, e := range engines {
		names = append(names, e.name)
	}
	return strings.Join(names, ", ")
}

// replier returns the datagram form of svc, or a usage error that says which
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
