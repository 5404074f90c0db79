//go:build unix && !linux

package child

import "os"

// exit waits for the process where there is no way to learn of its end without that.
type exit struct{ end *end }

type end struct {
	state *os.ProcessState
	err   error
}

func launch(path string, argv []string, attr *os.ProcAttr) (*os.Process, exit, error) {
	p, err := os.StartProcess(path, argv, attr)
	return p, exit{new(end)}, err
}

// await returns when p has ended. Until its group is killed, a moment later, its number
// may belong to another group; numbers are given in a circle, so that takes a whole turn.
func (e exit) await(p *os.Process) { e.end.state, e.end.err = p.Wait() }

func (e exit) reap(*os.Process) (*os.ProcessState, error) { return e.end.state, e.end.err }

func keepDescriptors() {}

func killSession(int) {}
