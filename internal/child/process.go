package child

import (
	"os"
	"sync"
	"time"
)

// A Process is a program that was started. Its methods may be called by many goroutines.
type Process struct {
	// In is the pipe to descriptor 0, with PipeIn; nil without. Its user closes it, which
	// is the end of the program's input.
	In *os.File

	// Out is the pipe from descriptor 1, with PipeOut; nil without. Its user reads it to
	// its end, or closes it.
	Out *Output

	cfg     Config
	process *os.Process
	exit    exit // how the system tells that it has ended

	errors *os.File // from which Errors is told; nil: nothing is

	stop     chan struct{} // closed by Stop
	stopping sync.Once
	heard    chan struct{} // closed when all that it wrote to Errors was taken
	done     chan struct{} // closed when it is over

	mu     sync.Mutex
	reaped bool // its number may be another's by now
	state  *os.ProcessState
	err    error // of waiting
	killed bool
}

// PID returns the number of the process, and of its group and session.
func (p *Process) PID() int { return p.process.Pid }

// Done returns a channel that is closed when the program has ended and was waited for,
// what was left of its group was killed, and Errors is not called any more.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for Done and returns how the program ended.
func (p *Process) Wait() (*os.ProcessState, error) {
	<-p.done
	return p.state, p.err
}

// Killed reports whether the program had to be killed because it did not end when it was
// asked to. It is known when Done is closed.
func (p *Process) Killed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed
}

// Stop asks the group to end, and kills it if it has not within Grace. It does not wait.
func (p *Process) Stop() { p.stopping.Do(func() { close(p.stop) }) }

// Signal sends a signal to the group. The error is os.ErrProcessDone when there is none
// any more.
func (p *Process) Signal(sig os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return os.ErrProcessDone
	}
	return signalGroup(p.process.Pid, sig)
}

// run brings the program to its end.
func (p *Process) run(unhook func() bool) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.exit.await(p.process)
	}()
	select {
	case <-ended:
	case <-p.stop:
		p.end(ended)
	}
	p.linger(p.stop, p.Out.over(), p.heard)
	p.bury()
	p.linger(nil, p.heard)
	if p.errors != nil {
		p.errors.Close()
		<-p.heard
	}
	unhook()
	close(p.done)
}

// end makes the program end.
func (p *Process) end(ended <-chan struct{}) {
	if d := p.cfg.grace(); d > 0 {
		p.Signal(p.endSignal())
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ended:
			return
		case <-t.C:
		}
	}
	p.mu.Lock()
	p.killed = true
	p.mu.Unlock()
	p.Signal(os.Kill)
	<-ended
}

// linger waits until all outputs are over, for Linger at most, or until stop is closed.
func (p *Process) linger(stop <-chan struct{}, outputs ...<-chan struct{}) {
	t := time.NewTimer(p.cfg.linger())
	defer t.Stop()
	for _, over := range outputs {
		select {
		case <-over:
		case <-t.C:
			return
		case <-stop:
			return
		}
	}
}

// bury kills what is left of the group and waits for the program, in this order: while it
// is not waited for, its number is that of no other group.
func (p *Process) bury() {
	p.Signal(os.Kill)
	if p.cfg.Terminal != nil {
		killSession(p.process.Pid)
	}
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	p.state, p.err = p.exit.reap(p.process)
	if os.Getpid() == 1 {
		reapGroup(p.process.Pid)
	}
}
