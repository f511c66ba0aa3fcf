//go:build linux || darwin

package gateway

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// limitUnsent sets the bound of unsentBytes on a socket; what a listening one
// accepts inherits it. A system that does not know the bound goes without.
func limitUnsent(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}
