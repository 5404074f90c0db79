package call

import (
	"context"
	"io"
	"net"
)

// Pipe carries in to the connection and what the peer sends to out, both ways at once
// and byte by byte as they are. At the end of in it ends our direction (half-close)
// and waits for the peer to end its own. When the peer ends first, Pipe goes on
// sending, since a peer that has said all may still listen: it returns at the end of
// in, or when a write fails.
//
// Memory is bounded: a peer or an out that does not take bytes stops the reading of
// the other side.
//
// Over datagrams each line of in, its newline included, is a datagram, and so is what
// follows the last newline. A line of more than MaxDatagram bytes is an error. What
// comes is written to out one after the other.
//
// The error is a [*BrokenError], which accounts for our bytes, a [*TimeoutError], an
// [*InputError], an [*OutputError], or the cause of ctx.
func Pipe(ctx context.Context, conn net.Conn, in io.Reader, out io.Writer, cfg *Config) error {
	x := begin(ctx, conn, cfg.clone(), 0)
	s := newSender(x, x.source(in))
	return x.end(x.converse(s, func() error { return x.receive(out) }, false))
}

// source returns the source of what Pipe and Verify send.
func (x *exchange) source(in io.Reader) *source {
	if x.packets {
		return datagramSource(in)
	}
	return byteSource(in)
}

// ConnectOnly closes the connection: that it stood is all that was asked. For
// datagrams the error is ErrNoConnection.
func ConnectOnly(conn net.Conn) error {
	defer conn.Close()
	if isPackets(conn) {
		return ErrNoConnection
	}
	return nil
}
