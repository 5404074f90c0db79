package main

import (
	"fmt"
	"strings"

	"yodel/sock"
)

// takePassed gives sockets that were passed to this program to plans.
func (s *server) takePassed(plans []plan) ([]plan, error) {
	passed, err := sock.PassedSockets(s.options(s.flags, sock.Address{}))
	if err != nil {
		return nil, fmt.Errorf("socket activation: %w", err)
	}
	plans, err = withPassed(plans, passed)
	if err != nil {
		for _, p := range passed {
			p.Close()
		}
	}
	return plans, err
}

// withPassed gives the sockets that whoever started this program has opened for it to
// the plans that have no address. A socket that bears a service's name (that name, or
// NAME.socket, as systemd calls the sockets of such a unit) is for that service, which
// may have several; the others go, in their order, to those that have none by name. A
// socket that is left over, and a plan that is left without, are mistakes: what was
// meant cannot be known.
func withPassed(plans []plan, passed []sock.Passed) ([]plan, error) {
	if len(passed) == 0 {
		return plans, nil
	}
	takes := make([][]sock.Passed, len(plans))
	var rest []sock.Passed
	for _, p := range passed {
		name := strings.TrimSuffix(p.Name, ".socket")
		if serviceNamed(name) == nil {
			rest = append(rest, p)
			continue
		}
		i := takerOf(name, plans, takes)
		if i < 0 {
			return nil, leftOver(p)
		}
		takes[i] = append(takes[i], p)
	}
	for i := range plans {
		if !plans[i].given && takes[i] == nil && len(rest) > 0 {
			takes[i], rest = rest[:1], rest[1:]
		}
	}
	if len(rest) > 0 {
		return nil, leftOver(rest[0])
	}
	return distributed(plans, takes, passed)
}

// takerOf returns the plan for the next socket of a service's name: the first that
// has none yet, else the last; -1 if there is no plan for it.
func takerOf(name string, plans []plan, takes [][]sock.Passed) int {
	last := -1
	for i, p := range plans {
		if p.given || p.row.name != name {
			continue
		}
		if last = i; takes[i] == nil {
			return i
		}
	}
	return last
}

// distributed returns a plan for each socket, and those that have an address.
func distributed(plans []plan, takes [][]sock.Passed, passed []sock.Passed) ([]plan, error) {
	var all []plan
	for i, p := range plans {
		if p.given {
			all = append(all, p)
			continue
		}
		if takes[i] == nil {
			return nil, usagef("%s has no address, and no socket is left for it of those that were passed, %s: give it an address, as %s@:%d, or pass it a socket",
				p.row.name, strings.Join(allInWords(passed), ", "), p.row.name, p.row.port)
		}
		overTLS := p.addr.Network == "tls"
		for _, s := range takes[i] {
			p.passed, p.addr = s, addressOfPassed(s)
			if overTLS {
				if p.addr.Network != "tcp" {
					return nil, usagef("%s@tls://: TLS is for TCP, and the passed socket is %s", p.row.name, inWords(s))
				}
				p.addr.Network = "tls"
			}
			all = append(all, p)
		}
	}
	return all, nil
}

func leftOver(p sock.Passed) error {
	return usagef("the passed socket %s is for none of the services: name the one it is for, without an address", inWords(p))
}

func allInWords(passed []sock.Passed) []string {
	var all []string
	for _, p := range passed {
		all = append(all, inWords(p))
	}
	return all
}

func inWords(p sock.Passed) string {
	if p.Name == "" {
		return addressOfPassed(p).String() + " (no name)"
	}
	return fmt.Sprintf("%s (%q)", addressOfPassed(p), p.Name)
}

func addressOfPassed(p sock.Passed) sock.Address {
	if p.Listener != nil {
		return p.Listener.Address()
	}
	return p.PacketConn.Address()
}

func (p plan) isPassed() bool { return p.passed != sock.Passed{} }
