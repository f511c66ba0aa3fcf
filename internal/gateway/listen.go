package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// unsentBytes is how much the kernel holds for a client beyond what is on its
// way. Otherwise it holds megabytes for each one that does not read: bytes that
// are in nobody's sum, and old by the time they are read.
const unsentBytes = 128 << 10

// listen opens what a variable names. Its connections have the bound of unsentBytes.
func listen(ctx context.Context, variable, addr string) (net.Listener, error) {
	config := net.ListenConfig{Control: limitUnsent}
	config.SetMultipathTCP(false) // Linux before 6.10 has no such bound for it
	l, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%s: the address %s is taken by another program, perhaps another gateway; stop it, or choose another address with %[1]s", variable, addr)
		}
		return nil, fmt.Errorf("%s: cannot listen on %s: %w", variable, addr, err)
	}
	return l, nil
}
