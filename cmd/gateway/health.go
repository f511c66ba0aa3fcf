package main

import (
	"context"
	"io"

	"github.com/vulturepi/gateway/internal/gateway"
)

// healthCommand is `gateway health`, for a container's health check: exit
// status 0 when the gateway on this machine is ready.
func healthCommand(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	cfg, _, err := load("health", args, stderr)
	if err != nil {
		return err
	}
	return gateway.Health(ctx, cfg.AdminAddr, stdout)
}
