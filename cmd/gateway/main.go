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

	"github.com/vulturepi/gateway/internal/cli"
	"github.com/vulturepi/gateway/internal/gateway"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(&cli.Shell{Ctx: ctx, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, os.Args[1:])
	stop()
	if err == nil {
		return
	}
	if err.Error() != "" {
		tell(err)
	}
	os.Exit(status(err))
}

// status is the exit status for an error.
func status(err error) int {
	var own *cli.Error
	var usage usageError
	var file gateway.ConfigError
	switch {
	case errors.As(err, &own):
		return own.Status
	case errors.As(err, &usage), errors.As(err, &file):
		return cli.StatusUsage
	}
	return cli.StatusFailed
}

// endAfterInterrupt ends the program soon after Ctrl-C, even when it writes to a
// pipe that nobody reads.
func endAfterInterrupt(ctx context.Context) {
	context.AfterFunc(ctx, func() {
		time.AfterFunc(3*time.Second, func() { os.Exit(cli.StatusInterrupted) })
	})
}

// tell prints the error, unless standard error is a pipe that is full: the end
// must not wait for whoever does not read it.
func tell(err error) {
	told := make(chan struct{})
	go func() {
		defer close(told)
		fmt.Fprintln(os.Stderr, "gateway:", cli.OneLine(err.Error()))
	}()
	select {
	case <-told:
	case <-time.After(time.Second):
	}
}
