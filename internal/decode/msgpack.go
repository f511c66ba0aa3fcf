package decode

import "github.com/tinylib/msgp/msgp"

const (
	problemMsgpack    = "The payload is not valid MessagePack."
	problemMsgpackKey = "The payload has a MessagePack map with a key that is neither text nor a whole number."
	problemMsgpackExt = "The payload has a MessagePack extension other than the timestamp."
)

// msgpack decodes one MessagePack value and nothing behind it.
func msgpack(w *writer, payload []byte) (problem string) {
	if len(payload) == 0 {
		return problemEmpty
	}
	rest, problem := msgpackValue(w, payload, 0)
	if problem == "" && len(rest) > 0 {
		return problemTrailing
	}
	return problem
}

// msgpackValue writes the first value of b and returns what is behind it. The
// library reads the heads and the scalars, of which none is copied; containers
// are walked here, so that what they claim to hold is never reserved.
func msgpackValue(w *writer, b []byte, depth int) (rest []byte, problem string) {
	if w.full() {
		return nil, problemValueLong
	}
	switch msgp.NextType(b) {
	case msgp.MapType:
		return msgpackMap(w, b, depth+1)
	case msgp.ArrayType:
		return msgpackArray(w, b, depth+1)
	case msgp.StrType:
		s, rest, err := msgp.ReadStringZC(b)
		if err != nil {
			return nil, msgpackProblem(err)
		}
		return rest, w.text(s)
	case msgp.BinType:
		s, rest, err := msgp.ReadBytesZC(b)
		if err != nil {
			return nil, msgpackProblem(err)
		}
		return rest, w.base64(s)
	case msgp.TimeType, msgp.ExtensionType, msgp.Complex64Type, msgp.Complex128Type:
		return msgpackTime(w, b)
	}
	return msgpackScalar(w, b)
}

func msgpackScalar(w *writer, b []byte) (rest []byte, problem string) {
	var err error
	switch msgp.NextType(b) {
	case msgp.NilType:
		rest, err = msgp.ReadNilBytes(b)
		w.raw("null")
	case msgp.BoolType:
		var v bool
		v, rest, err = msgp.ReadBoolBytes(b)
		w.bool(v)
	case msgp.IntType:
		var v int64
		v, rest, err = msgp.ReadInt64Bytes(b)
		w.int(v)
	case msgp.UintType:
		var v uint64
		v, rest, err = msgp.ReadUint64Bytes(b)
		w.uint(v)
	case msgp.Float32Type:
		var v float32
		v, rest, err = msgp.ReadFloat32Bytes(b)
		w.float(float64(v), 32)
	case msgp.Float64Type:
		var v float64
		v, rest, err = msgp.ReadFloat64Bytes(b)
		w.float(v, 64)
	default:
		if len(b) == 0 {
			return nil, problemShort
		}
		return nil, problemMsgpack
	}
	if err != nil {
		return nil, msgpackProblem(err)
	}
	return rest, ""
}

func msgpackArray(w *writer, b []byte, depth int) (rest []byte, problem string) {
	n, rest, err := msgp.ReadArrayHeaderBytes(b)
	if problem = msgpackContainer(uint64(n), rest, err, depth); problem != "" {
		return nil, problem
	}
	w.raw("[")
	for i := range n {
		if i > 0 {
			w.raw(",")
		}
		if rest, problem = msgpackValue(w, rest, depth); problem != "" {
			return nil, problem
		}
	}
	w.raw("]")
	return rest, ""
}

func msgpackMap(w *writer, b []byte, depth int) (rest []byte, problem string) {
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	if problem = msgpackContainer(2*uint64(n), rest, err, depth); problem != "" {
		return nil, problem
	}
	w.raw("{")
	var seen keys
	for i := range n {
		if i > 0 {
			w.raw(",")
		}
		from := len(w.b)
		if rest, problem = msgpackKey(w, rest); problem != "" {
			return nil, problem
		}
		if !seen.add(w.b[from:]) {
			return nil, problemDuplicate
		}
		w.raw(":")
		if rest, problem = msgpackValue(w, rest, depth); problem != "" {
			return nil, problem
		}
	}
	w.raw("}")
	return rest, ""
}

// msgpackContainer looks at the head of an array or map that claims to hold
// that many items, each of one byte at least.
func msgpackContainer(items uint64, rest []byte, err error, depth int) (problem string) {
	switch {
	case err != nil:
		return msgpackProblem(err)
	case depth > maxDepth:
		return problemTooDeep
	case items > uint64(len(rest)):
		return problemShort
	}
	return ""
}

// msgpackKey writes a key: a text as it is, a whole number as its digits.
func msgpackKey(w *writer, b []byte) (rest []byte, problem string) {
	switch msgp.NextType(b) {
	case msgp.StrType:
		return msgpackValue(w, b, 0)
	case msgp.IntType, msgp.UintType:
		w.raw(`"`)
		rest, problem = msgpackScalar(w, b)
		w.raw(`"`)
		return rest, problem
	case msgp.InvalidType:
		return msgpackScalar(w, b) // which says what is wrong
	}
	return nil, problemMsgpackKey
}

// msgpackTime writes a timestamp, the extension with the number -1. The
// library knows a time of its own besides, which others do not.
func msgpackTime(w *writer, b []byte) (rest []byte, problem string) {
	const fixext4, fixext8, ext8, timestamp = 0xd6, 0xd7, 0xc7, 0xff
	switch {
	case len(b) < 3:
		return nil, problemShort
	case (b[0] == fixext4 || b[0] == fixext8) && b[1] == timestamp, b[0] == ext8 && b[2] == timestamp:
	default:
		return nil, problemMsgpackExt
	}
	t, rest, err := msgp.ReadTimeUTCBytes(b)
	if err != nil {
		if err == msgp.ErrShortBytes {
			return nil, problemShort
		}
		return nil, problemTime
	}
	return rest, w.time(t)
}

// msgpackProblem puts an error of the library, whose text may tell of the
// payload, in our words.
func msgpackProblem(err error) string {
	if err == msgp.ErrShortBytes {
		return problemShort
	}
	return problemMsgpack
}
