package stream

import (
	"syscall"
	"unsafe"
)

// writeNow is write(2) on a socket that does not block, without telling the
// Go scheduler: it would prepare for a call that takes long, and that costs
// more than a small write.
func writeNow(fd uintptr, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
