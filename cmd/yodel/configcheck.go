package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"yodel/internal/privilege"
	"yodel/sock"
)

// checkConfig is the command serve --check-config: it says what would be served, and
// binds nothing. The error has all that is wrong.
func checkConfig(ctx context.Context, out std, f *serveFlags, plans []plan) error {
	quiet := *f
	quiet.trace = "" // which would be emptied
	s, err := newServer(std{out.in, io.Discard, out.err}, &quiet)
	if err != nil {
		return err
	}
	defer s.close()
	would, errs := s.checkPlans(ctx, plans)
	admin, err := f.checkAdmin()
	if err := errors.Join(append(errs, err, f.checkUser())...); err != nil {
		return usageError{err}
	}
	for _, sv := range append(would, admin...) {
		sv.foretell(out.out, f.json)
	}
	return nil
}

func (s *server) checkPlans(ctx context.Context, plans []plan) (would []*served, errs []error) {
	for i, p := range plans {
		sv, err := s.check(ctx, p)
		if err == nil {
			err = taken(p, plans[:i])
		}
		if err != nil {
			errs = append(errs, p.error(err))
		}
		would = append(would, sv)
	}
	return would, errs
}

// check does what open does, but for the socket.
func (s *server) check(ctx context.Context, p plan) (*served, error) {
	f := s.flagsOf(p)
	sv := &served{plan: p, at: p.addr, engine: datagrams}
	if err := errors.Join(f.checkEngine(), resolves(ctx, p.addr)); err != nil {
		return nil, err
	}
	if p.addr.Network == "udp" {
		_, err := replier(p, f)
		return sv, err
	}
	if err := s.checkService(p); err != nil {
		return nil, err
	}
	cfg := s.config(p)
	if p.addr.Network == "tls" {
		cert, err := s.certificate(f)
		if err != nil {
			return nil, err
		}
		cfg.TLS = cert.config()
		if cert.certFile != "" { // one that is made for a run is another one each time
			sv.fingerprint = cert.fingerprint()
		}
	}
	c, err := s.engines.open(p, f, cfg)
	if err != nil {
		return nil, err
	}
	sv.engine, sv.passedOver = c.row.name, c.passedOver
	return sv, c.Close()
}

// resolves returns an error if a's host has no address.
func resolves(ctx context.Context, a sock.Address) error {
	if _, err := netip.ParseAddr(a.Host); a.Host == "" || err == nil {
		return nil
	}
	_, err := (&sock.Resolver{}).Lookup(ctx, a.Host)
	return err
}

// taken returns an error if one of others has p's address.
func taken(p plan, others []plan) error {
	for _, o := range others {
		if p.addr.Port == 0 && p.addr.Path == "" || overUDP(p) != overUDP(o) {
			continue
		}
		if p.addr.HostPort() == o.addr.HostPort() {
			return fmt.Errorf("%s is to listen on %v, where %s is to listen too", p.row.name, p.addr, o.row.name)
		}
	}
	return nil
}

func overUDP(p plan) bool { return p.addr.Network == "udp" }

// checkAdmin returns the admin listener that there would be, if any.
func (f *serveFlags) checkAdmin() ([]*served, error) {
	if f.admin == "" {
		return nil, nil
	}
	at, err := adminAddress(f.admin)
	return []*served{{plan: plan{row: &serviceRow{name: "admin"}}, at: at}}, err
}

func (f *serveFlags) checkUser() error {
	if !f.userGiven {
		return nil
	}
	if _, err := privilege.Lookup(f.user); err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	return nil
}

// foretell says what would be served.
func (sv *served) foretell(w io.Writer, asJSON bool) {
	if asJSON {
		json.NewEncoder(w).Encode(sv.line("would-listen"))
		return
	}
	fmt.Fprintf(w, "%s would listen on %s", sv.plan.row.name, sv.at)
	if sv.engine != "" {
		fmt.Fprintf(w, ", %s", sv.engineText())
	}
	if sv.fingerprint != "" {
		fmt.Fprintf(w, ", certificate %s", sv.fingerprint)
	}
	fmt.Fprintln(w)
}
