package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/pflag"

	"yodel/call"
	"yodel/load"
)

// partMessage is a line that a process which runs a part of a plan says on its standard
// output. It is asked by its standard input: a line has it begin, the end of it has it end.
type partMessage struct {
	Opened   bool          `json:"opened,omitempty"` // its connections are made
	Progress *partProgress `json:"progress,omitempty"`
	Report   *load.Partial `json:"report,omitempty"`
}

// partProgress is a load.Progress.
type partProgress struct {
	Elapsed time.Duration
	Counts  load.Counts
	Rate    float64
	Errors  map[load.Class]int64
	Recent  string
}

// runPart is such a process. Ctrl-C at a terminal is its parent's.
func (f *loadFlags) runPart(ctx context.Context, s std, cancel context.CancelCauseFunc) error {
	signal.Ignore(os.Interrupt)
	p := &f.plan
	if n, err := fmt.Sscanf(f.part, "%d/%d", &p.Part.Which, &p.Part.Of); n != 2 {
		return usagef("--part %q: %w", f.part, err)
	}
	say := func(m partMessage) { printJSON(s.out, m) }
	begin := make(chan struct{})
	go func() {
		asked := bufio.NewReader(s.in)
		if _, err := asked.ReadString('\n'); err == nil {
			close(begin)
			io.Copy(io.Discard, asked)
		}
		cancel(call.ErrInterrupted)
	}()
	p.Opened = func() {
		say(partMessage{Opened: true})
		select {
		case <-begin:
		case <-ctx.Done():
		}
	}
	p.Progress = func(p *load.Progress) {
		say(partMessage{Progress: &partProgress{p.Elapsed, p.Counts, p.Rate, p.Errors, load.EncodeHistogram(p.Recent)}})
	}
	r, err := load.Run(ctx, *p)
	if err != nil {
		return asUsage(err)
	}
	say(partMessage{Report: r.Partial()})
	return nil
}

// A part is such a process, as its parent sees it.
type part struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	opened bool
	last   *partProgress
	fresh  bool // last was not shown yet
	report *load.Partial
}

// partEvent is what came from a part: a message, or its end.
type partEvent struct {
	from int
	partMessage
	over bool
	err  error
}

// A parting is a plan that several processes run.
type parting struct {
	*loading
	parts  []*part
	events chan partEvent
}

// inParts runs the plan in several processes, and returns what came of it.
func (l *loading) inParts(ctx context.Context) (*load.Report, error) {
	first := l.plan
	first.Part.Of = l.procs
	if err := first.Check(); err != nil {
		return nil, err
	}
	q := &parting{loading: l, events: make(chan partEvent)}
	var err error
	for i := range l.procs {
		if err = q.start(i); err != nil {
			err = fmt.Errorf("process %d of %d: %w", i+1, l.procs, err)
			break
		}
	}
	if err != nil {
		q.endAll()
	}
	if partErr := q.follow(ctx); err != nil || partErr != nil {
		return nil, errors.Join(err, partErr)
	}
	var reports []*load.Partial
	for _, p := range q.parts {
		reports = append(reports, p.report)
	}
	return load.Merge(l.plan, reports)
}

// start starts a part, with the words of this command.
func (q *parting) start(which int) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"load", fmt.Sprintf("--part=%d/%d", which, q.procs)}, q.words...)
	p := &part{cmd: exec.Command(program, args...)}
	p.cmd.Stderr = q.err
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	q.parts = append(q.parts, p)
	go q.listen(which, p, out)
	return nil
}

// listen passes on what a part says.
func (q *parting) listen(which int, p *part, out io.Reader) {
	said := json.NewDecoder(out)
	var err error
	for {
		e := partEvent{from: which}
		if err = said.Decode(&e.partMessage); err != nil {
			break
		}
		q.events <- e
	}
	if err == io.EOF {
		err = nil
	} else {
		io.Copy(io.Discard, out)
	}
	q.events <- partEvent{from: which, over: true, err: errors.Join(err, p.cmd.Wait())}
}

// endAll has all parts end, and say what was done.
func (q *parting) endAll() {
	for _, p := range q.parts {
		p.in.Close()
	}
}

// follow goes on until all parts are over.
func (q *parting) follow(ctx context.Context) error {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	ended := ctx.Done()
	var first error
	for running := len(q.parts); running > 0; {
		select {
		case e := <-q.events:
			err := q.take(e)
			if e.over {
				running--
			}
			if err != nil && first == nil {
				first = err
				q.endAll()
			}
		case <-every.C:
			q.progress()
		case <-ended:
			q.endAll()
			ended = nil
		}
	}
	return first
}

// take keeps what a part says. When the last has its connections, all begin.
func (q *parting) take(e partEvent) error {
	p := q.parts[e.from]
	switch {
	case e.over && p.report == nil:
		return fmt.Errorf("process %d of %d has ended without a report: %w", e.from+1, q.procs, e.err)
	case e.Report != nil:
		p.report = e.Report
	case e.Progress != nil:
		p.last, p.fresh = e.Progress, true
	case e.Opened:
		p.opened = true
		for _, other := range q.parts {
			if !other.opened {
				return nil
			}
		}
		for _, other := range q.parts {
			io.WriteString(other.in, "begin\n") // one that has ended says so
		}
	}
	return nil
}

// progress shows how far all have come.
func (q *parting) progress() {
	sum := &load.Progress{Errors: make(map[load.Class]int64), Recent: hdrhistogram.New(1, int64(time.Hour), 3)}
	fresh := false
	for _, p := range q.parts {
		if p.last == nil {
			continue
		}
		sum.Elapsed = max(sum.Elapsed, p.last.Elapsed)
		sum.Counts.Add(&p.last.Counts)
		sum.Rate += p.last.Rate
		for c, n := range p.last.Errors {
			sum.Errors[c] += n
		}
		if h, err := load.DecodeHistogram(p.last.Recent); err == nil && p.fresh {
			sum.Recent.Merge(h)
		}
		fresh = fresh || p.fresh
		p.fresh = false
	}
	if fresh {
		q.plan.Progress(sum)
	}
}

// partWords are the flags and addresses of a command as its parts are to have them: what is
// shown and judged is their parent's.
func partWords(flags *pflag.FlagSet, addresses []string) (words []string) {
	flags.Visit(func(fl *pflag.Flag) {
		switch fl.Name {
		case "procs", "part", "html", "admin", "json", "quiet", "fail-if":
			return
		}
		value := fl.Value.String()
		if list, ok := fl.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		words = append(words, "--"+fl.Name+"="+value)
	})
	return append(append(words, "--"), addresses...)
}
