package decode

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/big"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

const (
	problemCBOR       = "The payload is not valid CBOR."
	problemCBORKey    = "The payload has a CBOR map with a key that is neither text nor a whole number."
	problemCBORTag    = "The payload has a CBOR tag other than 0 and 1 (times), 2 and 3 (big numbers) and 55799."
	problemCBORSimple = "The payload has a CBOR simple value other than false, true, null and undefined."
	problemCBORBig    = "The payload has a CBOR big number that is malformed or longer than 256 bytes."
)

// maxBignum is the longest big number in bytes. It has 617 digits.
const maxBignum = 256

// wellFormed checks a whole payload: lengths, nesting, what may stand where.
var wellFormed = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		MaxNestedLevels:  maxDepth,
		MaxArrayElements: maxPayload, // nothing is reserved for them, and each needs a byte
		MaxMapPairs:      maxPayload,
		IndefLength:      cbor.IndefLengthAllowed, // what small devices send that do not know yet how much comes
	}.DecMode()
	if err != nil {
		panic("decode: " + err.Error())
	}
	return mode
}()

// cborFormat decodes one CBOR value and nothing behind it. The library checks
// the payload as a whole; what it has found well-formed is then walked once
// and written as it stands. So nothing is kept but the JSON text, map keys
// stay in their order, and a float of 32 bits is written as one.
func cborFormat(w *writer, payload []byte) (problem string) {
	if len(payload) == 0 {
		return problemEmpty
	}
	if err := wellFormed.Wellformed(payload); err != nil {
		var deep *cbor.MaxNestedLevelError
		var more *cbor.ExtraneousDataError
		switch {
		case errors.As(err, &deep):
			return problemTooDeep
		case errors.As(err, &more):
			return problemTrailing
		case errors.Is(err, io.ErrUnexpectedEOF):
			return problemShort
		}
		return problemCBOR
	}
	c := cborWalk{w: w, b: payload}
	return c.value()
}

// cborWalk walks a payload that is well-formed.
type cborWalk struct {
	w *writer
	b []byte // what is left
}

// Major types, and what the five bits beside them may say.
const (
	cborUint = iota
	cborNegative
	cborBytes
	cborText
	cborArray
	cborMap
	cborTag
	cborSimple

	cborIndefinite = 31
	cborBreak      = 0xff
)

// head takes the head of an item off. Info are its five bits, arg the number
// that they give or that follows.
func (c *cborWalk) head() (major, info byte, arg uint64) {
	major, info = c.b[0]>>5, c.b[0]&31
	c.b = c.b[1:]
	switch info {
	case 24:
		arg, c.b = uint64(c.b[0]), c.b[1:]
	case 25:
		arg, c.b = uint64(binary.BigEndian.Uint16(c.b)), c.b[2:]
	case 26:
		arg, c.b = uint64(binary.BigEndian.Uint32(c.b)), c.b[4:]
	case 27:
		arg, c.b = binary.BigEndian.Uint64(c.b), c.b[8:]
	default:
		arg = uint64(info)
	}
	return major, info, arg
}

// more reports whether a container of n items, or an indefinite one, has
// another behind the i that were read. It takes the end of the latter off.
func (c *cborWalk) more(info byte, n, i uint64) bool {
	if info != cborIndefinite {
		return i < n
	}
	if c.b[0] != cborBreak {
		return true
	}
	c.b = c.b[1:]
	return false
}

// value writes the next item.
func (c *cborWalk) value() (problem string) {
	if c.w.full() {
		return problemValueLong
	}
	major, info, arg := c.head()
	switch major {
	case cborUint:
		c.w.uint(arg)
	case cborNegative:
		c.negative(arg)
	case cborBytes:
		return c.w.base64(c.str(info, arg))
	case cborText:
		return c.text(info, arg)
	case cborArray:
		return c.array(info, arg)
	case cborMap:
		return c.object(info, arg)
	case cborTag:
		return c.tag(arg)
	default:
		return c.simple(info, arg)
	}
	return ""
}

// negative writes -1-n.
func (c *cborWalk) negative(n uint64) {
	if n == math.MaxUint64 {
		c.w.raw("-18446744073709551616")
		return
	}
	c.w.raw("-")
	c.w.uint(n + 1)
}

// str takes the bytes of a string; those of an indefinite one come in chunks.
func (c *cborWalk) str(info byte, n uint64) (s []byte) {
	if info != cborIndefinite {
		s, c.b = c.b[:n], c.b[n:]
		return s
	}
	for c.more(info, 0, 0) {
		_, info, n := c.head()
		s = append(s, c.str(info, n)...)
	}
	return s
}

// text writes a text. Each chunk must be valid by itself (RFC 8949, 3.2.3).
func (c *cborWalk) text(info byte, n uint64) (problem string) {
	if info != cborIndefinite {
		return c.w.text(c.str(info, n))
	}
	var s []byte
	for c.more(info, 0, 0) {
		_, info, n := c.head()
		chunk := c.str(info, n)
		if !utf8.Valid(chunk) {
			return problemUTF8
		}
		s = append(s, chunk...)
	}
	return c.w.text(s)
}

func (c *cborWalk) array(info byte, n uint64) (problem string) {
	c.w.raw("[")
	for i := uint64(0); c.more(info, n, i); i++ {
		if i > 0 {
			c.w.raw(",")
		}
		if problem = c.value(); problem != "" {
			return problem
		}
	}
	c.w.raw("]")
	return ""
}

func (c *cborWalk) object(info byte, n uint64) (problem string) {
	c.w.raw("{")
	var seen keys
	for i := uint64(0); c.more(info, n, i); i++ {
		if i > 0 {
			c.w.raw(",")
		}
		from := len(c.w.b)
		if problem = c.key(); problem != "" {
			return problem
		}
		if !seen.add(c.w.b[from:]) {
			return problemDuplicate
		}
		c.w.raw(":")
		if problem = c.value(); problem != "" {
			return problem
		}
	}
	c.w.raw("}")
	return ""
}

// key writes a key: a text as it is, a whole number as its digits.
func (c *cborWalk) key() (problem string) {
	switch c.b[0] >> 5 {
	case cborText:
		return c.value()
	case cborUint, cborNegative:
		c.w.raw(`"`)
		problem = c.value()
		c.w.raw(`"`)
		return problem
	}
	return problemCBORKey
}

// simple writes what has no length: false, true, null and floats. Undefined is
// null.
func (c *cborWalk) simple(info byte, arg uint64) (problem string) {
	switch info {
	case 20, 21:
		c.w.bool(info == 21)
	case 22, 23:
		c.w.raw("null")
	case 25:
		c.w.float(half(uint16(arg)), 32)
	case 26:
		c.w.float(float64(math.Float32frombits(uint32(arg))), 32)
	case 27:
		c.w.float(math.Float64frombits(arg), 64)
	default:
		return problemCBORSimple
	}
	return ""
}

// half is the value of a float of 16 bits (RFC 8949, appendix D).
func half(bits uint16) float64 {
	exponent, mantissa := int(bits>>10&31), float64(bits&1023)
	var f float64
	switch exponent {
	case 0:
		f = math.Ldexp(mantissa, -24)
	case 31:
		if f = math.Inf(1); mantissa != 0 {
			f = math.NaN()
		}
	default:
		f = math.Ldexp(mantissa+1024, exponent-25)
	}
	if bits&0x8000 != 0 {
		return math.Copysign(f, -1)
	}
	return f
}

// tag writes a tagged item. A tag changes what its content means, so one that
// has no form in JSON is a problem, not the bare content.
func (c *cborWalk) tag(number uint64) (problem string) {
	switch number {
	case 0:
		return c.dateTime()
	case 1:
		return c.epoch()
	case 2, 3:
		return c.bignum(number == 3)
	case 55799: // says that this is CBOR, and nothing else
		return c.value()
	}
	return problemCBORTag
}

// dateTime writes the content of tag 0, a text as in RFC 3339.
func (c *cborWalk) dateTime() (problem string) {
	major, info, n := c.head()
	if major != cborText {
		return problemTime
	}
	s := c.str(info, n)
	if len(s) > 64 {
		return problemTime
	}
	t, err := time.Parse(time.RFC3339, string(s))
	if err != nil {
		return problemTime
	}
	return c.w.time(t)
}

// epoch writes the content of tag 1, seconds since 1970. A float is rounded to
// microseconds, which is what it can hold.
func (c *cborWalk) epoch() (problem string) {
	const limit = 1 << 40 // far beyond the year 9999
	major, info, arg := c.head()
	switch {
	case major == cborUint && arg < limit:
		return c.w.time(time.Unix(int64(arg), 0))
	case major == cborNegative && arg < limit:
		return c.w.time(time.Unix(-1-int64(arg), 0))
	case major != cborSimple || info < 25 || info > 27:
		return problemTime
	}
	f := math.Float64frombits(arg)
	switch info {
	case 25:
		f = half(uint16(arg))
	case 26:
		f = float64(math.Float32frombits(uint32(arg)))
	}
	if !(math.Abs(f) < limit) { // NaN, too
		return problemTime
	}
	whole := math.Floor(f)
	return c.w.time(time.Unix(int64(whole), 1000*int64(math.Round((f-whole)*1e6))))
}

// bignum writes the content of tag 2 or 3 with all its digits.
func (c *cborWalk) bignum(negative bool) (problem string) {
	major, info, n := c.head()
	if major != cborBytes {
		return problemCBORBig
	}
	s := c.str(info, n)
	if len(s) > maxBignum {
		return problemCBORBig
	}
	v := new(big.Int).SetBytes(s)
	if negative {
		v.Not(v) // -1-v
	}
	c.w.b = v.Append(c.w.b, 10)
	return ""
}
