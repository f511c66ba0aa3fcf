package device

import (
	"reflect"
	"strings"
	"testing"
)

// Lines as mosquitto 2.0.11 and 2.1.2 write them.
func TestLinesAreRead(t *testing.T) {
	for _, x := range []struct {
		line string
		want []event
	}{
		// 2.0, with its time in front, without, and in another form.
		{"1795715782: New client connected from 127.0.0.1:55626 as normal (p2, c1, k60).", []event{{connected, "normal", "127.0.0.1:55626", ReasonConnected}}},
		{"New client connected from 127.0.0.1:55626 as normal (p2, c1, k60).", []event{{connected, "normal", "127.0.0.1:55626", ReasonConnected}}},
		{"2026-11-26T17:52:15: New client connected from ::1:55682 as five (p5, c1, k5, u'usr').", []event{{connected, "five", "[::1]:55682", ReasonConnected}}},
		{"1: New bridge connected from 10.0.0.2:1 as house.b (p2, c0, k60, u'b').", []event{{connected, "house.b", "10.0.0.2:1", ReasonConnected}}},
		{"1795715783: New client connected from 127.0.0.1:55668 as a b (p2, c1, k60). (p2, c1, k60).", []event{{connected, "a b (p2, c1, k60).", "127.0.0.1:55668", ReasonConnected}}},
		{"1: Client normal disconnected.", []event{{disconnected, "normal", "", ReasonDisconnected}}},
		{"1: Client taken closed its connection.", []event{{disconnected, "taken", "", ReasonClosed}}},
		{"1: Client taken already connected, closing old connection.", []event{{disconnected, "taken", "", ReasonTakenOver}}},
		{"1: Client five has exceeded timeout, disconnecting.", []event{{disconnected, "five", "", ReasonTimeout}}},
		{"1: Client x disconnected, not authorised.", []event{{disconnected, "x", "", ReasonNotAuthorised}}},
		{"1: Client x disconnected due to malformed packet.", []event{{disconnected, "x", "", ReasonMalformed}}},
		{"1: Client x disconnected due to protocol error.", []event{{disconnected, "x", "", ReasonProtocol}}},
		{"1: Client x disconnected due to oversize packet.", []event{{disconnected, "x", "", ReasonTooLarge}}},
		{"1: Client x disconnected due to QoS too high or retain not supported.", []event{{disconnected, "x", "", ReasonOther}}},
		{"1: Client x disconnected due to using not allowed feature (QoS too high, retain not supported, or bad AUTH method).", []event{{disconnected, "x", "", ReasonOther}}},
		{"1: Client x been disconnected by administrative action.", []event{{disconnected, "x", "", ReasonAdministrative}}},
		{"1: Client x disconnected: Connection reset by peer.", []event{{disconnected, "x", "", ReasonClosed}}},
		{"1: Bad socket read/write on client a: b: Lookup error.", []event{{disconnected, "a: b", "", ReasonClosed}}},
		{"1: Outgoing messages are being dropped for client gw-1-sub0.", []event{{kind: dropping, id: "gw-1-sub0"}}},

		// 2.1. Its plain goodbye can be read as one of 2.0, of a strange id.
		{"1: Client p-1 [192.168.1.7:55626] disconnected: connection closed by client.", []event{{disconnected, "p-1", "192.168.1.7:55626", ReasonClosed}}},
		{"1: Client p-1 [192.168.1.7:55626] disconnected: session taken over.", []event{{disconnected, "p-1", "192.168.1.7:55626", ReasonTakenOver}}},
		{"1: Client p-1 [::1:55626] disconnected: exceeded timeout.", []event{{disconnected, "p-1", "[::1]:55626", ReasonTimeout}}},
		{"1: Client p-1 [192.168.1.7:55626] disconnected: bad username or password.", []event{{disconnected, "p-1", "192.168.1.7:55626", ReasonNotAuthorised}}},
		{"1: Client p-1 [192.168.1.7:55626] disconnected: used disallowed feature (QoS too high, retain not supported, or bad AUTH method).", []event{{disconnected, "p-1", "192.168.1.7:55626", ReasonOther}}},
		{"1: Client p-1 [192.168.1.7:55626] disconnected: Connection reset by peer.", []event{{disconnected, "p-1", "192.168.1.7:55626", ReasonClosed}}},
		{"1: Client p-1 [192.168.1.7:55626] disconnected: bad socket read/write: Lookup error.", []event{{disconnected, "p-1", "192.168.1.7:55626", ReasonClosed}}},
		{"1: Client p-1 [192.168.1.7:55626] disconnected.", []event{{disconnected, "p-1 [192.168.1.7:55626]", "", ReasonDisconnected}, {disconnected, "p-1", "192.168.1.7:55626", ReasonDisconnected}}},

		// About nobody's connection.
		{"1: New connection from 127.0.0.1:55626 on port 1883.", []event{{accepted, "", "127.0.0.1:55626", ""}}},
		{"1: Expiring client x due to timeout.", nil},
		{"1: mosquitto version 2.0.11 terminating", nil},
		{"1: Client connection from 10.0.0.1 denied: max_connections exceeded.", nil},
		{"1: Client x negotiated TLSv1.3 cipher TLS_AES_256_GCM_SHA384", nil},
		{"Client", nil}, {"", nil}, {"New client connected from ", nil}, {"New client connected from 1:1 as (p2, c1, k60", nil},
		{"a: Client x disconnected.", nil}, // no time has a letter

		// Names that look like a part of a line.
		{"1: New client connected from 1.2.3.4:5 as a (p2, c1, k60, u'b (p2, c1, k60, u'c').", []event{
			{connected, "a (p2, c1, k60, u'b", "1.2.3.4:5", ReasonConnected}, {connected, "a", "1.2.3.4:5", ReasonConnected},
		}},
		{"1: Client victim disconnected: x disconnected.", []event{
			{disconnected, "victim disconnected: x", "", ReasonDisconnected}, {disconnected, "victim", "", ReasonClosed},
		}},
	} {
		if got := read(x.line); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%q:\n got %+v\nwant %+v", x.line, got, x.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("1: Client p [1.2.3.4:5] disconnected: x.")
	f.Add("New client connected from ::1:5 as a (p2, c1, k60, u'').")
	f.Fuzz(func(t *testing.T, line string) {
		for _, e := range read(line) {
			if !strings.Contains(line, e.id) {
				t.Errorf("%q: the id %q is no part of it", line, e.id)
			}
		}
	})
}
