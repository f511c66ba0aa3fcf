package main

import (
	"github.com/vulturepi/gateway/internal/cli"
	"github.com/vulturepi/gateway/internal/gateway"
)

// healthCommand is `gateway health`, for a container's health check: exit
// status 0 when the gateway on this machine is ready.
type healthCommand struct{}

// Run asks the gateway.
func (healthCommand) Run(sh *cli.Shell) error {
	cfg, _, err := load()
	if err != nil {
		return err
	}
	return gateway.Health(sh.Ctx, cfg.AdminAddr, sh.Stdout)
}
