package faults

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// errEnded is what a client meets when the server has ended the connection, by a FIN or
// a reset, at a point where it was owed more.
var errEnded = errors.New("the server has ended the connection")

// A client holds a conversation and compares every byte.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	turn func([]byte) []byte // what the service makes of a line
	rng  *rand.Rand

	sent, got int64 // payload bytes
}

// dial connects to s's service of that network. What the client does fails when ctx ends.
func (s *server) dial(ctx context.Context, network string) (*client, error) {
	var d net.Dialer
	return s.dialWith(ctx, &d, network)
}

func (s *server) dialWith(ctx context.Context, d *net.Dialer, network string) (*client, error) {
	at := s.at[network]
	conn, err := d.DialContext(ctx, network, at.address)
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		conn.SetDeadline(end)
	}
	if at.service == "upper" {
		return newClient(conn, bytes.ToUpper), nil
	}
	return newClient(conn, bytes.Clone), nil
}

func newClient(conn net.Conn, turn func([]byte) []byte) *client {
	return &client{conn: conn, in: bufio.NewReader(conn), turn: turn, rng: rand.New(rand.NewPCG(1, 2))}
}

const letters = "abcdefghijklmnopqrstuvwxyz0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ,"

// line returns a line of n bytes.
func (c *client) line(n int) []byte {
	line := make([]byte, n)
	for i := range line[:n-1] {
		line[i] = letters[c.rng.IntN(len(letters))]
	}
	line[n-1] = '\n'
	return line
}

// say sends a line and wants its answer. The error is errEnded if the server has ended
// the connection and no byte was wrong until then.
func (c *client) say() error {
	line := c.line(1 + c.rng.IntN(200))
	n, err := c.conn.Write(line)
	c.sent += int64(n)
	switch {
	case err == nil:
		return c.want(c.turn(line))
	case isEnd(err):
		return errEnded // wantEnd looks for bytes that came nevertheless
	}
	return fmt.Errorf("sending: %w", err)
}

// want reads what is due.
func (c *client) want(due []byte) error {
	got := make([]byte, len(due))
	n, err := io.ReadFull(c.in, got)
	c.got += int64(n)
	switch {
	case !bytes.Equal(got[:n], due[:n]):
		return fmt.Errorf("wrong bytes: got %q, want the beginning of %q", got[:n], due)
	case isEnd(err):
		return errEnded
	case err != nil:
		return fmt.Errorf("%d of %d bytes came: %w", n, len(due), err)
	}
	return nil
}

// isEnd reports whether err is how a peer sees that the other one has closed.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// end ends our direction, wants the server's end and nothing before it, and closes.
func (c *client) end() error {
	defer c.conn.Close()
	if err := c.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return fmt.Errorf("half-close: %w", err)
	}
	if err := c.wantEnd(); err != io.EOF {
		return fmt.Errorf("wanted the end after the last answer: %w", err)
	}
	return nil
}

// wantEnd returns how the connection ended; nil, never expected, means that bytes came.
func (c *client) wantEnd() error {
	rest, err := io.ReadAll(c.in)
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%d bytes that nobody had asked for: %.100q", len(rest), rest)
	case err == nil:
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the connection stays open: %w", err)
	}
	return err
}

// visit is one short conversation from beginning to end.
func (s *server) visit(ctx context.Context, network string) (*client, error) {
	c, err := s.dial(ctx, network)
	if err != nil {
		return nil, err
	}
	for range 2 {
		if err := c.say(); err != nil {
			c.conn.Close()
			return c, err
		}
	}
	return c, c.end()
}
