package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// cursor reads the fields of a packet's body one after the other. After the first that is not there, or not right, err
// says so and every further one is zero, so that only the end of the body needs a look at err.
type cursor struct {
	rest []byte
	err  *Error
}

// fail keeps the first error.
func (c *cursor) fail(err *Error) {
	if c.err == nil {
		c.err = err
	}
	c.rest = nil
}

// take returns the next n bytes, or nil if there are fewer.
func (c *cursor) take(n int, what string) []byte {
	if len(c.rest) < n {
		c.fail(malformed("the packet ends before its %s does", what))
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) byte(what string) byte {
	if b := c.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16(what string) uint16 {
	if b := c.take(2, what); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32(what string) uint32 {
	if b := c.take(4, what); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// varint reads a variable byte integer, which has at most four bytes and no more than it needs (1.5.5-1).
func (c *cursor) varint(what string) uint32 {
	var v uint32
	for i := range 4 {
		b := c.byte(what)
		if c.err != nil {
			return 0
		}
		v |= uint32(b&0x7F) << (7 * i)
		if b&0x80 == 0 {
			if b == 0 && i > 0 {
				c.fail(malformed("the %s is encoded in more bytes than it needs", what))
				return 0
			}
			return v
		}
	}
	c.fail(malformed("the %s has more than four bytes", what))
	return 0
}

// binary reads bytes with their length before them. They share the body's memory.
func (c *cursor) binary(what string) []byte {
	n := c.uint16(what)
	if c.err != nil {
		return nil
	}
	return c.take(int(n), what)
}

// utf8 reads a string, which is UTF-8 without U+0000 (1.5.4-1, 1.5.4-2). It shares the body's memory.
func (c *cursor) utf8(what string) []byte {
	b := c.binary(what)
	if !utf8.Valid(b) {
		c.fail(malformed("the %s is not valid UTF-8", what))
		return nil
	}
	if bytes.IndexByte(b, 0) >= 0 {
		c.fail(malformed("the %s holds U+0000", what))
		return nil
	}
	return b
}

// text reads a string that is kept.
func (c *cursor) text(what string) string { return string(c.utf8(what)) }

// id reads a packet identifier, which is never 0 (2.2.1-3).
func (c *cursor) id() uint16 {
	id := c.uint16("packet identifier")
	if c.err == nil && id == 0 {
		c.fail(violation("the packet identifier is 0"))
	}
	return id
}

// end fails if something is left.
func (c *cursor) end(t Type) *Error {
	if c.err == nil && len(c.rest) > 0 {
		c.fail(malformed("a %s has %d bytes too many", t, len(c.rest)))
	}
	return c.err
}
