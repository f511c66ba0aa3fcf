package embedded

import "syscall"

// childAttr keeps a terminal's Ctrl-C for the gateway, which stops its child
// in order.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
