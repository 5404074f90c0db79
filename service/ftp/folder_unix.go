//go:build unix

package ftp

import (
	"errors"
	"os"
)

// syncFolder makes a rename in the folder durable.
func syncFolder(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
