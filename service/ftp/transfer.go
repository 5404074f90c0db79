package ftp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A task is what goes over a data connection.
type task struct {
	verb, path string
	hello      string // what 150 says; empty: the usual

	// run moves the bytes. note is added to the 226.
	run func(ctx context.Context, d *data) (note string, err error)

	// close gives back what the task holds, whether it was run or not.
	close func()
}

// A job is a transfer that is under way.
type job struct {
	task
	cancel context.CancelFunc
	began  time.Time
	moved  atomic.Int64

	private, reuse bool // the data connection has TLS, which must be resumed
	tls            *tls.Config

	done  chan reply // gets one, at the end
	fault error      // set before that: the transfer has panicked
}

// String tells how far the transfer is.
func (j *job) String() string {
	return fmt.Sprintf("%s: %d bytes in %v", j.verb, j.moved.Load(), time.Since(j.began).Round(time.Second))
}

// start begins a transfer. Its last reply is sent by settle.
func (s *session) start(t task) reply {
	e := s.endpoint
	if e == nil {
		t.close()
		return say(425, "Say PASV, EPSV, PORT or EPRT first.")
	}
	s.endpoint = nil // its transfer will close it
	ctx, cancel := context.WithCancel(s.ctx)
	j := &job{task: t, cancel: cancel, began: time.Now(), done: make(chan reply, 1)}
	if s.isPrivate {
		j.private, j.reuse, j.tls = true, s.cfg.RequireReuse, s.dataTLS()
	}
	if t.hello == "" {
		j.hello = "Opening the data connection."
	}
	s.ctl.send(say(150, j.hello))
	s.job = j
	go func() {
		defer s.ctl.poke()
		j.done <- j.play(ctx, s, e)
	}()
	return reply{}
}

// play is the transfer, on its own goroutine. It returns the last reply.
func (j *job) play(ctx context.Context, s *session, e endpoint) (r reply) {
	defer func() {
		if v := recover(); v != nil {
			j.fault = fmt.Errorf("%v\n%s", v, debug.Stack())
			r = say(421, "Something went wrong here.")
		}
	}()
	defer j.close()
	d, err := j.open(ctx, s, e)
	if err != nil {
		return noConnection(ctx, err)
	}
	defer d.close()
	note, err := j.run(ctx, d)
	if err != nil {
		d.cut()
		return outcome(ctx, err)
	}
	return sayf(226, "Done: %d bytes%s.", j.moved.Load(), note)
}

// noConnection returns what is said when there is no data connection.
func noConnection(ctx context.Context, err error) reply {
	var tlsErr *tlsError
	switch {
	case ctx.Err() != nil:
		return say(426, "Aborted.")
	case errors.Is(err, errNoReuse):
		return say(522, "The data connection must resume the TLS session of this one.")
	case errors.As(err, &tlsErr):
		return say(522, "There is no TLS on the data connection.") // RFC 4217 §10.2
	case errors.Is(err, errStolen):
		return say(425, "Somebody else has come to the data port.")
	case errors.Is(err, errAbsent):
		return say(425, "Nobody has come to the data port.")
	}
	return say(425, "There is no data connection.")
}

// outcome returns what is said of a transfer that has failed.
func outcome(ctx context.Context, err error) reply {
	var file *fileError
	switch {
	case ctx.Err() != nil:
		return say(426, "Aborted.")
	case errors.As(err, &file):
		return failure(file.err)
	case errors.Is(err, errStalled):
		return say(426, "The data connection moves nothing.")
	case errors.Is(err, errTruncated):
		return say(426, "The data connection ended without the goodbye of TLS: it may have been cut.")
	}
	return say(426, "The data connection was lost.")
}

// settle sends the last reply of a transfer that has ended.
func (s *session) settle() {
	if s.job == nil {
		return
	}
	select {
	case r := <-s.job.done:
		s.conclude(r)
	default:
	}
}

// await is settle for a transfer that has yet to end.
func (s *session) await() { s.conclude(<-s.job.done) }

func (s *session) conclude(r reply) {
	j := s.job
	j.cancel()
	s.job = nil
	if j.fault != nil {
		panic(j.fault)
	}
	level := slog.LevelInfo
	if r.code == 451 || r.code == 452 || r.code == 552 { // what an operator should know of
		level = slog.LevelWarn
	}
	s.note(level, "transfer", j.path, "verb", j.verb, "bytes", j.moved.Load(), "took", time.Since(j.began), "reply", r.code)
	s.ctl.send(r)
}

// aborVerb answers an ABOR. What it is about has ended: while a transfer is under way
// meanwhile sees it.
func (s *session) aborVerb(string) reply {
	if s.aborted {
		s.aborted = false
		return say(226, "Aborted.")
	}
	s.dropEndpoint()
	return say(226, "There is no transfer.")
}

// restVerb: RFC 3659 §5.
func (s *session) restVerb(arg string) reply {
	var n int64
	if len(arg) > 18 {
		return say(501, "That is no offset.")
	}
	for _, c := range []byte(arg) {
		if c < '0' || c > '9' {
			return say(501, "That is no offset.")
		}
		n = 10*n + int64(c-'0')
	}
	if n > 0 && s.isText {
		return say(504, "An offset needs TYPE I.")
	}
	s.rest = n
	return sayf(350, "The next transfer begins at %d.", n)
}

// takeRest returns the offset that REST has set, which is good for one transfer.
func (s *session) takeRest() int64 {
	n := s.rest
	s.rest = 0
	if s.isText {
		return 0
	}
	return n
}

func (s *session) retrVerb(arg string) reply {
	rest := s.takeRest()
	p, file, r := s.openFile(arg)
	if r.failed() {
		return r
	}
	fi, err := file.Stat()
	if err == nil && rest > fi.Size() {
		file.Close()
		return sayf(554, "The file has %d bytes only.", fi.Size())
	}
	if err == nil {
		_, err = file.Seek(rest, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return failure(err)
	}
	text := s.isText
	t := task{
		verb: "RETR", path: p, close: func() { file.Close() },
		run: func(_ context.Context, d *data) (string, error) { return "", sendAs(d, file, text) },
	}
	if !text { // in this form clients know it
		t.hello = fmt.Sprintf("Opening the data connection (%d bytes).", fi.Size()-rest)
	}
	return s.start(t)
}

func sendAs(d *data, file *os.File, text bool) error {
	var err error
	if text {
		err = d.copyFrom(newToNetwork(file))
	} else {
		err = d.sendFile(file)
	}
	if err != nil {
		return err
	}
	return d.flush()
}

func (s *session) storVerb(arg string) reply { return s.receive("STOR", arg, s.takeRest()) }

func (s *session) appeVerb(arg string) reply {
	s.rest = 0
	return s.receive("APPE", arg, keepAll)
}

// stouVerb stores under a name that is not there yet (RFC 1123 §4.1.2.9).
func (s *session) stouVerb(string) reply {
	s.rest = 0
	return s.receive("STOU", newName("stou-"), 0)
}

// receive stores what the client sends, behind the first keep bytes of what is there.
func (s *session) receive(verb, arg string, keep int64) reply {
	p, err := resolve(s.cwd, arg)
	if err == nil {
		err = checkNew(p)
	}
	if err != nil {
		return failure(err)
	}
	up, err := s.srv.newUpload(s.files, p, keep)
	if err != nil {
		return failure(err)
	}
	t := task{verb: verb, path: p, close: up.discard}
	if verb == "STOU" {
		t.hello = "FILE: " + arg
	}
	text := s.isText
	t.run = func(ctx context.Context, d *data) (string, error) { return "", up.receive(ctx, d, text) }
	return s.start(t)
}
