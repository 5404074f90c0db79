// Package await waits for something, but no longer than one may.
package await

import "context"

// Done returns nil when wait has returned, or the error of ctx if that ends first: the last
// step of a Shutdown. Then wait goes on by itself.
func Done(ctx context.Context, wait func()) error {
	done := make(chan struct{})
	go func() {
		wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
