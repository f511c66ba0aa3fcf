package main

import (
	"fmt"
	"runtime"

	"github.com/vulturepi/gateway/internal/cli"
)

// version is set when a release is built.
var version = "dev"

// versionCommand is `gateway version`.
type versionCommand struct{}

// Run prints the version.
func (*versionCommand) Run(sh *cli.Shell) error {
	fmt.Fprintln(sh.Stdout, "gateway", version, runtime.Version())
	return nil
}
