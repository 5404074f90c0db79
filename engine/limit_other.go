//go:build !unix

package engine

// descriptorLimit returns 0: this system has no such limit to ask for.
func descriptorLimit() int { return 0 }
