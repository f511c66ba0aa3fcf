package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/mdns/v2"
)

var (
	// ErrNone: nobody on the local network announces the service.
	ErrNone = errors.New("nobody answers")

	// ErrSeveral: more than one does; the text names them.
	ErrSeveral = errors.New("several answer")
)

// settle is how long others may answer after the first.
const settle = 500 * time.Millisecond

// maxFound bounds what is remembered of a network that answers too much.
const maxFound = 16

// Find asks the local network for a service such as MQTT, until somebody
// answers or ctx ends, and returns its host:port. With a port, only services on
// it count; 0: on any. That several answer is an error that names them: which
// one is meant, only people know.
func Find(ctx context.Context, service string, port int) (string, error) {
	conn, err := open()
	if err != nil {
		return "", fmt.Errorf("cannot ask the local network: %w", err)
	}
	defer conn.Close()
	answers := make(chan mdns.ServiceEvent, maxFound)
	conn.OnServiceDiscovered(func(e mdns.ServiceEvent) {
		select {
		case answers <- e:
		default: // it is told again
		}
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := conn.Browse(ctx, service); err != nil {
		return "", fmt.Errorf("cannot ask the local network: %w", err)
	}
	return one(collect(ctx, service, port, answers))
}

// found is an instance and where it is.
type found struct{ instance, hostPort string }

// collect waits for the first answer and a little longer.
func collect(ctx context.Context, service string, port int, answers <-chan mdns.ServiceEvent) (all []found) {
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return all
		case <-settled:
			return all
		case e := <-answers:
			same := func(f found) bool { return f.instance == e.Instance.Instance }
			at := int(e.Instance.Port)
			if e.Instance.Service != service || !usable(e.Addr) || at == 0 || port != 0 && port != at || slices.ContainsFunc(all, same) || len(all) == maxFound {
				continue // of a machine with several addresses, the first is as good as any
			}
			all = append(all, found{e.Instance.Instance, net.JoinHostPort(e.Addr.String(), strconv.Itoa(at))})
			if settled == nil {
				settled = time.After(settle)
			}
		}
	}
}

// usable is false for addresses that do not lead to another machine, and for
// those of IPv6 that mean nothing without an interface.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !(a.Is6() && a.IsLinkLocalUnicast())
}

func one(all []found) (string, error) {
	slices.SortFunc(all, func(a, b found) int { return strings.Compare(a.hostPort, b.hostPort) })
	places := slices.CompactFunc(slices.Clone(all), func(a, b found) bool { return a.hostPort == b.hostPort })
	switch len(places) {
	case 0:
		return "", ErrNone
	case 1:
		return places[0].hostPort, nil
	}
	words := make([]string, len(places))
	for i, f := range places {
		words[i] = fmt.Sprintf("%s (%q)", f.hostPort, f.instance)
	}
	return "", fmt.Errorf("%w: %s", ErrSeveral, strings.Join(words, ", "))
}
