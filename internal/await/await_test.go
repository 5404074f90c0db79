package await

import (
	"context"
	"sync"
	"testing"
)

func TestAll(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	if err := All(t.Context(), &all); err != nil {
		t.Errorf("there is none: %v", err)
	}
	end := make(chan struct{})
	all.Go(func() { <-end })
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := All(over, &all); err != context.Canceled {
		t.Errorf("no more time: %v", err)
	}
	close(end)
	if err := All(t.Context(), &all); err != nil {
		t.Errorf("all have ended: %v", err)
	}
}
