package sock

import (
	"errors"
	"fmt"
	"net"

	"yodel/trace"
)

// introduce sends the PROXY header that Options.ProxyHeader asks for. A new socket has
// room for it, so this does not block. Like TLS it is none of the payload: the sums of
// the connection are without it, and a Note of the trace has it.
func (d *dialing) introduce(c *Conn) error {
	version := d.opts.ProxyHeader
	if version == 0 {
		return nil
	}
	pair, err := d.introduced(c.raw)
	if err != nil {
		return err
	}
	head, err := ProxyHeader(version, pair)
	if err != nil {
		return err
	}
	if _, err := c.raw.Write(head); err != nil {
		return err
	}
	if d.opts.Sink != nil {
		e := c.event(trace.Note)
		e.Text = fmt.Sprintf("sent a PROXY header of version %d, %d bytes, for %v", version, len(head), pair)
		d.opts.Sink.Emit(&e)
	}
	return nil
}

// introduced returns the pair that the header tells of. A Unix socket has none, and its
// header says so.
func (d *dialing) introduced(raw net.Conn) (Pair, error) {
	pair, src := PairOf(raw, trace.Client), d.opts.ProxySource
	switch {
	case d.addr.Network == "udp":
		return Pair{}, errors.New("datagrams have none: leave it out")
	case !src.IsValid():
		return pair, nil
	case !pair.IsValid():
		return Pair{}, fmt.Errorf("%v can't have called a Unix socket: leave the source out", src)
	case familyOf(src.Addr()) != familyOf(pair.Server.Addr()):
		return Pair{}, fmt.Errorf("%v can't have called %v: give a source of the same version of IP", src, pair.Server)
	}
	pair.Client = unmapped(src)
	return pair, nil
}

// notIntroduced is the error of Dial for one of introduce.
func (d *dialing) notIntroduced(raw net.Conn, err error) error {
	failed := Attempt{Addr: trace.AddrPort(raw.RemoteAddr()), Took: d.phases.Connect, Err: &introduceError{err}}
	return &ConnectError{Address: d.addr, Attempts: []Attempt{failed}}
}

// An introduceError says why there was no PROXY header, on a connection that was made.
type introduceError struct{ error }

func (e *introduceError) Error() string { return "PROXY header: " + reason(cause(e.error)) }

func (e *introduceError) Unwrap() error { return e.error }
