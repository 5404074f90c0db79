package sock

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"yodel/trace"
)

// An opening is the making of one socket. Package net makes the calls; between
// socket(2) and the next one it calls control, where the descriptor is learnt and
// options are set.
type opening struct {
	addr  Address // as asked, but for its network's plain name
	opts  *Options
	id    trace.ConnID
	side  trace.Side
	to    netip.AddrPort // whom it will connect to; not valid for listeners and Unix sockets
	sets  []sockopt
	unix  bool // no options of the Internet's
	fd    int
	ready time.Time // when the socket was ready to be bound or connected
	ended time.Time // when it was connected, or was not
}

// control is called by package net as net.ListenConfig.Control and
// net.Dialer.Control.
func (o *opening) control(_, _ string, c syscall.RawConn) error {
	return control(c, func(fd uintptr) error {
		o.fd = int(fd)
		o.emit(trace.Event{Op: trace.Socket, Remote: o.to})
		err := o.prepare(fd)
		o.ready = time.Now()
		return err
	})
}

func (o *opening) prepare(fd uintptr) error {
	if o.unix {
		return o.prepareUnix(fd)
	}
	if o.opts.Device != "" {
		if err := bindToDevice(fd, o.opts.Device); err != nil {
			return err
		}
	}
	if o.addr.Network != "udp" {
		if err := o.opts.checkMPTCP(fd); err != nil {
			return err
		}
	}
	return setAll(fd, o.sets)
}

// emit completes e and gives it to the sink.
func (o *opening) emit(e trace.Event) {
	if o.opts.Sink == nil {
		return
	}
	e.Conn, e.Side, e.Network = o.id, o.side, o.addr.Network
	if e.Op != trace.Resolve {
		e.FD = o.fd
	}
	if e.Network == "unix" {
		e.Path = o.addr.Path
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	o.opts.Sink.Emit(&e)
}

// resolve returns the addresses of the host that the options allow, at least one,
// and how long the look-up took: 0 for an IP address. The error is a
// *ResolveError.
func (o *opening) resolve(ctx context.Context) ([]netip.Addr, time.Duration, error) {
	host := o.addr.Host
	if ip, err := netip.ParseAddr(host); err == nil {
		addrs, err := o.allowed(host, []netip.Addr{ip})
		return addrs, 0, err
	}
	began := time.Now()
	found, err := o.opts.resolver().preferred(ctx, host)
	took := time.Since(began)
	o.emit(trace.Event{Op: trace.Resolve, Took: took, Name: host, Text: join(found), Err: err})
	if err != nil {
		return nil, took, err
	}
	addrs, err := o.allowed(host, found)
	return addrs, took, err
}

// allowed returns the addresses of the family, and of the source's, that was
// asked for.
func (o *opening) allowed(host string, addrs []netip.Addr) ([]netip.Addr, error) {
	family := o.opts.Family
	if src := o.opts.Source; o.side == trace.Client && src.IsValid() {
		if !family.has(src) {
			return nil, &ResolveError{Host: host, Err: familyError{family, []netip.Addr{src}, "the source address"}}
		}
		family = familyOf(src)
	}
	var fit []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); family.has(a) && !slices.Contains(fit, a) {
			fit = append(fit, a)
		}
	}
	if len(fit) == 0 {
		return nil, &ResolveError{Host: host, Err: familyError{family, addrs, "it"}}
	}
	return fit, nil
}

func join(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, " ")
}
