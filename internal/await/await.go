// Package await waits until all of something have ended, but no longer than one may.
package await

import (
	"context"
	"sync"
)

// All returns nil when all have ended, or the error of ctx if that ends first: the last step
// of a Shutdown.
func All(ctx context.Context, all *sync.WaitGroup) error {
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
