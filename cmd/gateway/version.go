package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
)

// version is set when a release is built.
var version = "dev"

func versionCommand(_ context.Context, _ []string, _ io.Reader, stdout, _ io.Writer) error {
	fmt.Fprintln(stdout, "gateway", version, runtime.Version())
	return nil
}
