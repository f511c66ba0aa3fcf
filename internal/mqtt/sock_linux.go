package mqtt

import (
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const tcpUserTimeout = 18 // TCP_USER_TIMEOUT, tcp(7); package syscall has no name for it

// receiver gives the functions that read from a connection, waiting or not; one goroutine may be in them at a time.
//
// A broker that leaves Nagle's algorithm on holds back its next small packet until the last one is acknowledged; a
// delayed acknowledgement then costs 40 ms. So what has arrived is acknowledged before more is waited for, and not with
// the next packet out. While there is more, nobody waits, and the system call is saved. The option does not last, so it
// is set again each time.
func receiver(_ net.Conn, raw syscall.RawConn) (wait, glance func(p []byte) (int, error)) {
	var p []byte
	var n int
	var failed error
	once := func(fd uintptr) (done bool) {
		for {
			if n, failed = syscall.Read(int(fd), p); failed != syscall.EINTR {
				return true
			}
		}
	}
	try := func(fd uintptr) (done bool) {
		if once(fd); failed != syscall.EAGAIN {
			return true
		}
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
		return false
	}
	read := func(into []byte, how func(fd uintptr) bool) (int, error) {
		p = into
		err := raw.Read(how) // a deadline, or closed
		p = nil
		switch {
		case err != nil:
			return 0, err
		case failed == syscall.EAGAIN: // only where it was not waited
			return 0, nil
		case failed != nil:
			return 0, os.NewSyscallError("read", failed)
		case n == 0 && len(into) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
	return func(into []byte) (int, error) { return read(into, try) },
		func(into []byte) (int, error) { return read(into, once) }
}

// offerer gives the function that writes to a connection without waiting, and returns how much was taken. An error is left
// to the next write that waits. It must not be called while something else writes.
func offerer(raw syscall.RawConn) func(p []byte) int {
	return func(p []byte) (n int) {
		_ = raw.Control(func(fd uintptr) { // not raw.Write: a deadline of earlier writes is none of ours
			for {
				var err error
				if n, err = syscall.Write(int(fd), p); err != syscall.EINTR {
					return
				}
			}
		})
		return max(n, 0)
	}
}

// userTimeout lets the kernel give up on a peer that acknowledges nothing, instead of repeating for a quarter of an hour.
func userTimeout(raw syscall.RawConn, d time.Duration) {
	raw.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
	})
}

// receiveBuffer asks for so many bytes of receive buffer, before the connection is made, so that the window is announced
// accordingly. Who may, gets all of it. For others, asking for a size ends the kernel's own tuning, so it is left to that
// where it would give more.
func receiveBuffer(raw syscall.RawConn, bytes int) {
	raw.Control(func(fd uintptr) {
		if syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, bytes) == nil {
			return
		}
		if granted := sysctl("/proc/sys/net/core/rmem_max", 0); 2*granted > sysctl("/proc/sys/net/ipv4/tcp_rmem", 2) || granted >= 4<<20 {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, min(bytes, granted))
		}
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
