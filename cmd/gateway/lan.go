package main

import (
	"errors"
	"fmt"

	"github.com/vulturepi/gateway/internal/cli"
	"github.com/vulturepi/gateway/internal/lan"
)

// lanCommand is `gateway lan`: this machine's LAN address, and what to do with
// it. Exit status 1 when there is none or a file cannot be written, 2 when
// people have to choose or the file is the wrong one.
type lanCommand struct {
	Addr  string `placeholder:"ADDRESS" help:"The address to use, where this machine has several."`
	Write string `placeholder:"FILE" help:"Put the address into this file: a settings.ini, or a configuration of mosquitto."`
}

// Run prints the address, or writes it.
func (c *lanCommand) Run(sh *cli.Shell) error {
	at, err := lan.ThisMachine(c.Addr)
	if err != nil {
		return blame(err)
	}
	if c.Write == "" {
		fmt.Fprint(sh.Stdout, lan.Overview(at))
		return nil
	}
	change, err := lan.MendFile(c.Write, at.IP)
	if err != nil {
		return blame(err)
	}
	fmt.Fprintln(sh.Stdout, change.Words(c.Write, at.IP))
	return nil
}

// blame makes a mistake of the caller one of the command line.
func blame(err error) error {
	if _, choice := errors.AsType[lan.ChoiceError](err); choice || errors.Is(err, lan.ErrContent) {
		return usageError{err}
	}
	return err
}
