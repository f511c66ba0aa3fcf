package packet

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

const testLimit = 1 << 20

func newTestReader(stream []byte) *Reader {
	return NewReader(bytes.NewReader(stream), testLimit, NewBudget(math.MaxInt64))
}

// next reads the packet that comes after a CONNECT of that version.
func next(version byte, packet []byte) (any, error) {
	r := newTestReader(raw.Join(raw.Connect(version, 2, raw.Props(), "c"), packet))
	if _, err := r.Connect(); err != nil {
		return nil, err
	}
	p, err := r.Next()
	if err == nil {
		if rest, _ := io.ReadAll(r.src); len(rest) > 0 {
			err = errors.New("the packet was not read to its end")
		}
	}
	return p, err
}

func TestConnectIsTakenApart(t *testing.T) {
	will := func(m Message, delay uint32) *Will { return &Will{Message: m, Delay: delay} }
	for name, tt := range map[string]struct {
		packet []byte
		want   Connect
	}{
		"3.1": {
			raw.Connect(3, 2, nil, "a"),
			accepted(V31, func(c *Connect) { c.Clean = true }),
		},
		"3.1.1 with everything": {
			raw.ConnectAlive(4, 0xEC, 60, nil, "a", raw.Text("w/t"), raw.Text("gone"), raw.Text("user"), raw.Text("pass")),
			accepted(V311, func(c *Connect) {
				c.KeepAlive = 60
				c.Will = will(Message{Topic: "w/t", Payload: []byte("gone"), QoS: 1, Retain: true}, 0)
			}),
		},
		"3.1.1 with an empty will and an empty password": {
			raw.Connect(4, 0xC6, nil, "a", raw.Text("w"), raw.Text(""), raw.Text("user"), raw.Text("")),
			accepted(V311, func(c *Connect) { c.Clean = true; c.Will = will(Message{Topic: "w", Payload: []byte{}}, 0) }),
		},
		"5 with a password and no user name": {
			raw.Connect(5, 0x42, nil, "a", raw.Text("pass")),
			accepted(V5, func(c *Connect) { c.Clean = true }),
		},
		"5 with everything": {
			raw.Connect(5, 0x16, raw.Props(raw.Prop32(17, 300), raw.Prop16(33, 20), raw.Prop32(39, 4096), raw.Prop16(34, 10), []byte{25, 1, 23, 0}, raw.User("k", "v"),
				[]byte{21}, raw.Text("SCRAM"), []byte{22}, raw.Text("xyz")), "a",
				raw.Props(raw.Prop32(24, 7), raw.Prop32(2, 9), []byte{1, 1}, []byte{3}, raw.Text("text/plain"), []byte{8}, raw.Text("r"), []byte{9}, raw.Text("\x00"), raw.User("a", "b"), raw.User("a", "c")),
				raw.Text("w"), raw.Text("x")),
			accepted(V5, func(c *Connect) {
				c.Clean, c.SessionExpiry, c.ReceiveMaximum, c.MaximumPacket, c.AuthMethod = true, 300, 20, 4096, "SCRAM"
				c.Will = will(Message{Topic: "w", Payload: []byte("x"), QoS: 2, Expiry: 9, Expires: true,
					Properties: raw.Join([]byte{1, 1}, []byte{3}, raw.Text("text/plain"), []byte{8}, raw.Text("r"), []byte{9}, raw.Text("\x00"), raw.User("a", "b"), raw.User("a", "c"))}, 7)
			}),
		},
	} {
		r := newTestReader(tt.packet)
		got, err := r.Connect()
		if err != nil {
			t.Errorf("%s: got error %v", name, err)
			continue
		}
		if !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("%s:\n got %+v (will %+v)\nwant %+v (will %+v)", name, *got, got.Will, tt.want, tt.want.Will)
		}
		if r.Version() != tt.want.Version {
			t.Errorf("%s: got version %d, want %d", name, r.Version(), tt.want.Version)
		}
	}
}

// accepted is a CONNECT with what it has at least.
func accepted(v Version, set func(*Connect)) Connect {
	c := Connect{Version: v, ClientID: "a", ReceiveMaximum: 65535}
	set(&c)
	return c
}

func TestPacketsAreTakenApart(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for name, tt := range map[string]struct {
		version byte
		packet  []byte
		want    any
	}{
		"PUBLISH at QoS 0":        {4, raw.Publish(0, "a", 0, nil, "x"), &Publish{Message: Message{Topic: "a", Payload: []byte("x")}}},
		"PUBLISH without payload": {4, raw.Publish(1, "/", 0, nil, ""), &Publish{Message: Message{Topic: "/", Payload: []byte{}, Retain: true}}},
		"PUBLISH at QoS 2":        {4, raw.Publish(0xD, "a", 65535, nil, long), &Publish{Message: Message{Topic: "a", Payload: []byte(long), QoS: 2, Retain: true}, Dup: true, ID: 65535}},
		"PUBLISH of 5": {5, raw.Publish(2, "a", 1, raw.Props(raw.User("k", "v"), raw.Prop32(2, 60), []byte{1, 0}), "x"), &Publish{
			Message: Message{Topic: "a", Payload: []byte("x"), QoS: 1, Properties: raw.Join(raw.User("k", "v"), []byte{1, 0}), Expiry: 60, Expires: true}, ID: 1}},
		"PUBACK":                      {4, []byte{0x40, 2, 0, 7}, Ack{Type: PUBACK, ID: 7}},
		"PUBACK of 5":                 {5, []byte{0x40, 2, 0, 7}, Ack{Type: PUBACK, ID: 7}},
		"PUBREC with a reason":        {5, []byte{0x50, 3, 0, 7, 0x80}, Ack{Type: PUBREC, ID: 7, Reason: 0x80}},
		"PUBREL with properties":      {5, raw.Packet(0x62, raw.U16(7), []byte{0x92}, raw.Props([]byte{31}, raw.Text("why"), raw.User("a", "b"))), Ack{Type: PUBREL, ID: 7, Reason: 0x92}},
		"PUBCOMP, length with air":    {4, []byte{0x70, 0x82, 0x00, 0, 7}, Ack{Type: PUBCOMP, ID: 7}},
		"PUBREL of 3.1, repeated":     {3, []byte{0x6A, 2, 0, 7}, Ack{Type: PUBREL, ID: 7}},
		"SUBSCRIBE of 3.1, repeated":  {3, raw.Packet(0x8A, raw.U16(1), raw.Text("a"), []byte{1}), &Subscribe{ID: 1, Subscription: []Subscription{{Filter: "a", QoS: 1}}}},
		"SUBSCRIBE":                   {4, raw.Packet(0x82, raw.U16(1), raw.Text("a/+/#"), []byte{0}, raw.Text("$SYS/#"), []byte{2}), &Subscribe{ID: 1, Subscription: []Subscription{{Filter: "a/+/#"}, {Filter: "$SYS/#", QoS: 2}}}},
		"SUBSCRIBE of 5":              {5, raw.Subscribe(1, raw.Props([]byte{11, 0xFF, 0xFF, 0xFF, 0x7F}, raw.User("a", "b")), "+", 0x2D), &Subscribe{ID: 1, Identifier: 268_435_455, Subscription: []Subscription{{Filter: "+", QoS: 1, NoLocal: true, AsPublished: true, RetainHandling: 2}}}},
		"SUBSCRIBE, shared":           {4, raw.Subscribe(1, nil, "$share/g/#", 1), &Subscribe{ID: 1, Subscription: []Subscription{{Filter: "#", Group: "g", QoS: 1}}}},
		"SUBSCRIBE, shared, to slash": {4, raw.Subscribe(1, nil, "$share/g//", 1), &Subscribe{ID: 1, Subscription: []Subscription{{Filter: "/", Group: "g", QoS: 1}}}},
		"UNSUBSCRIBE":                 {4, raw.Packet(0xA2, raw.U16(1), raw.Text("a"), raw.Text("$share/g/b")), &Unsubscribe{ID: 1, Filter: []Subscription{{Filter: "a"}, {Filter: "b", Group: "g"}}}},
		"UNSUBSCRIBE of 5":            {5, raw.Packet(0xA2, raw.U16(1), raw.Props(raw.User("a", "b")), raw.Text("a")), &Unsubscribe{ID: 1, Filter: []Subscription{{Filter: "a"}}}},
		"PINGREQ":                     {4, []byte{0xC0, 0}, Ping{}},
		"DISCONNECT":                  {4, []byte{0xE0, 0}, &Disconnect{}},
		"DISCONNECT of 5":             {5, []byte{0xE0, 0}, &Disconnect{}},
		"DISCONNECT with a reason":    {5, []byte{0xE0, 1, 4}, &Disconnect{Reason: 4}},
		"DISCONNECT with an expiry":   {5, raw.Packet(0xE0, []byte{0}, raw.Props(raw.Prop32(17, 5), []byte{31}, raw.Text("bye"))), &Disconnect{SessionExpiry: 5, HasExpiry: true}},
		"AUTH":                        {5, raw.Packet(0xF0, []byte{0x18}, raw.Props([]byte{21}, raw.Text("m"))), &Auth{Reason: 0x18}},
	} {
		got, err := next(tt.version, tt.packet)
		if err != nil {
			t.Errorf("%s: got error %v", name, err)
		} else if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, tt.want)
		}
	}
}

// Every rule that is broken has its reason. What is cut short, whatever it is, is malformed or the end of the stream.
func TestBrokenPacketsAreRefused(t *testing.T) {
	for name, tt := range brokenPackets() {
		p, err := next(tt.version, tt.packet)
		var bad *Error
		if !errors.As(err, &bad) {
			t.Errorf("%s (%x): got %+v, error %v, want an Error", name, tt.packet, p, err)
		} else if bad.Reason != tt.reason {
			t.Errorf("%s: got reason %#x (%s), want %#x", name, byte(bad.Reason), bad.Text, byte(tt.reason))
		}
	}
}

type broken struct {
	version byte
	packet  []byte
	reason  Reason
}

func brokenPackets() map[string]broken {
	filters := func(n int) []byte { return bytes.Repeat(raw.Join(raw.Text("a"), []byte{0}), n) }
	deep := strings.Repeat("/", MaxLevels)
	return map[string]broken{
		"the seven bytes": {5, []byte{0x82, 5, 0, 1, 0, 0, 0}, MalformedPacket},

		"type 0":                   {4, []byte{0, 0}, MalformedPacket},
		"CONNECT again":            {5, raw.Connect(5, 2, nil, "c"), ProtocolError},
		"CONNACK":                  {5, []byte{0x20, 3, 0, 0, 0}, ProtocolError},
		"SUBACK":                   {5, []byte{0x90, 4, 0, 1, 0, 0}, ProtocolError},
		"UNSUBACK":                 {4, []byte{0xB0, 2, 0, 1}, ProtocolError},
		"PINGRESP":                 {4, []byte{0xD0, 0}, ProtocolError},
		"AUTH before 5":            {4, []byte{0xF0, 0}, MalformedPacket},
		"length of five bytes":     {4, []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}, MalformedPacket},
		"length with air in 5":     {5, []byte{0xC0, 0x80, 0x00}, MalformedPacket},
		"larger than the limit":    {5, []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, PacketTooLarge},
		"flags of PUBACK":          {4, []byte{0x41, 2, 0, 1}, MalformedPacket},
		"flags of PUBREL":          {4, []byte{0x60, 2, 0, 1}, MalformedPacket},
		"flags of SUBSCRIBE":       {4, raw.Packet(0x80, raw.U16(1), raw.Text("a"), []byte{0}), MalformedPacket},
		"flags of SUBSCRIBE, DUP":  {4, raw.Packet(0x8A, raw.U16(1), raw.Text("a"), []byte{0}), MalformedPacket},
		"flags of UNSUBSCRIBE":     {4, raw.Packet(0xA0, raw.U16(1), raw.Text("a")), MalformedPacket},
		"flags of PINGREQ":         {4, []byte{0xC1, 0}, MalformedPacket},
		"PINGREQ with a body":      {4, []byte{0xC0, 1, 0}, MalformedPacket},
		"DISCONNECT with a body":   {4, []byte{0xE0, 1, 0}, MalformedPacket},
		"flags of DISCONNECT":      {5, []byte{0xE2, 0}, MalformedPacket},
		"reason of DISCONNECT":     {5, []byte{0xE0, 1, 0x8B}, ProtocolError},
		"reason of PUBACK":         {5, []byte{0x40, 3, 0, 1, 0x01}, ProtocolError},
		"reason of PUBREL":         {5, []byte{0x62, 3, 0, 1, 0x10}, ProtocolError},
		"reason of AUTH":           {5, []byte{0xF0, 1, 0x00}, ProtocolError},
		"AUTH that is empty":       {5, []byte{0xF0, 0}, ProtocolError},
		"PUBACK too long":          {4, []byte{0x40, 3, 0, 1, 0}, MalformedPacket},
		"PUBACK too short":         {4, []byte{0x40, 1, 0}, MalformedPacket},
		"PUBACK of 5, too long":    {5, []byte{0x40, 5, 0, 1, 0, 0, 0}, MalformedPacket},
		"PUBACK of 0":              {4, []byte{0x40, 2, 0, 0}, ProtocolError},
		"PUBLISH at QoS 3":         {5, raw.Publish(6, "a", 1, raw.Props(), ""), MalformedPacket},
		"DUP at QoS 0":             {4, raw.Publish(8, "a", 0, nil, ""), MalformedPacket},
		"PUBLISH with id 0":        {4, raw.Publish(2, "a", 0, nil, ""), ProtocolError},
		"empty topic":              {5, raw.Publish(0, "", 0, raw.Props(), ""), ProtocolError},
		"wildcard in a topic":      {5, raw.Publish(0, "a/+", 0, raw.Props(), ""), MalformedPacket},
		"# in a topic":             {4, raw.Publish(0, "#", 0, nil, ""), MalformedPacket},
		"deep topic":               {5, raw.Publish(0, deep, 0, raw.Props(), ""), TopicNameInvalid},
		"topic with a line break":  {5, raw.Publish(0, "a\n", 0, raw.Props(), ""), TopicNameInvalid},
		"topic with U+0085":        {4, raw.Publish(0, "a\u0085", 0, nil, ""), TopicNameInvalid},
		"topic with U+FFFF":        {4, raw.Publish(0, "a\uffff", 0, nil, ""), TopicNameInvalid},
		"topic with U+FDD0":        {5, raw.Publish(0, "a\ufdd0", 0, raw.Props(), ""), TopicNameInvalid},
		"topic longer than packet": {4, []byte{0x30, 3, 0, 9, 'a'}, MalformedPacket},
		"no topic":                 {4, []byte{0x30, 0}, MalformedPacket},
		"topic with U+0000":        {4, raw.Publish(0, "a\x00", 0, nil, ""), MalformedPacket},
		"topic with a surrogate":   {4, raw.Publish(0, "\xed\xa0\x80", 0, nil, ""), MalformedPacket},
		"topic that is no UTF-8":   {4, raw.Publish(0, "\xff", 0, nil, ""), MalformedPacket},
		"no properties":            {5, raw.Publish(0, "a", 0, nil, ""), MalformedPacket},
		"properties too long":      {5, raw.Publish(0, "a", 0, []byte{9, 1, 0}, "x"), MalformedPacket},
		"property cut off":         {5, raw.Publish(0, "a", 0, raw.Props([]byte{2, 0}), "payload"), MalformedPacket},
		"user property cut off":    {5, raw.Publish(0, "a", 0, raw.Props([]byte{38}, raw.Text("k")), "payload"), MalformedPacket},
		"property length with air": {5, raw.Publish(0, "a", 0, []byte{0x80, 0}, ""), MalformedPacket},
		"unknown property":         {5, raw.Publish(0, "a", 0, raw.Props([]byte{4, 0}), ""), ProtocolError},
		"large property":           {5, raw.Publish(0, "a", 0, raw.Props([]byte{0xFF, 0xFF, 0x7F}), ""), ProtocolError},
		"property of elsewhere":    {5, raw.Publish(0, "a", 0, raw.Props(raw.Prop32(17, 1)), ""), ProtocolError},
		"identifier in PUBLISH":    {5, raw.Publish(0, "a", 0, raw.Props([]byte{11, 1}), ""), ProtocolError},
		"property twice":           {5, raw.Publish(0, "a", 0, raw.Props([]byte{1, 0, 1, 0}), ""), ProtocolError},
		"format indicator 2":       {5, raw.Publish(0, "a", 0, raw.Props([]byte{1, 2}), ""), ProtocolError},
		"wildcard to respond to":   {5, raw.Publish(0, "a", 0, raw.Props([]byte{8}, raw.Text("a/#")), ""), ProtocolError},
		"property no UTF-8":        {5, raw.Publish(0, "a", 0, raw.Props(raw.User("\xff", "")), ""), MalformedPacket},
		"topic alias":              {5, raw.Publish(0, "a", 0, raw.Props(raw.Prop16(35, 1)), ""), TopicAliasInvalid},
		"topic alias alone":        {5, raw.Publish(0, "", 0, raw.Props(raw.Prop16(35, 1)), ""), TopicAliasInvalid},
		"reason string in PUBLISH": {5, raw.Publish(0, "a", 0, raw.Props([]byte{31}, raw.Text("")), ""), ProtocolError},
		"SUBSCRIBE without filter": {4, raw.Packet(0x82, raw.U16(1)), ProtocolError},
		"SUBSCRIBE with id 0":      {4, raw.Subscribe(0, nil, "a", 0), ProtocolError},
		"empty filter":             {4, raw.Subscribe(1, nil, "", 0), MalformedPacket},
		"no options":               {4, raw.Packet(0x82, raw.U16(1), raw.Text("a")), MalformedPacket},
		"no options in 5":          {5, raw.Packet(0x82, raw.U16(1), raw.Props(), raw.Text("a")), MalformedPacket},
		"QoS 3 subscribed":         {5, raw.Subscribe(1, raw.Props(), "a", 3), MalformedPacket},
		"options of 5 in 4":        {4, raw.Subscribe(1, nil, "a", 4), MalformedPacket},
		"reserved options":         {5, raw.Subscribe(1, raw.Props(), "a", 0x40), MalformedPacket},
		"retain handling 3":        {5, raw.Subscribe(1, raw.Props(), "a", 0x30), ProtocolError},
		"identifier 0":             {5, raw.Subscribe(1, raw.Props([]byte{11, 0}), "a", 0), ProtocolError},
		"identifier twice":         {5, raw.Subscribe(1, raw.Props([]byte{11, 1, 11, 2}), "a", 0), ProtocolError},
		"# before the end":         {4, raw.Subscribe(1, nil, "#/a", 0), MalformedPacket},
		"# beside others":          {4, raw.Subscribe(1, nil, "a#", 0), MalformedPacket},
		"+ beside others":          {4, raw.Subscribe(1, nil, "a/+b", 0), MalformedPacket},
		"share without a name":     {5, raw.Subscribe(1, raw.Props(), "$share//a", 0), MalformedPacket},
		"share without a filter":   {5, raw.Subscribe(1, raw.Props(), "$share/g", 0), MalformedPacket},
		"share, filter empty":      {5, raw.Subscribe(1, raw.Props(), "$share/g/", 0), MalformedPacket},
		"share alone":              {5, raw.Subscribe(1, raw.Props(), "$share", 0), MalformedPacket},
		"share with a wildcard":    {5, raw.Subscribe(1, raw.Props(), "$share/+/a", 0), MalformedPacket},
		"share with no local":      {5, raw.Subscribe(1, raw.Props(), "$share/g/a", 4), ProtocolError},
		"deep filter":              {4, raw.Subscribe(1, nil, deep, 0), MalformedPacket},
		"too many filters":         {4, raw.Packet(0x82, raw.U16(1), filters(maxFilters+1)), QuotaExceeded},
		"UNSUBSCRIBE from nothing": {5, raw.Packet(0xA2, raw.U16(1), raw.Props()), ProtocolError},
		"UNSUBSCRIBE with id 0":    {4, raw.Packet(0xA2, raw.U16(0), raw.Text("a")), ProtocolError},
		"UNSUBSCRIBE cut off":      {4, raw.Packet(0xA2, raw.U16(1), []byte{0, 2, 'a'}), MalformedPacket},
		"UNSUBSCRIBE from empty":   {4, raw.Packet(0xA2, raw.U16(1), raw.Text("")), MalformedPacket},
	}
}

func TestBrokenConnectsAreRefused(t *testing.T) {
	for name, tt := range brokenConnects() {
		r := newTestReader(tt.packet)
		p, err := r.Connect()
		var bad *Error
		if !errors.As(err, &bad) {
			t.Errorf("%s: got %+v, error %v, want an Error", name, p, err)
		} else if bad.Reason != tt.reason || r.Version() != Version(tt.version) {
			t.Errorf("%s: got reason %#x (%s) for version %d, want %#x for %d", name, byte(bad.Reason), bad.Text, r.Version(), byte(tt.reason), tt.version)
		}
	}
}

// brokenConnects have the version in whose form the answer has to be; 0: there is none.
func brokenConnects() map[string]broken {
	protocol := func(name string, level byte) []byte {
		return raw.Packet(0x10, raw.Text(name), []byte{level, 2, 0, 0}, raw.Text("a"))
	}
	return map[string]broken{
		"no CONNECT":           {0, []byte{0xC0, 0}, ProtocolError},
		"HTTP":                 {0, []byte("GET / HTTP/1.1\r\n\r\n"), ProtocolError},
		"flags":                {0, append([]byte{0x12}, raw.Connect(4, 2, nil, "a")[1:]...), ProtocolError},
		"too large":            {0, []byte{0x10, 0xFF, 0xFF, 0x7F}, PacketTooLarge},
		"empty":                {0, []byte{0x10, 0}, MalformedPacket},
		"another protocol":     {0, protocol("AMQP", 4), MalformedPacket},
		"level 0":              {4, protocol("MQTT", 0), UnsupportedVersion},
		"level 3 of MQTT":      {4, protocol("MQTT", 3), UnsupportedVersion},
		"level 6":              {4, protocol("MQTT", 6), UnsupportedVersion},
		"a bridge's level 3":   {4, protocol("MQIsdp", 0x83), UnsupportedVersion},
		"a bridge's level 4":   {4, protocol("MQTT", 0x84), UnsupportedVersion},
		"reserved flag":        {5, raw.Connect(5, 3, nil, "a"), MalformedPacket},
		"will QoS, no will":    {5, raw.Connect(5, 0x0A, nil, "a"), MalformedPacket},
		"will retain, no will": {4, raw.Connect(4, 0x22, nil, "a"), MalformedPacket},
		"will QoS 3":           {5, raw.Connect(5, 0x1E, nil, "a", raw.Props(), raw.Text("w"), raw.Text("")), MalformedPacket},
		"password, no user":    {4, raw.Connect(4, 0x42, nil, "a", raw.Text("p")), MalformedPacket},
		"no will":              {4, raw.Connect(4, 0x06, nil, "a"), MalformedPacket},
		"will topic empty":     {5, raw.Connect(5, 0x06, nil, "a", raw.Props(), raw.Text(""), raw.Text("x")), MalformedPacket},
		"will topic, control":  {5, raw.Connect(5, 0x06, nil, "a", raw.Props(), raw.Text("a\x1b"), raw.Text("x")), TopicNameInvalid},
		"will topic wildcard":  {4, raw.Connect(4, 0x06, nil, "a", raw.Text("a/#"), raw.Text("x")), MalformedPacket},
		"will property":        {5, raw.Connect(5, 0x06, nil, "a", raw.Props(raw.Prop16(35, 1)), raw.Text("w"), raw.Text("x")), ProtocolError},
		"no user name":         {4, raw.Connect(4, 0x82, nil, "a"), MalformedPacket},
		"no password":          {4, raw.Connect(4, 0xC2, nil, "a", raw.Text("u")), MalformedPacket},
		"too long":             {4, raw.Connect(4, 2, nil, "a", []byte{0}), MalformedPacket},
		"client id no UTF-8":   {4, raw.Connect(4, 2, nil, "\xff"), MalformedPacket},
		"client id too long":   {4, raw.Connect(4, 2, nil, strings.Repeat("x", maxClientID+1)), InvalidClientID},
		"no client id to keep": {4, raw.Connect(4, 0, nil, ""), InvalidClientID},
		"no client id in 3.1":  {3, raw.Connect(3, 2, nil, ""), InvalidClientID},
		"property twice":       {5, raw.Connect(5, 2, raw.Props(raw.Prop32(17, 1), raw.Prop32(17, 1)), "a"), ProtocolError},
		"will delay outside":   {5, raw.Connect(5, 2, raw.Props(raw.Prop32(24, 1)), "a"), ProtocolError},
		"receive maximum 0":    {5, raw.Connect(5, 2, raw.Props(raw.Prop16(33, 0)), "a"), ProtocolError},
		"maximum packet 0":     {5, raw.Connect(5, 2, raw.Props(raw.Prop32(39, 0)), "a"), ProtocolError},
		"problem information":  {5, raw.Connect(5, 2, raw.Props([]byte{23, 2}), "a"), ProtocolError},
		"data, no method":      {5, raw.Connect(5, 2, raw.Props([]byte{22}, raw.Text("x")), "a"), ProtocolError},
		"length with air":      {5, raw.Join([]byte{0x10, 0x8E, 0x00}, raw.Connect(5, 2, nil, "a")[2:]), MalformedPacket},
	}
}

// A packet that ends too soon is never taken for a whole one, wherever it ends.
func TestTruncatedPacketsAreRefused(t *testing.T) {
	for _, version := range []byte{4, 5} {
		var props []byte
		if version == 5 {
			props = raw.Props(raw.User("name", "value"))
		}
		for name, whole := range map[string][]byte{
			"SUBSCRIBE":   raw.Join(raw.U16(1), props, raw.Text("a/b"), []byte{1}),
			"UNSUBSCRIBE": raw.Join(raw.U16(1), props, raw.Text("a/b")),
		} {
			first := map[string]byte{"SUBSCRIBE": 0x82, "UNSUBSCRIBE": 0xA2}[name]
			for n := range len(whole) {
				if p, err := next(version, raw.Packet(first, whole[:n])); err == nil {
					t.Errorf("version %d, %s cut to %d bytes: got %+v, want an error", version, name, n, p)
				}
				if _, err := next(version, raw.Packet(first, whole)[:2+n]); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("version %d, %s, stream cut: got %v, want %v", version, name, err, io.ErrUnexpectedEOF)
				}
			}
		}
		connect := raw.Connect(version, 0xC6, props, "client", raw.Join(props, raw.Text("will"), raw.Text("x"), raw.Text("u"), raw.Text("p")))
		for n := 2; n < len(connect); n++ {
			if p, err := newTestReader(raw.Packet(0x10, connect[2:n])).Connect(); err == nil {
				t.Errorf("version %d, CONNECT cut to %d bytes: got %+v, want an error", version, n, p)
			}
		}
	}
}

// What a header announces is not allocated before it has arrived.
func TestAnnouncedBytesAreNotAllocated(t *testing.T) {
	stream := raw.Join(raw.Connect(4, 2, nil, "a"), []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, make([]byte, 100))
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			r := NewReader(bytes.NewReader(stream), math.MaxInt, NewBudget(math.MaxInt64))
			_, _ = r.Connect()
			if _, err := r.Next(); err != io.ErrUnexpectedEOF {
				b.Fatalf("got %v, want %v", err, io.ErrUnexpectedEOF)
			}
		}
	}).AllocedBytesPerOp()
	if want := int64(readBuffer + 2*chunk); got > want {
		t.Errorf("got %d bytes for a packet of 256 MiB that does not come, want at most %d", got, want)
	}
}

// All packets that arrive at a time share a budget, and give back what they took.
func TestArrivingPacketsShareABudget(t *testing.T) {
	budget := NewBudget(9 * chunk)
	large := raw.Publish(0, "a", 0, nil, strings.Repeat("x", 5*chunk))
	read := func() *Reader {
		t.Helper()
		r := NewReader(bytes.NewReader(raw.Join(raw.Connect(4, 2, nil, "a"), large, []byte{0xC0, 0})), testLimit, budget)
		if _, err := r.Connect(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, second := read(), read()
	if _, err := first.Next(); err != nil {
		t.Fatalf("first: got %v, want no error", err)
	}
	var bad *Error
	if _, err := second.Next(); !errors.As(err, &bad) || bad.Reason != QuotaExceeded {
		t.Errorf("second: got %v, want reason %#x", err, QuotaExceeded)
	}
	second.Close()
	if _, err := first.Next(); err != nil { // gives back what the last one took
		t.Fatal(err)
	}
	if _, err := read().Next(); err != nil {
		t.Errorf("third: got %v, want no error", err)
	}
	if budget.used == 0 {
		t.Error("the third packet took nothing from the budget")
	}
}
