//go:build !unix

package users

import "os"

// syncFolder does nothing where a folder is not a file that can be synced.
func syncFolder(string) error { return nil }

// keepOwner does nothing where a file in a folder inherits who may use it.
func keepOwner(*os.File, os.FileInfo) error { return nil }
