//go:build !unix

package child

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

type exit struct{}

func (exit) await(*os.Process)                            {}
func (exit) reap(p *os.Process) (*os.ProcessState, error) { return p.Wait() }

func startProcess(string, []string, *os.ProcAttr, *Config) (*os.Process, exit, error) {
	return nil, exit{}, fmt.Errorf("process groups: %w on %s", errors.ErrUnsupported, runtime.GOOS)
}

func (p *Process) endSignal() os.Signal { return os.Kill }

func signalGroup(int, os.Signal) error { return errors.ErrUnsupported }
func reapGroup(int)                    {}
func killSession(int)                  {}
