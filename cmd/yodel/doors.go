package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"

	"yodel/engine"
	"yodel/internal/users"
	"yodel/sock"
)

// Services that do their own I/O open folders, files and programs. So they are made
// late: when the sockets are bound and root is given up, as whoever then runs them.

// doorForm is a service of that kind where only its form is asked for.
type doorForm struct{}

// ServeConn is never called.
func (doorForm) ServeConn(net.Conn) {}

func doorFormOf(*serveFlags) any { return doorForm{} }

// service returns the service of a plan.
func (p plan) service(f *serveFlags) any {
	if p.made != nil {
		return p.made
	}
	return p.row.make(f)
}

// door is a service that is shared by all addresses that have the same flags.
type door struct {
	service any
	moved   *dataBytes
}

// dataBytes counts what has gone over connections that a service makes for itself.
type dataBytes struct{ in, out atomic.Int64 }

func (m *dataBytes) add(in, out int64) {
	m.in.Add(in)
	m.out.Add(out)
}

// doorKey says whose a door is.
type doorKey struct {
	row   *serviceRow
	flags *serveFlags
}

// pending is a listener whose service is not made yet.
type pending struct{ net.Listener }

// Stats returns nothing: nobody was served.
func (pending) Stats() engine.Stats { return engine.Stats{} }

// Shutdown closes the listener.
func (p pending) Shutdown(context.Context) error { return p.Close() }

// counted is an engine of a service that has connections of its own, which count too.
type counted struct {
	stopper
	moved *dataBytes
}

// Stats returns the sums.
func (c counted) Stats() engine.Stats {
	st := c.stopper.Stats()
	st.BytesIn += c.moved.in.Load()
	st.BytesOut += c.moved.out.Load()
	return st
}

// isDoor reports whether the service does its own I/O.
func (row *serviceRow) isDoor() bool { return row.open != nil }

// checkService returns what is wrong with the settings of p's service.
func (s *server) checkService(p plan) error {
	f := s.flagsOf(p)
	if !p.row.isDoor() {
		return nil
	}
	if p.row.runs && os.Geteuid() == 0 && !s.flags.userGiven {
		if p.row.name != "web" || f.cgi != "" {
			return usagef("%s runs programs for others, and not as root: give up root with --user NAME, or start as another user", p.row.name)
		}
	}
	if p.row.check == nil {
		return nil
	}
	return p.row.check(p, f)
}

// openDoors makes the services that do their own I/O, and their engines.
func (s *server) openDoors() error {
	for _, sv := range s.served {
		if sv.complete == nil {
			continue
		}
		if err := sv.complete(); err != nil {
			return sv.plan.error(err)
		}
		sv.complete = nil
	}
	return nil
}

// complete makes the service and the engine for a listener.
func (s *server) complete(sv *served, cfg *engine.Config) error {
	d, err := s.door(sv.plan)
	if err != nil {
		return err
	}
	p := sv.plan
	p.made = d.service
	eng, err := sv.row.tryMake(p, s.flagsOf(p), cfg)
	if err != nil {
		return err
	}
	sv.stopper, sv.serve = counted{eng, d.moved}, func() error { return eng.Serve(sv.listener.Plain()) }
	return nil
}

// door returns the service of p, which is made once for all addresses with its flags.
func (s *server) door(p plan) (*door, error) {
	key := doorKey{p.row, s.flagsOf(p)}
	if d := s.doors[key]; d != nil {
		return d, nil
	}
	d := &door{moved: &dataBytes{}}
	var err error
	if d.service, err = p.row.open(s, p, d.moved); err != nil {
		return nil, fmt.Errorf("%s: %w", p.row.name, err)
	}
	if s.doors == nil {
		s.doors = make(map[doorKey]*door)
	}
	s.doors[key] = d
	return d, nil
}

// usersFile returns the password file of a path, opened once: who has failed at one
// service waits at all of them.
func (s *server) usersFile(path string) (*users.File, error) {
	if path == "" {
		return nil, nil
	}
	if f := s.users[path]; f != nil {
		return f, nil
	}
	f, err := users.Open(path, nil)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("--users: %w; yodel passwd %s NAME makes it", err, path)
	case err != nil:
		return nil, fmt.Errorf("--users: %w", err)
	}
	if s.users == nil {
		s.users = make(map[string]*users.File)
	}
	s.users[path] = f
	return f, nil
}

// admitData admits a connection that a service makes beside those that it is given.
func (s *server) admitData(peer netip.AddrPort) (release func(), err error) {
	pass, why := s.gate.Enter(peer)
	if why != engine.None {
		return nil, errors.New(why.String())
	}
	return pass.Leave, nil
}

// isBelow reports whether path is folder, or below it, links followed.
func isBelow(path, folder string) bool {
	path, errPath := real(path)
	folder, errFolder := real(folder)
	if errPath != nil || errFolder != nil {
		return false
	}
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}

func real(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// isLoopback reports whether only this host reaches a.
func isLoopback(a sock.Address) bool {
	if a.Network == "unix" || a.Host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(a.Host)
	return err == nil && ip.IsLoopback()
}
