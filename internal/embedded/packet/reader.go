package packet

import (
	"bufio"
	"io"
	"sync"
)

// Sizes of a Reader. For a client that has sent no more than a header it holds these and no more.
const (
	readBuffer = 4 << 10
	chunk      = 16 << 10 // what is allocated at once for a packet that has not arrived yet
	maxConnect = 512 << 10
)

// Budget bounds what all readers together hold of packets larger than a chunk, from the time they begin to arrive until
// the next one is read. It may be used concurrently.
type Budget struct {
	max, used int64
	mu        sync.Mutex // guards used
}

// NewBudget is one of max bytes.
func NewBudget(max int64) *Budget { return &Budget{max: max} }

// take is for somebody who has some already. Nobody gets more than is left, so that a few large packets that arrive
// slowly leave something to the others.
func (b *Budget) take(n, has int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if int64(has+n) > b.max-b.used {
		return false
	}
	b.used += int64(n)
	return true
}

func (b *Budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= int64(n)
}

// Reader reads packets from a client. Its methods are for one goroutine.
type Reader struct {
	src     *bufio.Reader
	version Version
	limit   int // of a whole packet
	budget  *Budget
	taken   int    // from the budget
	partial bool   // the packet at hand has begun to arrive
	scratch []byte // the body of a packet that does not outlive the next call
}

// NewReader reads from src packets of at most limit bytes, all of the packet counted.
func NewReader(src io.Reader, limit int, budget *Budget) *Reader {
	return &Reader{src: bufio.NewReaderSize(src, readBuffer), limit: limit, budget: budget}
}

// Close gives back what the last packet took from the budget.
func (r *Reader) Close() {
	if r.taken > 0 {
		r.budget.give(r.taken)
		r.taken = 0
	}
}

// Version is what the client's CONNECT says, and 0 before it has been read so far. It decides the form of every answer,
// also of one to a CONNECT that is wrong.
func (r *Reader) Version() Version { return r.version }

// Partial is true while a packet has begun to arrive and not ended. It is for the source of bytes, to know how long it
// should wait for more.
func (r *Reader) Partial() bool { return r.partial }

// Connect reads the first packet, which must be a CONNECT (3.1.0-1). An error is an [*Error], or the stream's.
func (r *Reader) Connect() (*Connect, error) {
	h, err := r.header()
	if err != nil {
		return nil, err
	}
	if h.t != CONNECT || h.flags != 0 {
		return nil, violation("the first packet is no CONNECT")
	}
	if h.size() > min(r.limit, maxConnect) {
		return nil, &Error{PacketTooLarge, "the CONNECT is too large"}
	}
	body, err := r.body(h.length, true)
	if err != nil {
		return nil, err
	}
	p, version, bad := parseConnect(body)
	r.version = version
	if bad != nil {
		return nil, bad
	}
	if version == V5 && h.padded() {
		return nil, errLength
	}
	return p, nil
}

var errLength = malformed("the remaining length is encoded in more bytes than it needs, or than there may be")

// Next reads a packet behind the CONNECT: a *[Publish], an [Ack], a *[Subscribe], an *[Unsubscribe], a [Ping],
// a *[Disconnect] or an *[Auth]. An error is an [*Error], or the stream's; after one there is no next packet.
func (r *Reader) Next() (any, error) {
	r.Close()
	h, err := r.header()
	if err != nil {
		return nil, err
	}
	if bad := r.checkHeader(h); bad != nil {
		return nil, bad
	}
	body, err := r.body(h.length, h.t == PUBLISH)
	if err != nil {
		return nil, err
	}
	p, bad := r.parse(h.t, h.flags, body)
	if bad != nil {
		return nil, bad
	}
	return p, nil
}

func (r *Reader) parse(t Type, flags byte, body []byte) (any, *Error) {
	switch t {
	case PUBLISH:
		return parsePublish(flags, body, r.version)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return parseAck(t, body, r.version)
	case SUBSCRIBE:
		return parseSubscribe(body, r.version)
	case UNSUBSCRIBE:
		return parseUnsubscribe(body, r.version)
	case PINGREQ:
		return Ping{}, (&cursor{rest: body}).end(PINGREQ)
	case DISCONNECT:
		return parseDisconnect(body, r.version)
	default:
		return parseAuth(body)
	}
}

// header is a fixed header.
type header struct {
	t      Type
	flags  byte
	length int // of what follows
	bytes  int // that the length is encoded in
}

func (h header) size() int { return 1 + h.bytes + h.length }

// padded reports whether the length has more bytes than it needs, which only MQTT 5 forbids (1.5.5-1).
func (h header) padded() bool { return h.bytes > 1 && h.length < 1<<(7*(h.bytes-1)) }

func (r *Reader) header() (h header, err error) {
	first, err := r.src.ReadByte()
	if err != nil {
		return h, err
	}
	r.partial = true
	h.t, h.flags = Type(first>>4), first&0x0F
	for h.bytes < 4 {
		b, err := r.src.ReadByte()
		if err != nil {
			return h, cut(err)
		}
		h.length |= int(b&0x7F) << (7 * h.bytes)
		if h.bytes++; b&0x80 == 0 {
			return h, nil
		}
	}
	return h, errLength
}

// checkHeader looks at what can be told before the body has been read.
func (r *Reader) checkHeader(h header) *Error {
	want := byte(0)
	switch h.t {
	case PUBLISH:
		want = h.flags
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		want = 2
		if r.version == V31 { // there these packets have a QoS and may be repeated with DUP
			want |= h.flags & 8
		}
	case CONNECT:
		return violation("there is a second CONNECT") // 3.1.0-2
	case CONNACK, SUBACK, UNSUBACK, PINGRESP:
		return violation("a client sends no %s", h.t)
	case 0:
		return malformed("there is no packet of type 0")
	case AUTH:
		if r.version != V5 {
			return malformed("there is no AUTH before MQTT 5")
		}
	}
	switch {
	case h.flags != want:
		return malformed("the fixed header of a %s has other flags than it must", h.t) // 2.1.3-1
	case h.padded() && r.version == V5:
		return errLength
	case h.size() > r.limit:
		return &Error{PacketTooLarge, "the packet is larger than the maximum that the server announces"}
	}
	return nil
}

// body reads the rest of a packet. If keep is false, it is valid until the next call only. Beyond a first chunk no more
// is allocated than twice what has arrived.
func (r *Reader) body(length int, keep bool) ([]byte, error) {
	defer func() { r.partial = false }()
	buf := r.scratch[:0]
	if keep || cap(buf) < length {
		buf = make([]byte, 0, min(length, chunk))
	}
	if !keep {
		if r.scratch = nil; length <= readBuffer {
			r.scratch = buf[:0]
		}
	}
	for len(buf) < length {
		if len(buf) == cap(buf) {
			more := min(len(buf), length-len(buf))
			if !r.budget.take(more, r.taken) {
				return nil, &Error{QuotaExceeded, "the server has no memory left for a packet of this size"}
			}
			r.taken += more
			buf = append(make([]byte, 0, len(buf)+more), buf...)
		}
		n, err := io.ReadFull(r.src, buf[len(buf):min(cap(buf), length)])
		if buf = buf[:len(buf)+n]; err != nil {
			return nil, cut(err)
		}
	}
	return buf, nil
}

// cut is the error of a stream that ends inside a packet.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
