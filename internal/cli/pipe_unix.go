//go:build unix

package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// endWithPipe ends the program when whoever reads its standard output has gone,
// even while there is nothing to write, as SIGPIPE does when there is.
func (sh *Shell) endWithPipe() {
	f, ok := sh.Stdout.(*os.File)
	if !ok {
		return
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return
	}
	fd := f.Fd()
	go func() {
		for {
			fds := []unix.PollFd{{Fd: int32(fd)}}
			if _, err := unix.Poll(fds, -1); err == unix.EINTR {
				continue
			}
			if fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
				_, _ = f.Write([]byte("\n")) // which is SIGPIPE
			}
			return
		}
	}()
}
