package mdns

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/pion/mdns/v2"

	"github.com/vulturepi/gateway/internal/lan"
)

// Every is how often Announce looks whether this machine's addresses have
// changed.
const Every = 2 * time.Second

// again is when an announcement is repeated (RFC 6762, 8.3).
const again = time.Second

// Announce tells the local network about the services until ctx ends, and then
// that they are gone. It follows this machine's addresses, which it looks at
// with each tick of every. A network that cannot be told is logged, not fatal.
func Announce(ctx context.Context, log *slog.Logger, every time.Duration, services ...Service) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var spots []spot
	var voices []*voice
	silence := func() {
		for _, v := range voices {
			v.stop()
		}
	}
	defer func() { silence() }()
	for {
		all, err := lan.Interfaces()
		if now := spotsOf(all, services); err == nil && !slices.EqualFunc(now, spots, spot.equal) {
			silence()
			spots, voices = now, nil
			for _, s := range spots {
				v, err := speak(s)
				if err != nil {
					log.Warn("services are not announced on this network", "interface", s.at.Interface, "err", err)
					continue
				}
				voices = append(voices, v)
				log.Info("services are announced by mDNS", "interface", s.at.Interface, "addr", s.at.IP.String(), "name", HostName(), "services", len(s.services))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// spot is an address of this machine, and what is there.
type spot struct {
	at       lan.Address
	services []Service
}

func (s spot) equal(other spot) bool {
	return s.at == other.at && slices.Equal(s.services, other.services)
}

// spotsOf finds out what is announced where: a service on its own address, or
// on every LAN address. Loopback is not announced.
func spotsOf(all []lan.Interface, services []Service) (spots []spot) {
	add := func(at lan.Address, service Service) {
		for i := range spots {
			if spots[i].at == at {
				spots[i].services = append(spots[i].services, service)
				return
			}
		}
		spots = append(spots, spot{at, []Service{service}})
	}
	for _, service := range services {
		if service.Addr.IsValid() && !service.Addr.IsUnspecified() {
			if at, found := lan.Has(all, service.Addr); found {
				add(at, service)
			}
			continue
		}
		for _, at := range lan.Addresses(all) {
			add(at, service)
		}
	}
	return spots
}

// voice answers queries at one spot.
type voice struct {
	spot   spot
	iface  net.Interface
	conn   *mdns.Conn
	cancel context.CancelFunc
	done   chan struct{}
}

func speak(s spot) (*voice, error) {
	iface, err := net.InterfaceByName(s.at.Interface)
	if err != nil {
		return nil, err
	}
	options := []mdns.ServerOption{
		mdns.WithInterfaces(*iface), mdns.WithLocalAddress(net.IP(s.at.IP.AsSlice())),
		mdns.WithLocalNames(HostName()), mdns.WithCacheRefresh(false),
	}
	for _, service := range s.services {
		options = append(options, mdns.WithService(service.instance()))
	}
	conn, err := open(options...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	v := &voice{spot: s, iface: *iface, conn: conn, cancel: cancel, done: make(chan struct{})}
	go v.announce(ctx)
	return v, nil
}

func (s Service) instance() mdns.ServiceInstance {
	i := mdns.ServiceInstance{Instance: s.Instance, Service: s.Type, Port: uint16(s.Port)}
	if s.Path != "" {
		i.Text = []mdns.TXTEntry{mdns.NewTXTString("path", s.Path)} // RFC 6763, 6.4
	}
	return i
}

// announce says twice what is there (RFC 6762, 8.3), and at the end that it is
// gone (10.1). Whoever misses it can still ask, so an error changes nothing.
func (v *voice) announce(ctx context.Context) {
	defer close(v.done)
	_ = v.tell(ttl)
	select {
	case <-time.After(again):
		_ = v.tell(ttl)
		<-ctx.Done()
	case <-ctx.Done():
	}
	_ = v.tell(goodbye)
}

func (v *voice) stop() {
	v.cancel()
	<-v.done
	v.conn.Close()
}

// tell sends one announcement of everything at the spot.
func (v *voice) tell(ttl uint32) error {
	packet, err := announcement(v.spot.services, v.spot.at.IP, ttl)
	if err != nil {
		return err
	}
	return send(v.iface, packet)
}

// send writes to the group from port 5353, as announcements must come from
// there. The socket lives as long as the write: the library has its own.
func send(iface net.Interface, packet []byte) error {
	socket, err := net.ListenMulticastUDP("udp4", &iface, group)
	if err != nil {
		return err
	}
	defer socket.Close()
	if err := loopback(socket); err != nil {
		return err
	}
	_, err = socket.WriteTo(packet, group)
	return err
}
