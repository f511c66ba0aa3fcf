package brokertest

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"syscall"
)

// dieWithParent asks the kernel to kill the broker when the test program dies.
// The signal is tied to the thread that started the process, so the caller
// keeps that thread. A process that changes its user loses the setting, which
// is one reason for "user root" in the configuration.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// claimPort keeps a port for this test among all test programs that use this
// package. The name lives in the kernel and goes away with the process.
func claimPort(port int) (io.Closer, error) {
	return net.Listen("unix", fmt.Sprintf("@brokertest-port-%d", port))
}
