//go:build !linux

package stream

import "syscall"

// writeNow writes to a socket that does not block.
func writeNow(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }
