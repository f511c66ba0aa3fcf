package rawtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrForm is an answer that no server may send.
var ErrForm = errors.New("malformed answer")

// check says what is wrong with a packet of a server. It is written from the standard, and shares nothing with what it
// judges.
func check(version byte, header int, whole []byte) error {
	kind, flags := whole[0]>>4, whole[0]&15
	f := form{rest: whole[header:], version: version}
	switch {
	case kind == 3:
		f.publish(flags)
	case kind == 6 && flags == 2, (kind == 4 || kind == 5 || kind == 7) && flags == 0:
		f.id()
		if version == 5 && len(f.rest) > 0 {
			f.reason([]byte{0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x92, 0x97, 0x99})
			if len(f.rest) > 0 {
				f.props(31, 38)
			}
		}
	case flags != 0:
		return errors.New("flags of the fixed header")
	case kind == 2:
		f.connack()
	case kind == 9 && version == 5:
		f.id()
		f.props(31, 38)
		f.reasons(0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2)
	case kind == 9:
		f.id()
		f.reasons(0, 1, 2, 0x80)
	case kind == 11:
		f.id()
		if version == 5 {
			f.props(31, 38)
			f.reasons(0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91)
		}
	case kind == 13:
	case kind == 14 && version == 5:
		f.reason([]byte{0x81, 0x82, 0x87, 0x8B, 0x8D, 0x8E, 0x90, 0x93, 0x94, 0x95, 0x97})
		if len(f.rest) > 0 {
			f.props(17, 28, 31, 38)
		}
	default:
		return errors.New("a server does not send this type")
	}
	if f.err == nil && len(f.rest) > 0 {
		f.fail("%d bytes too many", len(f.rest))
	}
	return f.err
}

// form reads fields and keeps the first fault.
type form struct {
	rest    []byte
	version byte
	err     error
}

func (f *form) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
	f.rest = nil
}

func (f *form) take(n int) []byte {
	if n > len(f.rest) {
		f.fail("it ends too soon")
		return make([]byte, n)
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *form) id() {
	if binary.BigEndian.Uint16(f.take(2)) == 0 {
		f.fail("packet identifier 0")
	}
}

func (f *form) text() string {
	s := string(f.take(int(binary.BigEndian.Uint16(f.take(2)))))
	if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
		f.fail("text %q", s)
	}
	return s
}

func (f *form) varint() (n int) {
	for shift := 0; shift < 28; shift += 7 {
		b := f.take(1)[0]
		n |= int(b&0x7F) << shift
		if b&0x80 == 0 {
			return n
		}
	}
	f.fail("length of more than four bytes")
	return 0
}

func (f *form) reason(allowed []byte) {
	if r := f.take(1)[0]; !slices.Contains(allowed, r) {
		f.fail("reason %#x", r)
	}
}

// reasons are one or more, to the end.
func (f *form) reasons(allowed ...byte) {
	f.reason(allowed)
	for len(f.rest) > 0 {
		f.reason(allowed)
	}
}

func (f *form) connack() {
	present := f.take(1)[0]
	switch {
	case present > 1:
		f.fail("flags %#x", present)
	case f.version == 5:
		f.reason([]byte{0, 0x80, 0x81, 0x82, 0x84, 0x85, 0x87, 0x8B, 0x8C, 0x95, 0x97})
		f.props(17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42)
	default:
		f.reason([]byte{0, 1, 2, 3, 4, 5})
	}
}

func (f *form) publish(flags byte) {
	if flags&6 == 6 || flags&14 == 8 {
		f.fail("flags of the fixed header")
	}
	if topic := f.text(); f.err == nil && (topic == "" || strings.ContainsAny(topic, "+#")) {
		f.fail("topic %q", topic)
	}
	if flags&6 != 0 {
		f.id()
	}
	if f.version == 5 {
		f.props(1, 2, 3, 8, 9, 11, 38) // no alias: no client of the tests allows one
	}
	f.rest = nil // the payload
}

// props are properties, of which only some are allowed.
func (f *form) props(allowed ...int) {
	block := form{rest: f.take(f.varint()), version: f.version}
	seen := map[int]bool{}
	for f.err == nil && len(block.rest) > 0 {
		id := block.varint()
		if !slices.Contains(allowed, id) || seen[id] && id != 38 && id != 11 {
			block.fail("property %d", id)
		}
		seen[id] = true
		switch id {
		case 1, 36, 37, 40, 41, 42:
			if block.take(1)[0] > 1 {
				block.fail("value of property %d", id)
			}
		case 19, 33, 34:
			block.take(2)
		case 2, 17, 39:
			block.take(4)
		case 11:
			if block.varint() == 0 {
				block.fail("subscription identifier 0")
			}
		case 9, 22:
			block.take(int(binary.BigEndian.Uint16(block.take(2))))
		case 38:
			block.text()
			block.text()
		default:
			block.text()
		}
		f.err = block.err
	}
}
