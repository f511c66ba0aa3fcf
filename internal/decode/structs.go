package decode

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"strconv"
	"strings"
)

const (
	problemLength = "The payload is not as long as the fields of the rule are together."
	problemFlag   = "The payload has a bool that is neither 0 nor 1."
)

// field is one field of a struct.
type field struct {
	name   string
	kind   string // the type as the rule has it
	size   int    // in bytes
	scale  *linear
	prefix string // what stands before the value in the JSON text
}

// sizes are the lengths of the types that have one.
var sizes = map[string]int{
	"int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
	"float32": 4, "float64": 8, "bool": 1,
}

// linear turns a stored number into the one that is meant.
type linear struct{ scale, offset *big.Rat }

// apply computes v*scale+offset exactly and rounds once: 2133 times 0.01 is
// 21.33, not 21.330000000000002.
func (l *linear) apply(v *big.Rat) float64 {
	if l.scale != nil {
		v.Mul(v, l.scale)
	}
	if l.offset != nil {
		v.Add(v, l.offset)
	}
	f, _ := v.Float64()
	return f
}

// structFormat reads fields that stand one behind the other, without padding
// but what the rule skips.
func structFormat(order binary.ByteOrder, fields []field) format {
	size := 0
	for i := range fields {
		size += fields[i].size
	}
	return func(w *writer, payload []byte) (problem string) {
		if len(payload) != size {
			return problemLength
		}
		w.limit = maxValue // the names are the rule's, and may be long
		w.raw("{")
		for i := range fields {
			f, raw := &fields[i], payload[:fields[i].size]
			payload = payload[f.size:]
			if f.kind == "skip" {
				continue
			}
			w.raw(f.prefix)
			if problem = f.write(w, order, raw); problem != "" {
				return problem
			}
		}
		w.raw("}")
		return ""
	}
}

// write writes the value of a field that has one.
func (f *field) write(w *writer, order binary.ByteOrder, raw []byte) (problem string) {
	switch {
	case f.kind == "text": // as C keeps it: up to the first NUL
		if end := bytes.IndexByte(raw, 0); end >= 0 {
			raw = raw[:end]
		}
		return w.text(raw)
	case f.kind == "hex":
		w.hex(raw)
	case f.kind == "bool":
		if raw[0] > 1 {
			return problemFlag
		}
		w.bool(raw[0] == 1)
	case strings.HasPrefix(f.kind, "float"):
		f.writeFloat(w, bits(order, raw))
	case f.scale != nil:
		f.writeScaled(w, bits(order, raw))
	case f.kind[0] == 'u':
		w.uint(bits(order, raw))
	default:
		w.int(signed(bits(order, raw), f.size))
	}
	return ""
}

func (f *field) writeFloat(w *writer, b uint64) {
	v := math.Float64frombits(b)
	if f.size == 4 {
		v = float64(math.Float32frombits(uint32(b)))
	}
	if f.scale == nil || math.IsNaN(v) || math.IsInf(v, 0) {
		w.float(v, 8*f.size)
		return
	}
	w.float(f.scale.apply(new(big.Rat).SetFloat64(v)), 64)
}

func (f *field) writeScaled(w *writer, b uint64) {
	v := new(big.Rat)
	if f.kind[0] == 'u' {
		v.SetUint64(b)
	} else {
		v.SetInt64(signed(b, f.size))
	}
	w.float(f.scale.apply(v), 64)
}

// bits reads 1, 2, 4 or 8 bytes.
func bits(order binary.ByteOrder, raw []byte) uint64 {
	switch len(raw) {
	case 1:
		return uint64(raw[0])
	case 2:
		return uint64(order.Uint16(raw))
	case 4:
		return uint64(order.Uint32(raw))
	}
	return order.Uint64(raw)
}

// signed extends the sign of a number of that many bytes.
func signed(b uint64, size int) int64 {
	shift := 64 - 8*size
	return int64(b<<shift) >> shift
}

// rat is the exact value of a decimal number, nil if s is none or is out of
// proportion. Beyond that a rule would more likely be wrong than meant, and
// computing exactly would take long.
func rat(s string) *big.Rat {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.ContainsAny(s, "xXpP_nNiI") || len(s) > 40 {
		return nil
	}
	if abs := math.Abs(f); abs > 1e30 || abs < 1e-30 && abs != 0 {
		return nil
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 && len(s)-i > 5 { // 0e999999999
		return nil
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return nil
	}
	return r
}
