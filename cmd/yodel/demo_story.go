package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"yodel/story"
	"yodel/trace"
)

// demoStory is what is kept of the conversation, to be told at the end.
type demoStory struct {
	client bytes.Buffer // its trace
	lines  *trace.Writer
	tap    *wiretap // nil: the packets may not be watched
	why    error    // why not
	told   *story.Telling
	calls  []trace.Event // of both programs, in order
}

// newDemoStory begins to watch, if it may. It is called before anything that is to be seen
// happens.
func newDemoStory(s std) *demoStory {
	d := &demoStory{}
	s.err = io.Discard
	d.tap, d.why = tapOwn(s, true) // the servers to come may need what capturing has needed
	d.lines = trace.NewWriter(&d.client)
	return d
}

// sink takes the client's calls.
func (d *demoStory) sink() trace.Sink { return trace.EachCall(d.lines) }

// finish has the story told of what was seen and of the server's trace.
func (d *demoStory) finish(ctx context.Context, serverTrace string) error {
	if err := d.lines.Close(); err != nil {
		return err
	}
	server, err := os.ReadFile(serverTrace)
	if err != nil {
		return err
	}
	sources := []story.Source{
		{Name: "the client's trace", R: bytes.NewReader(d.client.Bytes())},
		{Name: "the server's trace", R: bytes.NewReader(server)},
	}
	if d.tap != nil {
		packets, err := d.tap.end()
		if err != nil {
			return err
		}
		d.tap = nil
		sources = append(sources, packets)
	}
	for _, file := range [][]byte{d.client.Bytes(), server} {
		if err := d.read(file); err != nil {
			return err
		}
	}
	slices.SortStableFunc(d.calls, func(a, b trace.Event) int { return dialled(&a).Compare(dialled(&b)) })
	d.told, err = story.Tell(ctx, sources, nil)
	return err
}

// dialled is when a call stands in the list: connect() and write() where they begin, before the
// accept() or read() that they cause, and all others where they return.
func dialled(e *trace.Event) time.Time {
	if e.Op == trace.Connect || e.Op == trace.Write {
		return e.Time.Add(-e.Took)
	}
	return e.Time
}

// close ends the watch if finish did not.
func (d *demoStory) close() {
	if d.tap != nil {
		d.tap.end()
	}
}

func (d *demoStory) read(file []byte) error {
	for r := trace.NewReader(bytes.NewReader(file)); ; {
		e, err := r.Next()
		if err != nil {
			return notEOF(err)
		}
		if e.Side != "" {
			d.calls = append(d.calls, e)
		}
	}
}

// show prints the calls, each with what one does with a telephone, and the story.
func (d *demoStory) show(w io.Writer) error {
	fmt.Fprint(w, "\nThe conversation above, once more, call by call, as if sockets were telephones:\n\n")
	for i := range d.calls {
		e := &d.calls[i]
		call, means := onTheTelephone(e)
		if call == "" {
			continue
		}
		fmt.Fprintf(w, "  %-7s %-14s %s\n", e.Side, call, means)
	}
	fmt.Fprintln(w, "\nAnd as its story: what each program called, what the wire carried, and who kept whom waiting:")
	fmt.Fprintln(w)
	v := &story.TextView{W: w, Width: story.NarrowWidth}
	var errs []error
	for _, one := range d.told.Stories {
		errs = append(errs, v.Show(one))
	}
	if d.why != nil {
		fmt.Fprintln(w, "\nThe wire is not shown, for that takes privilege: as root, there are packets between the calls.")
	}
	return errors.Join(errs...)
}

// onTheTelephone says what a call is when a socket is a telephone.
func onTheTelephone(e *trace.Event) (call, means string) {
	switch e.Op {
	case trace.Socket:
		return fmt.Sprintf("socket() = %d", e.FD), "gets a telephone"
	case trace.Bind:
		return "bind()", fmt.Sprintf("is given a number: %v", e.Local)
	case trace.Listen:
		return "listen()", "plugs it in: from now on it can ring"
	case trace.Connect:
		return "connect()", fmt.Sprintf("dials %v, and waits until it is put through", e.Remote)
	case trace.Accept:
		return fmt.Sprintf("accept() = %d", e.FD), "picks up, on a line for this caller: the telephone is free for the next one"
	case trace.Write:
		return fmt.Sprintf("write() = %d", e.Bytes), "speaks"
	case trace.Read:
		return fmt.Sprintf("read() = %d", e.Bytes), "hears"
	case trace.EOF:
		return "read() = 0", "hears that the other has hung up"
	case trace.Close:
		if !e.Remote.IsValid() { // the socket that listened
			return "close()", "unplugs the telephone"
		}
		return "close()", "hangs up"
	}
	return "", ""
}
