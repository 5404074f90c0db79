package child

import (
	"context"
	"sync"
)

// Await returns nil when all have ended, or the error of ctx if that ends first. It is for
// the Shutdown of a server that runs programs.
func Await(ctx context.Context, all *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
