package main

import (
	"fmt"

	"github.com/vulturepi/gateway/internal/cli"
	"github.com/vulturepi/gateway/internal/gateway"
)

// checkCommand is `gateway check`: exit status 0 when a gateway with this
// configuration would be ready, 1 when the broker cannot be used, 2 when the
// configuration is wrong.
type checkCommand struct{}

// Run prints what a gateway would find.
func (checkCommand) Run(sh *cli.Shell) error {
	cfg, notices, err := load()
	if err != nil {
		return err
	}
	for _, n := range notices {
		fmt.Fprintln(sh.Stdout, "note:", n)
	}
	return gateway.Check(sh.Ctx, cfg, sh.Stdout)
}
