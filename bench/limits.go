package main

import (
	"fmt"
	"syscall"
)

// raiseLimits allows as many sockets as the machine gives. The servers inherit
// it.
func raiseLimits() error {
	const want, need = 65536, 12000
	for _, limit := range []syscall.Rlimit{{Cur: want, Max: want}, {}} {
		if limit.Cur == 0 { // not root: as far as the hard limit
			if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
				return err
			}
			limit.Cur = limit.Max
		}
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
			break
		}
	}
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		return err
	}
	if now.Cur < need {
		return fmt.Errorf("%d files may be open, %d are needed: raise the hard limit (ulimit -Hn)", now.Cur, need)
	}
	return nil
}
