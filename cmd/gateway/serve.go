package main

import (
	"context"
	"io"
	"os/signal"
	"syscall"

	"github.com/vulturepi/gateway/internal/gateway"
)

// serveCommand is `gateway serve`, and `gateway` alone.
func serveCommand(ctx context.Context, args []string, _ io.Reader, _, stderr io.Writer) error {
	cfg, notices, err := load("serve", args, stderr)
	if err != nil {
		return err
	}
	// A log that nobody reads any more does not end the gateway, as SIGPIPE would.
	signal.Ignore(syscall.SIGPIPE)
	log := gateway.NewLog(cfg.LogFormat, cfg.LogLevel, stderr)
	defer log.Close()
	for _, n := range notices {
		log.Warn("configuration", "notice", n)
	}
	gateway.LimitMemory(cfg)
	return gateway.Run(ctx, cfg, version, log, nil)
}
