package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/vulturepi/gateway/internal/embedded"
	"github.com/vulturepi/gateway/internal/gateway"
	"github.com/vulturepi/gateway/internal/mdns"
)

// brokerCommand is `gateway broker`: the built-in broker alone, on loopback or
// for the local network, or as the gateway's child, which ends with its parent.
func brokerCommand(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("broker", flag.ContinueOnError)
	addr := flags.String("addr", "", "`address` to listen on, 127.0.0.1:1883 if not set; with --lan one of this machine's, for example 192.168.1.10 or :1884")
	dir := flags.String("dir", "", "`directory` where retained messages and sessions are kept; none: in memory")
	child := flags.Bool("child", false, "end when standard input does")
	anyAddr := flags.Bool("allow-anonymous", false, "listen on an address that other machines reach, though everybody is let in")
	network := flags.Bool("lan", false, "listen on this machine's LAN address, follow it, and let everybody on the network in")
	announce := flags.Bool("mdns", true, "with --lan: announce the broker by mDNS")
	every := flags.Duration("every", mdns.Every, "with --lan: how often to look whether the address has changed")
	if err := parseFlags(flags, args, stderr); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any more does not end the broker
	log := gateway.NewLog("text", "info", stderr)
	defer log.Close()
	if *network {
		return blame(embedded.RunLAN(ctx, embedded.LAN{Addr: *addr, Dir: *dir, Every: *every, Announce: *announce, Out: stdout}, log.Logger))
	}
	if *child {
		ctx = embedded.UntilEOF(ctx, stdin)
	}
	conf := embedded.Config{Addr: cmp.Or(*addr, "127.0.0.1:1883"), AnyAddr: *anyAddr, Dir: *dir}
	return embedded.Run(ctx, conf, log.Logger, func(addr string) {
		fmt.Fprintln(stdout, embedded.ReadyLine(addr))
	})
}
