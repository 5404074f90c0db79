package await

import (
	"context"
	"sync"
	"testing"
)

func TestDone(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	if err := Done(t.Context(), all.Wait); err != nil {
		t.Errorf("there is none: %v", err)
	}
	end := make(chan struct{})
	all.Go(func() { <-end })
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Done(over, all.Wait); err != context.Canceled {
		t.Errorf("no more time: %v", err)
	}
	close(end)
	if err := Done(t.Context(), all.Wait); err != nil {
		t.Errorf("all have ended: %v", err)
	}
}
