package main

import (
	"cmp"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/vulturepi/gateway/internal/cli"
	"github.com/vulturepi/gateway/internal/embedded"
	"github.com/vulturepi/gateway/internal/gateway"
	"github.com/vulturepi/gateway/internal/mdns"
)

// brokerCommand is `gateway broker`: the built-in broker alone, on loopback or
// for the local network, or as the gateway's child, which ends with its parent.
type brokerCommand struct {
	Addr           string        `placeholder:"ADDRESS" help:"Address to listen on; not set: GATEWAY_EMBEDDED_ADDR, else 127.0.0.1:1883. With --lan one of this machine's, for example 192.168.1.10 or :1884."`
	Dir            string        `env:"GATEWAY_EMBEDDED_DIR" placeholder:"DIRECTORY" help:"Where retained messages and sessions are kept; not set: GATEWAY_EMBEDDED_DIR, else in memory."`
	Child          bool          `help:"End when standard input does."`
	AllowAnonymous bool          `env:"GATEWAY_ALLOW_ANONYMOUS" help:"Listen on an address that other machines reach, though everybody is let in; GATEWAY_ALLOW_ANONYMOUS=true says it, too."`
	LAN            bool          `name:"lan" help:"Listen on this machine's LAN address, follow it, and let everybody on the network in."`
	MDNS           bool          `name:"mdns" default:"true" negatable:"" help:"With --lan: announce the broker by mDNS."`
	Every          time.Duration `placeholder:"DURATION" help:"With --lan: how often to look whether the address has changed."`
}

// Run runs the broker until it is told to end.
func (c *brokerCommand) Run(sh *cli.Shell) error {
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any more does not end the broker
	log := gateway.NewLog("text", "info", sh.Stderr)
	defer log.Close()
	if c.LAN {
		options := embedded.LAN{Addr: c.Addr, Dir: c.Dir, Every: cmp.Or(c.Every, mdns.Every), Announce: c.MDNS, Out: sh.Stdout}
		return blame(embedded.RunLAN(sh.Ctx, options, log.Logger))
	}
	ctx := sh.Ctx
	if c.Child {
		ctx = embedded.UntilEOF(ctx, sh.Stdin)
	}
	addr := cmp.Or(c.Addr, os.Getenv("GATEWAY_EMBEDDED_ADDR"), "127.0.0.1:1883") // not for --lan, which finds its own
	conf := embedded.Config{Addr: addr, AnyAddr: c.AllowAnonymous, Dir: c.Dir}
	return embedded.Run(ctx, conf, log.Logger, func(addr string) {
		fmt.Fprintln(sh.Stdout, embedded.ReadyLine(addr))
	})
}
