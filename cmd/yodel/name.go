package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"yodel/internal/escape"
	"yodel/sock"
)

// nameFlags are the flags of name.
type nameFlags struct {
	json    bool
	timeout time.Duration
}

func newName(io std) *cobra.Command {
	f := &nameFlags{}
	cmd := &cobra.Command{
		Use:   "name HOST|ADDRESS|PORT...",
		Short: "Hosts as sets of addresses, addresses as names, ports as services",
		Long: `Hosts as sets of addresses, addresses as names, and ports as services, both ways. For
each address it shows the bytes in network order, the names that its owner claims for
it, and whether each of them leads back to the address.`,
		Example: "  yodel name localhost\n  yodel name 127.0.0.1 ::1\n  yodel name 80 smtp",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r sock.Resolver
			for _, arg := range args {
				if err := f.show(cmd.Context(), io, &r, arg); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON lines")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 5*time.Second, "how long one answer may take")
	return cmd
}

// answer is what name tells of one argument: the JSON line, and the source of the
// text.
type answer struct {
	Type      string        `json:"type"`
	Time      string        `json:"time"`
	Query     string        `json:"query"`
	Addresses []addressLine `json:"addresses,omitempty"`
	Port      *portLine     `json:"port,omitempty"`
}

type addressLine struct {
	Address string     `json:"address"`
	Bytes   string     `json:"bytes"` // in network order, hex
	Names   []nameLine `json:"names"`
	Error   string     `json:"error,omitempty"` // why there are no names
}

type nameLine struct {
	Name      string `json:"name"`
	Confirmed bool   `json:"confirmed"`
}

type portLine struct {
	Port  uint16 `json:"port"`
	Bytes string `json:"bytes"`
	TCP   string `json:"tcp,omitempty"` // the service's name over each
	UDP   string `json:"udp,omitempty"`
}

func (f *nameFlags) show(ctx context.Context, io std, r *sock.Resolver, query string) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	a := answer{Type: "name", Time: time.Now().UTC().Format(time.RFC3339Nano), Query: query}
	port, isPort, err := portOf(query)
	if err != nil {
		return err
	}
	if isPort {
		a.Port = &portLine{
			Port: port, Bytes: fmt.Sprintf("% x", sock.NetworkPort(port)),
			TCP: sock.ServiceName("tcp", port), UDP: sock.ServiceName("udp", port),
		}
	} else {
		addrs, err := r.Lookup(ctx, query)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			a.Addresses = append(a.Addresses, addressOf(ctx, r, addr))
		}
	}
	if f.json {
		return json.NewEncoder(io.out).Encode(a)
	}
	a.print(io)
	return nil
}

// portOf reads a port's number, or the name of a service; ok is false for what is
// neither.
func portOf(query string) (port uint16, ok bool, err error) {
	if strings.Trim(query, "0123456789") == "" {
		n, err := strconv.ParseUint(query, 10, 16)
		if err != nil {
			return 0, false, usagef("%q is no port: ports are numbers from 0 to 65535", escape.StringN(query, 80))
		}
		return uint16(n), true, nil
	}
	for _, network := range []string{"tcp", "udp"} {
		if port, err := sock.ServicePort(network, query); err == nil {
			return port, true, nil
		}
	}
	return 0, false, nil
}

func addressOf(ctx context.Context, r *sock.Resolver, addr netip.Addr) addressLine {
	line := addressLine{Address: addr.String(), Bytes: fmt.Sprintf("% x", sock.NetworkBytes(addr)), Names: []nameLine{}}
	names, err := r.LookupAddr(ctx, addr)
	if err != nil {
		line.Error = err.Error()
	}
	for _, n := range names {
		line.Names = append(line.Names, nameLine{escape.String(n.Name), n.Confirmed})
	}
	return line
}

func (a *answer) print(io std) {
	fmt.Fprintln(io.out, escape.String(a.Query))
	for _, l := range a.Addresses {
		fmt.Fprintf(io.out, "  address %s, in network order %s\n", l.Address, l.Bytes)
		for _, n := range l.Names {
			verdict := "leads back to it"
			if !n.Confirmed {
				verdict = "does not lead back to it"
			}
			fmt.Fprintf(io.out, "    name %s, which %s\n", n.Name, verdict)
		}
		if l.Error != "" {
			fmt.Fprintf(io.out, "    no name: %s\n", l.Error)
		}
	}
	if p := a.Port; p != nil {
		fmt.Fprintf(io.out, "  port %d, in network order %s\n", p.Port, p.Bytes)
		for _, l := range []struct{ network, service string }{{"tcp", p.TCP}, {"udp", p.UDP}} {
			if l.service != "" {
				fmt.Fprintf(io.out, "    service %s over %s\n", l.service, l.network)
			}
		}
	}
}
