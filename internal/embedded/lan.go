package embedded

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/address"
	"github.com/vulturepi/gateway/internal/lan"
	"github.com/vulturepi/gateway/internal/mdns"
)

// LAN is how the broker serves the local network.
type LAN struct {
	Addr     string        // host, host:port or :port of this machine; the only LAN address and 1883 where they are left out
	Dir      string        // where retained messages and sessions are kept; "": in memory
	Every    time.Duration // how often it looks whether the address has changed
	Announce bool          // by mDNS
	Out      io.Writer     // takes what people should read
}

// RunLAN serves MQTT on this machine's LAN address and on loopback until ctx is
// done, and lets everybody in. Where the address changes, it says so and
// listens on the new one.
func RunLAN(ctx context.Context, o LAN, log *slog.Logger) error {
	want, port, err := o.parse()
	if err != nil {
		return err
	}
	all, err := lan.Interfaces()
	if err != nil {
		return err
	}
	at, err := lan.Choose(all, want)
	if err != nil {
		return err
	}
	if !lan.IsLocal(at.IP) {
		return lan.ChoiceError(fmt.Sprintf("%s is no private address: --lan lets everybody in, and that may be the Internet; if it is meant, use --addr %s --allow-anonymous without --lan", at, net.JoinHostPort(at.IP.String(), port)))
	}
	o.Every = max(o.Every, 10*time.Millisecond)
	f := &follower{LAN: o, log: log, port: port, places: newPlaces(), silent: func() {}}
	var following sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		following.Wait()
		f.silent()
	}()
	if err := f.move(ctx, at); err != nil {
		return err
	}
	return serve(ctx, f.places, o.Dir, log, func() {
		f.welcome()
		following.Go(func() { f.follow(ctx) })
	})
}

// parse takes Addr apart.
func (o LAN) parse() (want netip.Addr, port string, err error) {
	host, port, err := address.Split(o.Addr)
	if err != nil {
		return want, "", lan.ChoiceError(fmt.Sprintf("--addr %s: %s", o.Addr, err))
	}
	if port == "" {
		port = "1883"
	}
	if port == "0" {
		return want, "", lan.ChoiceError("--addr: devices must know the port; write for example :1883")
	}
	if host == "" {
		return want, port, nil
	}
	if want, err = netip.ParseAddr(host); err != nil {
		return want, "", lan.ChoiceError(fmt.Sprintf("--addr %s: the host is no IP address; `gateway lan` says this machine's", o.Addr))
	}
	return want, port, nil
}

// follower keeps the broker at the LAN address. Only one goroutine uses it.
type follower struct {
	LAN
	log    *slog.Logger
	port   string
	places *places

	at     lan.Address // where it listens, or did
	gone   bool        // at is no address of this machine now
	said   string      // the newest trouble that people were told about
	silent func()      // ends the announcement
}

func (f *follower) hostPort(ip netip.Addr) string { return net.JoinHostPort(ip.String(), f.port) }

// move listens at another address, and on loopback as before.
func (f *follower) move(ctx context.Context, to lan.Address) error {
	if err := f.places.set(f.hostPort(to.IP), net.JoinHostPort("127.0.0.1", f.port)); err != nil {
		return err
	}
	f.at, f.gone, f.said = to, false, ""
	f.announce(ctx)
	return nil
}

// announce says by mDNS where the broker is, and no longer where it was.
func (f *follower) announce(ctx context.Context) {
	if !f.Announce {
		return
	}
	f.silent()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	f.silent = func() { cancel(); <-done }
	port, _ := strconv.Atoi(f.port)
	service := mdns.Service{Type: mdns.MQTT, Instance: mdns.Instance("Vulture broker " + f.port), Port: port, Addr: f.at.IP}
	go func() {
		defer close(done)
		mdns.Announce(ctx, f.log, f.Every, service)
	}()
}

// follow looks at the interfaces until ctx ends.
func (f *follower) follow(ctx context.Context) {
	tick := time.NewTicker(f.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if all, err := lan.Interfaces(); err == nil {
			f.look(ctx, all)
		}
	}
}

// look follows the address.
func (f *follower) look(ctx context.Context, all []lan.Interface) {
	next, ok := lan.Next(all, f.at)
	switch {
	case !ok:
		f.lose(all)
		return
	case next.IP == f.at.IP && !f.gone:
		f.at = next // perhaps on another interface
		return
	}
	old := f.at.IP
	if err := f.move(ctx, next); err != nil {
		f.trouble(fmt.Sprintf("this machine's LAN address is %s now, but %s; trying again", next, err))
		return
	}
	if old == next.IP {
		fmt.Fprintf(f.Out, "%s is back: the broker listens there again\n", next)
		return
	}
	fmt.Fprintf(f.Out, "this machine's LAN address has changed from %s to %s: the broker listens on %s now; devices find it after `gateway lan --write settings.ini`\n", old, next, f.hostPort(next.IP))
}

// lose leaves an address that is gone and has no follower.
func (f *follower) lose(all []lan.Interface) {
	f.gone = true
	if err := f.places.set(net.JoinHostPort("127.0.0.1", f.port)); err != nil {
		f.log.Error("the broker cannot listen on loopback", "err", err)
	}
	others := "connect it to a network, and the broker listens there"
	if list := lan.Addresses(all); len(list) > 0 {
		others = fmt.Sprintf("it has %s: stop the broker and start it with --addr and one of them", lan.Names(list))
	}
	f.trouble(fmt.Sprintf("%s is not an address of this machine any more; %s", f.at.IP, others))
}

// trouble tells people once.
func (f *follower) trouble(words string) {
	if words != f.said {
		fmt.Fprintln(f.Out, words)
		f.said = words
	}
}

// welcome says where the broker is and what to write where.
func (f *follower) welcome() {
	var b strings.Builder
	fmt.Fprintf(&b, "The broker listens on %s (%s) and on 127.0.0.1:%s.\n", f.hostPort(f.at.IP), f.at.Interface, f.port)
	b.WriteString("That is what --lan asks for: anyone on this network may read and publish everything, without a password.\n\n")
	fmt.Fprintf(&b, "settings.ini of a device:\n\n%s\n", lan.SettingsLines(f.at.IP, f.port))
	fmt.Fprintf(&b, "An MQTT app on a phone: mqtt://%s (host %s, port %s, no user, no password, no TLS)\n", f.hostPort(f.at.IP), f.at.IP, f.port)
	fmt.Fprintf(&b, "A gateway on this machine: GATEWAY_MQTT_URL=mqtt://127.0.0.1:%s\n", f.port)
	if f.Announce {
		b.WriteString("It is announced by mDNS, so that ip_address = auto finds it.\n")
	}
	fmt.Fprintln(f.Out, b.String())
}
