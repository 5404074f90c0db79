package main

import (
	"strings"

	"yodel/sock"
)

// plan is one service at one address.
type plan struct {
	row    *serviceRow
	addr   sock.Address
	given  bool        // the address was; else it is the service's own, or a passed socket's
	passed sock.Passed // the socket, if whoever started this program has opened it
	flags  *serveFlags // its own, from a configuration file; nil: those of the command
	made   any         // the service, if that does its own I/O and is made already

	located func(error) error // says where in that file an error of it belongs; nil: nowhere
}

// error says where in a configuration file err belongs, if p is from one.
func (p plan) error(err error) error {
	if p.located == nil {
		return err
	}
	return p.located(err)
}

// parsePlans reads SERVICE[@ADDRESS] words; none stand for upper and echo.
func parsePlans(args []string) ([]plan, error) {
	if len(args) == 0 {
		args = []string{"upper", "echo"}
	}
	plans := make([]plan, 0, len(args))
	for _, arg := range args {
		p, err := parsePlan(arg)
		if err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	return plans, nil
}

func parsePlan(arg string) (plan, error) {
	name, where, has := strings.Cut(arg, "@")
	row := serviceNamed(name)
	if row == nil {
		return plan{}, usagef("there is no service %q; there are %s", name, serviceNames())
	}
	own := sock.Address{Network: "tcp", Host: "localhost", Port: row.port}
	switch {
	case !has:
		return plan{row: row, addr: own}, nil
	case where == "tls://": // the same over TLS
		own.Network = "tls"
		return plan{row: row, addr: own}, nil
	}
	addr, err := sock.ParseAddress(where)
	if err != nil {
		return plan{}, usagef("%s: %w", arg, err)
	}
	switch addr.Network {
	case "tcp", "tls", "udp", "unix":
		return plan{row: row, addr: addr, given: true}, nil
	}
	return plan{}, usagef("%s: %s is served over tcp, tls, udp and unix, not over %s", arg, name, addr.Network)
}

func serviceNames() string {
	var names []string
	for _, s := range services {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}
