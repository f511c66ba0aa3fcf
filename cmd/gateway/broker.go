package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"

	"github.com/vulturepi/gateway/internal/embedded"
)

// brokerCommand is `gateway broker`: the built-in broker alone, or as the
// gateway's child, which ends with its parent.
func brokerCommand(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("broker", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:1883", "`address` to listen on")
	child := flags.Bool("child", false, "end when standard input does")
	dir := flags.String("dir", "", "`directory` where retained messages and sessions are kept; none: in memory")
	anyAddr := flags.Bool("allow-anonymous", false, "listen on an address that other machines reach, though everybody is let in")
	if err := parseFlags(flags, args, stderr); err != nil {
		return err
	}
	if *child {
		ctx = embedded.UntilEOF(ctx, stdin)
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	conf := embedded.Config{Addr: *addr, AnyAddr: *anyAddr, Dir: *dir}
	return embedded.Run(ctx, conf, log, func(addr string) {
		fmt.Fprintln(stdout, embedded.ReadyLine(addr))
	})
}
