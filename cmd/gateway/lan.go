package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/vulturepi/gateway/internal/lan"
)

// lanCommand is `gateway lan`: this machine's LAN address, and what to do with
// it. Exit status 1 when there is none or a file cannot be written, 2 when
// people have to choose or the file is the wrong one.
func lanCommand(_ context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("lan", flag.ContinueOnError)
	addr := flags.String("addr", "", "the `address` to use, where this machine has several")
	file := flags.String("write", "", "put the address into this `file`: a settings.ini, or a configuration of mosquitto")
	if err := parseFlags(flags, args, stderr); err != nil {
		return err
	}
	at, err := lan.ThisMachine(*addr)
	if err != nil {
		return blame(err)
	}
	if *file == "" {
		fmt.Fprint(stdout, lan.Overview(at))
		return nil
	}
	change, err := lan.MendFile(*file, at.IP)
	if err != nil {
		return blame(err)
	}
	fmt.Fprintln(stdout, change.Words(*file, at.IP))
	return nil
}

// blame makes a mistake of the caller one of the command line.
func blame(err error) error {
	if _, choice := errors.AsType[lan.ChoiceError](err); choice || errors.Is(err, lan.ErrContent) {
		return usageError{err}
	}
	return err
}
