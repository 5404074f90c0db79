package jury

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"yodel/story"
	"yodel/trace"
)

// ours are connections of programs with package trace, whose traces story is given beside
// the captures: it must tell the accept queue from the handler then.
var ours = []fault{
	{name: "ours: nothing", do: func(r *round, _ context.Context) error { return r.ours(0, 0, "") }, true: []story.Verdict{story.ClosedByClient}},
	{name: "ours: accept() comes late", do: func(r *round, _ context.Context) error { return r.ours(r.hold, 0, "") }, true: []story.Verdict{story.AcceptQueue}},
	{name: "ours: slow handler", do: func(r *round, _ context.Context) error { return r.ours(0, r.hold, "") }, true: []story.Verdict{story.Handler}},
	{name: "ours: loss there", do: func(r *round, _ context.Context) error { return r.ours(0, 0, toServer) }, true: there},
	{name: "ours: loss back", do: func(r *round, _ context.Context) error { return r.ours(0, 0, toClient) }, true: back},
}

// ours has a client and a server of ours talk, both in this process, each on its host.
func (r *round) ours(late, slow time.Duration, lossy string) error {
	sinks := [2]*trace.Writer{}
	for i := range sinks {
		r.traces[i] = &bytes.Buffer{}
		sinks[i] = trace.NewWriter(r.traces[i])
		defer sinks[i].Close()
	}
	l := r.h.listen(r.h.server, r.at())
	defer l.Close()
	served := make(chan error, 1)
	go func() { served <- r.serveOurs(trace.Listener(l, sinks[1]), late, slow) }()
	if err := r.callOurs(&trace.Dialer{Sink: sinks[0]}, lossy); err != nil {
		return err
	}
	return <-served
}

// serveOurs echoes one connection.
func (r *round) serveOurs(l net.Listener, late, slow time.Duration) error {
	if late > 0 {
		nap(late)
	}
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return notEOF(err)
		}
		if slow > 0 {
			nap(slow)
			slow = 0
		}
		if _, err := io.WriteString(conn, line); err != nil {
			return err
		}
	}
}

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// callOurs says some lines, and loses packets before the last one if it is told to.
func (r *round) callOurs(d *trace.Dialer, lossy string) error {
	var conn net.Conn
	err := inside(r.h.client, func() (err error) {
		conn, err = d.Dial("tcp4", r.at())
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	back := bufio.NewReader(conn)
	for i := range 1 + r.lines {
		if i == r.lines && lossy != "" {
			r.h.nft(r.rule(lossy, "drop"))
			defer time.AfterFunc(r.hold, func() { r.h.nft("") }).Stop()
		}
		if _, err := fmt.Fprintf(conn, "line %d\n", i); err != nil {
			return err
		}
		if _, err := back.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}
