// Outside is a program of another module that takes yodel's packages as a library:
// one line goes to a server and comes back, and the trace tells which system calls
// that took.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"yodel/rio"
	"yodel/sock"
	"yodel/trace"
)

const maxLine = 80

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer) error {
	var told recorder
	opts := &sock.Options{Sink: &told}
	listener, err := sock.Listen(ctx, sock.Address{Network: "tcp", Host: "127.0.0.1"}, opts)
	if err != nil {
		return err
	}
	defer listener.Close()

	served := make(chan error, 1)
	go func() { served <- echoLine(listener) }()

	conn, err := sock.Dial(ctx, listener.Address(), opts)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := rio.WriteFull(conn, []byte("hello there\n")); err != nil {
		return err
	}
	line, err := rio.NewReader(conn, maxLine, rio.RefuseLong).ReadLine()
	if err != nil {
		return err
	}
	if err := <-served; err != nil {
		return err
	}
	fmt.Fprintf(w, "%scalls: %s\n", line, told.String())
	return nil
}

// echoLine sends the first line of one client back to it.
func echoLine(l *sock.Listener) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	line, err := rio.NewReader(conn, maxLine, rio.RefuseLong).ReadLine()
	if err != nil {
		return err
	}
	_, err = rio.WriteFull(conn, line)
	return err
}

// A recorder keeps what both ends did, in the order in which they did it.
type recorder struct {
	mu  sync.Mutex
	ops []string
}

func (r *recorder) Emit(e *trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, string(e.Op))
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.ops, " ")
}
