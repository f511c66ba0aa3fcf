package rawtest

// Step is what one of some clients sends.
type Step struct {
	Client int
	Bytes  []byte
}

// Clients is how many there are in a sequence. Client i speaks VersionOf(i).
const Clients = 4

// VersionOf is the version that a client of a sequence speaks. The last one begins with anything, so it has none.
func VersionOf(client int) byte { return [Clients]byte{5, 4, 5, 0}[client] }

// Sequence makes packets for some clients out of any bytes, so that a fuzzer has something to turn: most packets are
// whole, many are right, and some are nothing at all.
func Sequence(data []byte) []Step {
	var steps []Step
	s := source{data}
	for client := range Clients - 1 {
		steps = append(steps, Step{client, s.connect(client)})
	}
	for len(s.rest) > 0 && len(steps) < 200 {
		client := int(s.byte()) % Clients
		steps = append(steps, Step{client, s.packet(VersionOf(client))})
	}
	return steps
}

// source takes bytes until there are none, and then zeros.
type source struct{ rest []byte }

func (s *source) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

func (s *source) some(n int) []byte {
	n = min(n, len(s.rest))
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

// connect is a CONNECT that is right. Two clients share an identifier.
func (s *source) connect(client int) []byte {
	kind, version := s.byte(), VersionOf(client)
	var all [][]byte
	if version == 5 {
		if kind&1 != 0 {
			all = append(all, Prop32(17, uint32(kind)))
		}
		if kind&2 != 0 {
			all = append(all, Prop16(33, 1+uint16(kind>>6)))
		}
		if kind&4 != 0 {
			all = append(all, Prop32(39, 64))
		}
	}
	flags, more := kind>>3&2, []byte(nil)
	if kind&8 != 0 { // a will
		flags |= 0x04 | kind>>1&0x28
		if version == 5 {
			more = Props(Prop32(24, uint32(kind>>7)))
		}
		more = Join(more, s.name(), Text("gone"))
	}
	return Connect(version, flags, Props(all...), string("ab"[client%2]), more)
}

// names are few, so that what is published meets who has subscribed.
var names = []string{"a", "a/b", "a/b/c", "b", "", "/", "$SYS/x", "$x", "a/+", "#"}

func (s *source) name() []byte { return Text(names[int(s.byte())%len(names)]) }

var filters = []string{"#", "a", "a/#", "a/+", "+/b", "+", "$share/g/a/#", "$share/g/#", "$SYS/#", "", "a#", "$share/g", "/"}

func (s *source) filter() []byte { return Text(filters[int(s.byte())%len(filters)]) }

// props are properties, of version 5 only.
func (s *source) props(version byte) []byte {
	if version != 5 {
		return nil
	}
	switch kind := s.byte(); kind % 8 {
	case 0:
		return Props(User("k", "v"))
	case 1:
		return Props(Prop32(2, uint32(s.byte())))
	case 2:
		return Props(Join([]byte{11}, Varint(int(s.byte()))))
	case 3:
		return Join(Varint(int(s.byte())), s.some(int(s.byte())%16))
	}
	return Props()
}

func (s *source) packet(version byte) []byte {
	kind, id := s.byte(), U16(uint16(s.byte()%8))
	switch kind % 16 {
	case 0, 1, 2, 3:
		flags := s.byte() & 15
		if flags&6 == 0 {
			id = nil
		}
		return Packet(0x30|flags, s.name(), id, s.props(version), s.some(int(s.byte())%64))
	case 4, 5:
		return Packet(0x82, id, s.props(version), s.filter(), []byte{s.byte()})
	case 6:
		return Packet(0x82, id, s.props(version), s.filter(), []byte{s.byte()}, s.filter(), s.some(1))
	case 7:
		return Packet(0xA2, id, s.props(version), s.filter())
	case 8, 9, 10, 11:
		first := []byte{0x40, 0x50, 0x62, 0x70}[kind%16-8]
		return Packet(first, id, s.some(int(s.byte())%3))
	case 12:
		return []byte{0xC0, 0}
	case 13:
		return Packet(0xE0, s.some(int(s.byte())%8))
	case 14:
		return Packet(s.byte(), s.some(int(s.byte())%32))
	}
	return s.some(int(s.byte()) % 64) // bytes, not even a packet
}
