package main

import (
	"yodel/watch"
)

// startWatch begins to show the packets of the first connections, as many as --watch says,
// and returns what ends it.
func (l *loading) startWatch() (end func() error, err error) {
	end = func() error { return nil }
	if l.watch == 0 {
		return end, nil
	}
	var filter watch.Filter
	for _, t := range l.plan.Targets {
		if t.Address.Network == "unix" {
			return end, usagef("--watch: a unix socket has no packets")
		}
		filter.Ports = append(filter.Ports, t.Address.Port)
	}
	return watchOwn(l.std, l.err, filter, func() watch.View {
		return &firstFlows{View: &watch.Diagram{W: l.err}, most: l.watch}
	})
}

// firstFlows shows the first flows only.
type firstFlows struct {
	watch.View
	most  int
	shown map[int64]bool // by number
}

// Show implements watch.View.
func (v *firstFlows) Show(e *watch.Event) error {
	if e.Flow == nil {
		return v.View.Show(e)
	}
	if !v.shown[e.Flow.Number] {
		if len(v.shown) == v.most {
			return nil
		}
		if v.shown == nil {
			v.shown = make(map[int64]bool)
		}
		v.shown[e.Flow.Number] = true
	}
	return v.View.Show(e)
}
