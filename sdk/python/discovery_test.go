package devicecom_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// announce answers questions for _mqtt._tcp.local on loopback, as a responder
// of multicast DNS does, with what port says at the time. It has a UDP port of
// its own, so that no other responder of this network takes part.
func announce(t *testing.T, port *atomic.Int64) (udp int) {
	t.Helper()
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenMulticastUDP("udp4", loopback, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		packet := make([]byte, 9000)
		for {
			n, from, err := conn.ReadFromUDP(packet)
			if err != nil {
				return
			}
			if bytes.Contains(packet[:n], []byte("\x05_mqtt\x04_tcp\x05local\x00\x00\x0c")) {
				_, _ = conn.WriteToUDP(announcement(uint16(port.Load())), from)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// announcement is a response with the PTR, SRV and A records of a broker on
// 127.0.0.1; names point back to earlier ones (RFC 1035, 4.1.4).
func announcement(port uint16) []byte {
	b := []byte("\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x02")
	record := func(name string, kind uint16, data string) {
		b = append(b, name...)
		b = binary.BigEndian.AppendUint16(b, kind)
		b = append(b, 0x80, 1, 0, 0, 0, 120) // class IN, two minutes
		b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
		b = append(b, data...)
	}
	record("\x05_mqtt\x04_tcp\x05local\x00", 12, "\x07Kitchen\xc0\x0c") // at 12; its data at 40
	record("\xc0\x28", 33, string(binary.BigEndian.AppendUint16([]byte{0, 0, 0, 0}, port))+"\x02pi\xc0\x17")
	record("\xc0\x44", 1, "\x7f\x00\x00\x01") // the target, behind the 12 bytes of its header and 6 of its data
	return b
}

// ip_address = auto: the broker that announces itself is found, and found
// again where it has moved to.
func TestAutoFindsTheBroker(t *testing.T) {
	first, second := startBroker(t), startBroker(t)
	var port atomic.Int64
	port.Store(int64(first.Port()))
	udp := announce(t, &port)
	p := start(t, "[system]\nip_address = auto\n", fmt.Sprintf(`
import socket
import device_com

device_com._MDNS = ("224.0.0.251", %d)
device_com._interfaces = lambda: [socket.if_nametoindex("lo")]
for v in device_com.connect_broker():
    print(v)
`, udp))
	waitSubscribed(t, first, 1)
	send(t, brokertest.Dial(t, first.URL()), "a", "1")
	p.prints("1\n")
	port.Store(int64(second.Port()))
	first.Stop()
	waitSubscribed(t, second, 1)
	send(t, brokertest.Dial(t, second.URL()), "a", "2")
	p.prints("2\n")
	p.complains("connected to " + second.Addr() + " again\n")
}
