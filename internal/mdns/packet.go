package mdns

import (
	"net"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

// Lifetimes of announced records, in seconds.
const (
	ttl     uint32 = 120 // of records about a host (RFC 6762, 10)
	goodbye uint32 = 0   // the record is gone (10.1)
)

// cacheFlush marks a record that no other host has (RFC 6762, 10.2).
const cacheFlush dnsmessage.Class = 1 << 15

// announcement is the unsolicited answer with all records of the services
// (RFC 6763, 12.1). A goodbye leaves the host's address out: other programs on
// this machine may still need it.
func announcement(services []Service, at netip.Addr, ttl uint32) ([]byte, error) {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
	host, err := dnsmessage.NewName(HostName() + ".")
	if err != nil {
		return nil, err
	}
	const unique = dnsmessage.ClassINET | cacheFlush
	add := func(name dnsmessage.Name, class dnsmessage.Class, body dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: class, TTL: ttl}, Body: body})
	}
	for _, s := range services {
		kind, err := dnsmessage.NewName(s.Type + ".local.")
		if err != nil {
			return nil, err
		}
		name, err := dnsmessage.NewName(s.Instance + "." + s.Type + ".local.")
		if err != nil {
			return nil, err
		}
		text := []string{""} // a TXT record has at least one string (RFC 6763, 6.1)
		if s.Path != "" {
			text[0] = "path=" + s.Path
		}
		add(kind, dnsmessage.ClassINET, &dnsmessage.PTRResource{PTR: name})
		add(name, unique, &dnsmessage.SRVResource{Port: uint16(s.Port), Target: host})
		add(name, unique, &dnsmessage.TXTResource{TXT: text})
	}
	if ttl != goodbye {
		add(host, unique, &dnsmessage.AResource{A: at.As4()})
	}
	return m.Pack()
}

// loopback lets programs on this machine hear what it sends to the group.
func loopback(socket *net.UDPConn) error {
	return ipv4.NewPacketConn(socket).SetMulticastLoopback(true)
}
