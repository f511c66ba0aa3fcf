package mqtt

import (
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const tcpUserTimeout = 18 // TCP_USER_TIMEOUT, tcp(7); package syscall has no name for it

// receiver gives the function that reads from a connection; one goroutine may be in it at a time.
//
// A broker that leaves Nagle's algorithm on holds back its next small packet until the last one is acknowledged; a
// delayed acknowledgement then costs 40 ms. So what has arrived is acknowledged before more is waited for, and not with
// the next packet out, unless the broker is known to be without Nagle. While there is more, nobody waits, and the system
// call is saved. The option does not last, so it is set again each time.
func receiver(_ net.Conn, raw syscall.RawConn, nodelay *atomic.Bool) func(p []byte) (int, error) {
	var p []byte
	var n int
	var failed error
	try := func(fd uintptr) (done bool) {
		for {
			switch n, failed = syscall.Read(int(fd), p); failed {
			case syscall.EINTR:
			case syscall.EAGAIN:
				if nodelay == nil || !nodelay.Load() {
					syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
				}
				return false
			default:
				return true
			}
		}
	}
	return func(into []byte) (int, error) {
		p = into
		err := raw.Read(try) // a deadline, or closed
		p = nil
		switch {
		case err != nil:
			return 0, err
		case failed != nil:
			return 0, os.NewSyscallError("read", failed)
		case n == 0 && len(into) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// userTimeout lets the kernel give up on a peer that acknowledges nothing, instead of repeating for a quarter of an hour.
func userTimeout(raw syscall.RawConn, d time.Duration) {
	raw.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
	})
}

// receiveBuffer asks for so many bytes of receive buffer, before the connection is made, so that the window is announced
// accordingly. Asking for a size ends the kernel's own tuning, so it is left to that where it would give more.
func receiveBuffer(raw syscall.RawConn, bytes int) {
	if granted := sysctl("/proc/sys/net/core/rmem_max", 0); granted < min(bytes, sysctl("/proc/sys/net/ipv4/tcp_rmem", 2)) {
		return
	}
	raw.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
	})
}

// sysctl reads one number of a kernel's setting; 0 where there is none.
func sysctl(path string, field int) int {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(content))
	if field >= len(fields) {
		return 0
	}
	n, _ := strconv.Atoi(fields[field])
	return n
}
