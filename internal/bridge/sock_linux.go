package bridge

import (
	"syscall"
	"time"
)

const tcpUserTimeout = 18 // TCP_USER_TIMEOUT, tcp(7); package syscall has no name for it

// quickAck acknowledges what has arrived now and not with the next packet out.
func quickAck(fd uintptr) {
	syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
}

// userTimeout lets the kernel give up on a peer that acknowledges nothing, instead of repeating for a quarter of an hour.
func userTimeout(fd uintptr, d time.Duration) {
	syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
}
