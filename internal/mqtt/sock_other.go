//go:build !linux

package mqtt

import (
	"net"
	"syscall"
	"time"
)

// Elsewhere the write deadlines of sock find a dead peer, and acknowledging is left to the kernel.
func userTimeout(syscall.RawConn, time.Duration) {}

func receiver(c net.Conn, _ syscall.RawConn) (wait, glance func(p []byte) (int, error)) {
	return c.Read, nil
}

func receiveBuffer(syscall.RawConn, int) {}

func offerer(syscall.RawConn) func(p []byte) int { return nil }
