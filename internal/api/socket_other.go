//go:build !linux

package api

import "syscall"

// writeNow writes to a socket that does not block.
func writeNow(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }
