package process

import (
	"fmt"
	"os/exec"
)

// Probe returns nil if this machine can run the engine. If not, the error says what is
// missing; where there are no such processes it wraps errors.ErrUnsupported.
func Probe() error {
	if err := supported(); err != nil {
		return err
	}
	if _, err := exec.LookPath(command().Path); err != nil {
		return fmt.Errorf("a process for each connection: this program can't be run again: %w", err)
	}
	return nil
}
