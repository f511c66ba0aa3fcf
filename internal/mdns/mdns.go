// Package mdns announces services on the local network and finds them there:
// DNS-SD (RFC 6763) over multicast DNS (RFC 6762), IPv4.
package mdns

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/pion/logging"
	"github.com/pion/mdns/v2"
	"golang.org/x/net/ipv4"
)

// Types of services.
const (
	HTTP = "_http._tcp"
	MQTT = "_mqtt._tcp"
)

// group is where queries and announcements go (RFC 6762, 3).
var group = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}

// Service is what is announced.
type Service struct {
	Type     string // such as MQTT
	Instance string // a name for people, made by Instance
	Port     int
	Addr     netip.Addr // where it listens; unspecified: on every interface
	Path     string     // of a page, HTTP only
}

// Instance makes a name for people that is one DNS label: what it is, on which
// machine.
func Instance(what string) string {
	const longest = 63
	name := what + " on " + machine()
	return name[:min(len(name), longest)]
}

// HostName is the name that the announcements give this machine. It is one of
// its own, so that no other responder here has a claim to it.
func HostName() string { return "vulture-" + machine() + ".local" }

// machine is the first label of this machine's name, fit for DNS.
func machine() string {
	name, _ := os.Hostname()
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	name = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, name), "-")
	if name == "" {
		return "gateway"
	}
	return name[:min(len(name), 40)]
}

// open starts the library on some interfaces; nil means all that are up.
func open(options ...mdns.ServerOption) (*mdns.Conn, error) {
	socket, err := net.ListenUDP("udp4", group)
	if err != nil {
		return nil, err
	}
	silent := &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
	conn, err := mdns.NewServer(ipv4.NewPacketConn(socket), nil, append(options, mdns.WithLoggerFactory(silent))...)
	if err != nil {
		socket.Close()
		return nil, err
	}
	return conn, nil
}
