//go:build !unix

package store

import (
	"fmt"
	"os"
)

// lockFile relies on bbolt's own lock of the file there.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the directory cannot be written: %w", err)
	}
	return f, nil
}
