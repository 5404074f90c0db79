package ssh

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"yodel/internal/child"
)

// open opens a channel, of which there are only sessions (RFC 4254 §6.1).
func (c *conn) open(ctx context.Context, ch ssh.NewChannel) {
	if ch.ChannelType() != "session" {
		ch.Reject(ssh.Prohibited, "only sessions are served here")
		return
	}
	if !c.takePlace() {
		ch.Reject(ssh.ResourceShortage, "too many programs at once")
		return
	}
	channel, requests, err := ch.Accept()
	if err != nil {
		c.freePlace()
		return
	}
	s := &session{conn: c, channel: channel}
	c.sessions.Go(func() {
		defer c.freePlace()
		s.serve(ctx, requests)
	})
}

func (c *conn) takePlace() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.srv.cfg.maxPrograms(); n > 0 && c.programs >= n {
		return false
	}
	c.programs++
	return true
}

func (c *conn) freePlace() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.programs--
}

// A session is one channel, and one program. It belongs to the goroutine of serve.
type session struct {
	conn    *conn
	channel ssh.Channel

	term string // of pty-req
	tty  *child.Terminal
	env  []string

	program *child.Process // nil: none was started
	copies  sync.WaitGroup // of its output
	over    sync.WaitGroup // its end is told
}

// The payloads of requests (RFC 4254 §6.2 to 6.9).
type (
	ptyRequest struct {
		Term                      string
		Cols, Rows, Width, Height uint32
		Modes                     string
	}
	windowChange struct{ Cols, Rows, Width, Height uint32 }
	envRequest   struct{ Name, Value string }
	execRequest  struct{ Command string }
	signalName   struct{ Name string }
	exitStatus   struct{ Status uint32 }
	exitSignal   struct {
		Name    string
		Core    bool
		Message string
		Lang    string
	}
)

// serve does what the peer asks for, until the channel is closed.
func (s *session) serve(ctx context.Context, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for r := range requests {
		ok := s.handle(ctx, r)
		if r.WantReply {
			r.Reply(ok, nil)
		}
		if ok && s.program != nil && (r.Type == "shell" || r.Type == "exec") {
			s.watch() // once the peer has its answer
		}
	}
	cancel() // the peer has hung up
	s.over.Wait()
	if s.tty != nil {
		s.tty.Close()
	}
}

// handle does what one request asks for, and reports whether it could.
func (s *session) handle(ctx context.Context, r *ssh.Request) bool {
	switch r.Type {
	case "pty-req":
		return s.openTerminal(r.Payload)
	case "window-change":
		var w windowChange
		return ssh.Unmarshal(r.Payload, &w) == nil && s.resize(w.Rows, w.Cols)
	case "env":
		return s.setEnv(r.Payload)
	case "shell":
		return s.start(ctx, nil)
	case "exec":
		var e execRequest
		return ssh.Unmarshal(r.Payload, &e) == nil && !strings.ContainsRune(e.Command, 0) && s.start(ctx, []string{"-c", e.Command})
	case "signal":
		var n signalName
		return ssh.Unmarshal(r.Payload, &n) == nil && s.signal(n.Name)
	case "break": // RFC 4335
		return s.tty != nil && s.tty.Signal(syscall.SIGQUIT) == nil
	}
	return false
}

func (s *session) openTerminal(payload []byte) bool {
	var p ptyRequest
	if s.tty != nil || s.program != nil || ssh.Unmarshal(payload, &p) != nil {
		return false
	}
	t, err := child.OpenTerminal()
	if err != nil {
		s.conn.log.Error("no terminal", "error", err)
		return false
	}
	s.tty, s.term = t, p.Term
	s.resize(p.Rows, p.Cols)
	return true
}

func (s *session) resize(rows, cols uint32) bool {
	const most = 1<<16 - 1
	if s.tty == nil || rows == 0 || cols == 0 || rows > most || cols > most {
		return false
	}
	return s.tty.Resize(uint16(rows), uint16(cols)) == nil
}

// maxEnv is how many variables a peer may set.
const maxEnv = 20

// setEnv takes how the peer wants text to look, and nothing else.
func (s *session) setEnv(payload []byte) bool {
	var e envRequest
	if ssh.Unmarshal(payload, &e) != nil || len(s.env) >= maxEnv || len(e.Value) > 100 {
		return false
	}
	name, isLC := strings.CutPrefix(e.Name, "LC_")
	plain := func(s, more string) bool {
		return !strings.ContainsFunc(s, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(more, r)
		})
	}
	if e.Name != "LANG" && (!isLC || len(name) > 20 || !plain(name, "_")) || !plain(e.Value, "_.@-") {
		return false
	}
	s.env = append(s.env, e.Name+"="+e.Value)
	return true
}

// start starts the program: the shell, or with more arguments what it is to run.
func (s *session) start(ctx context.Context, more []string) bool {
	if s.program != nil {
		return false
	}
	cfg := &s.conn.srv.cfg
	argv := cfg.Shell
	if len(argv) == 0 {
		argv = []string{"/bin/sh"}
	}
	login := &child.Login{
		Name: s.conn.user.Name, Shell: slices.Concat(argv, more), Root: cfg.Root, Home: s.conn.user.Home, Term: s.term, User: cfg.User,
	}
	run := login.Config()
	run.Env, run.Grace = append(run.Env, s.env...), cfg.Grace
	p, err := s.run(ctx, run)
	if err != nil {
		s.conn.log.Error("program not run", "user", s.conn.user.Name, "error", err)
		return false
	}
	s.program = p
	return true
}

// run runs the program at the terminal, or without one on pipes.
func (s *session) run(ctx context.Context, cfg *child.Config) (*child.Process, error) {
	if s.tty != nil {
		cfg.Terminal = s.tty
		p, err := child.Start(ctx, cfg)
		if err != nil {
			return nil, err
		}
		go io.Copy(s.tty, s.channel)
		s.copies.Go(func() { io.Copy(s.channel, s.tty) })
		go func() {
			<-p.Done()
			s.tty.SetReadDeadline(time.Now().Add(lastWords))
		}()
		return p, nil
	}
	errOurs, errTheirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer errTheirs.Close()
	cfg.PipeIn, cfg.PipeOut, cfg.Err = true, true, errTheirs
	p, err := child.Start(ctx, cfg)
	if err != nil {
		errOurs.Close()
		return nil, err
	}
	go func() {
		io.Copy(p.In, s.channel)
		p.In.Close()
	}()
	s.copies.Go(func() {
		io.Copy(s.channel, p.Out)
		p.Out.Close()
	})
	s.copies.Go(func() {
		io.Copy(s.channel.Stderr(), errOurs)
		errOurs.Close()
	})
	go func() {
		<-p.Done()
		errOurs.SetReadDeadline(time.Now().Add(lastWords))
		p.Out.SetReadDeadline(time.Now().Add(lastWords))
	}()
	return p, nil
}

// lastWords is how long after its end the rest of a program's output may take, which one
// of its descendants may hold up.
const lastWords = time.Second

// watch tells the peer how the program has ended, and closes the channel.
func (s *session) watch() {
	s.over.Go(func() {
		state, _ := s.program.Wait()
		s.copies.Wait()
		if state != nil {
			s.tell(state)
		}
		s.channel.Close()
	})
}

// tell says how a program has ended (RFC 4254 §6.10).
func (s *session) tell(state *os.ProcessState) {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		name := "TERM"
		for n, sig := range signals {
			if sig == status.Signal() {
				name = n
			}
		}
		s.channel.SendRequest("exit-signal", false, ssh.Marshal(exitSignal{Name: name}))
		return
	}
	s.channel.SendRequest("exit-status", false, ssh.Marshal(exitStatus{uint32(max(state.ExitCode(), 0))}))
}

// signals are those of RFC 4254 §6.10 that everybody has.
var signals = map[string]syscall.Signal{
	"ABRT": syscall.SIGABRT, "ALRM": syscall.SIGALRM, "HUP": syscall.SIGHUP, "INT": syscall.SIGINT,
	"KILL": syscall.SIGKILL, "PIPE": syscall.SIGPIPE, "QUIT": syscall.SIGQUIT, "SEGV": syscall.SIGSEGV, "TERM": syscall.SIGTERM,
}

// signal sends a signal to the program and its group.
func (s *session) signal(name string) bool {
	sig, known := signals[name]
	if !known || s.program == nil {
		return false
	}
	err := s.program.Signal(sig)
	return err == nil || errors.Is(err, os.ErrProcessDone)
}
