// Command gateway lets HTTP and WebSocket clients talk to devices that speak
// MQTT only.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/vulturepi/gateway/internal/gateway"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err == nil {
		return
	}
	tell(err)
	var usage usageError
	var file gateway.ConfigError
	if errors.As(err, &usage) || errors.As(err, &file) {
		os.Exit(2)
	}
	os.Exit(1)
}

// tell prints the error, unless standard error is a pipe that is full: the end
// must not wait for whoever does not read it.
func tell(err error) {
	told := make(chan struct{})
	go func() {
		defer close(told)
		fmt.Fprintln(os.Stderr, "gateway:", err)
	}()
	select {
	case <-told:
	case <-time.After(time.Second):
	}
}
