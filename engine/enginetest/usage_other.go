//go:build !linux

package enginetest

import (
	"errors"
	"time"
)

func limitDescriptors(int) error { return errors.ErrUnsupported }

func processorTime() time.Duration { return 0 }

func peakMemory() int { return 0 }
