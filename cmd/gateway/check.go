package main

import (
	"context"
	"fmt"
	"io"

	"github.com/vulturepi/gateway/internal/gateway"
)

// checkCommand is `gateway check`: exit status 0 when a gateway with this
// configuration would be ready, 1 when the broker cannot be used, 2 when the
// configuration is wrong.
func checkCommand(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	cfg, notices, err := load("check", args, stderr)
	if err != nil {
		return err
	}
	for _, n := range notices {
		fmt.Fprintln(stdout, "note:", n)
	}
	return gateway.Check(ctx, cfg, stdout)
}
