package main

import (
	"os/signal"
	"syscall"

	"github.com/vulturepi/gateway/internal/cli"
	"github.com/vulturepi/gateway/internal/gateway"
)

// serveCommand is `gateway serve`, and `gateway` alone.
type serveCommand struct{}

// Run runs the gateway until it is told to end.
func (serveCommand) Run(sh *cli.Shell) error {
	cfg, notices, err := load()
	if err != nil {
		return err
	}
	// A log that nobody reads any more does not end the gateway, as SIGPIPE would.
	signal.Ignore(syscall.SIGPIPE)
	log := gateway.NewLog(cfg.LogFormat, cfg.LogLevel, sh.Stderr)
	defer log.Close()
	for _, n := range notices {
		log.Warn("configuration", "notice", n)
	}
	gateway.LimitMemory(cfg)
	return gateway.Run(sh.Ctx, cfg, version, log, nil)
}
