//go:build !unix

package ftp

import "os"

// syncFolder does nothing where a folder is not a file that can be synced.
func syncFolder(*os.Root) error { return nil }
