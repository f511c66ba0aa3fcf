package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/vulturepi/gateway/internal/embedded"
	"github.com/vulturepi/gateway/internal/gateway"
)

// brokerCommand is `gateway broker`: the built-in broker alone, or as the
// gateway's child, which ends with its parent.
func brokerCommand(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("broker", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:1883", "`address` to listen on")
	child := flags.Bool("child", false, "end when standard input does")
	anyAddr := flags.Bool("allow-anonymous", false, "listen on an address that other machines reach, though everybody is let in")
	if err := parseFlags(flags, args, stderr); err != nil {
		return err
	}
	if *child {
		ctx = embedded.UntilEOF(ctx, stdin)
	}
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any more does not end the broker
	log := gateway.NewLog("text", "info", stderr)
	defer log.Close()
	return embedded.Run(ctx, *addr, *anyAddr, log.Logger, func(addr string) {
		fmt.Fprintln(stdout, embedded.ReadyLine(addr))
	})
}
