package decode_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const every = `
    fields:
      - {name: i8, type: int8}
      - {name: i16, type: int16}
      - {name: i32, type: int32}
      - {name: i64, type: int64}
      - {name: u8, type: uint8}
      - {name: u16, type: uint16}
      - {type: skip, length: 3}
      - {name: u32, type: uint32}
      - {name: u64, type: uint64}
      - {name: f32, type: float32}
      - {name: f64, type: float64}
      - {name: flag, type: bool}
      - {name: "la\"bel", type: text, length: 8}
      - {name: raw, type: hex, length: 2}
`

// numbers are the fields of every, as Go lays them out.
type numbers struct {
	I8   int8
	I16  int16
	I32  int32
	I64  int64
	U8   uint8
	U16  uint16
	Skip [3]byte
	U32  uint32
	U64  uint64
	F32  float32
	F64  float64
	Flag bool
	Text [8]byte
	Raw  [2]byte `json:"-"`
}

func TestStructReadsBothByteOrders(t *testing.T) {
	v := numbers{-128, -2, -3, math.MinInt64, 255, 65534, [3]byte{9, 9, 9}, 4294967295, math.MaxUint64, 0.1, 0.1, true, [8]byte{'a', 'b', 0, 'z'}, [2]byte{0xab, 1}}
	const want = `{"i8":-128,"i16":-2,"i32":-3,"i64":-9223372036854775808,"u8":255,"u16":65534,"u32":4294967295,"u64":18446744073709551615,` +
		`"f32":0.1,"f64":0.1,"flag":true,"la\"bel":"ab","raw":"ab01"}`
	for name, order := range map[string]binary.ByteOrder{"little": binary.LittleEndian, "big": binary.BigEndian} {
		var b bytes.Buffer
		_ = binary.Write(&b, order, &v)
		p := b.String()
		run(t, one(t, "struct", "    endian: "+name+every), []tt{
			{p, want, ""}, {p + "\x00", "", "not as long as"}, {p[:len(p)-1], "", "not as long as"}, {"", "", "not as long as"},
			{strings.Replace(p, "\x01ab\x00", "\x02ab\x00", 1), "", "bool that is neither"},
			{strings.Replace(p, "ab\x00z", "\xff\xff\x00z", 1), "", "not valid UTF-8"},
		})
	}
}

func TestStructRoundTrips(t *testing.T) {
	for name, order := range map[string]binary.ByteOrder{"little": binary.LittleEndian, "big": binary.BigEndian} {
		r := one(t, "struct", "    endian: "+name+every)
		rapid.Check(t, func(t *rapid.T) {
			v := numbers{I8: rapid.Int8().Draw(t, "i8"), I16: rapid.Int16().Draw(t, "i16"), I32: rapid.Int32().Draw(t, "i32"), I64: rapid.Int64().Draw(t, "i64"),
				U8: rapid.Uint8().Draw(t, "u8"), U16: rapid.Uint16().Draw(t, "u16"), U32: rapid.Uint32().Draw(t, "u32"), U64: rapid.Uint64().Draw(t, "u64"),
				F32: rapid.Float32().Draw(t, "f32"), F64: rapid.Float64().Draw(t, "f64"), Flag: rapid.Bool().Draw(t, "flag")}
			var b bytes.Buffer
			_ = binary.Write(&b, order, &v)
			value, problem := decodeOne(t, r, b.Bytes())
			var got numbers
			if err := json.Unmarshal([]byte(value), &got); err != nil || problem != "" {
				t.Fatalf("%+v: got %s %q %v", v, value, problem, err)
			}
			if got != v {
				t.Errorf("got %+v, want %+v: %s", got, v, value)
			}
		})
	}
}

func TestScaledFieldsAreExact(t *testing.T) {
	for _, c := range []struct{ field, payload, want string }{
		{"type: int16, scale: 0.01", "\x08\x55", "21.33"}, // 2133*0.01 in floats is 21.330000000000002
		{"type: int16, scale: 0.01", "\x08\x66", "21.5"},
		{"type: int16, scale: 0.1, offset: -40", "\x02\x0b", "12.3"},
		{"type: int16, scale: -1", "\xff\xff", "1"},
		{"type: int8, offset: 0.5", "\xff", "-0.5"},
		{"type: uint8, scale: 1e-3, offset: +2.5E1", "\x01", "25.001"},
		{"type: uint64, scale: 1", "\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709552000"},
		{"type: uint8, scale: 1e-9", "\x01", "1e-09"},
		{"type: uint8, scale: 1e25", "\x01", "1e+25"},
		{"type: float32, scale: 2", "\x3f\x00\x00\x00", "1"},
		{"type: float32", "\x3d\xcc\xcc\xcd", "0.1"},
		{"type: float32", "\x80\x00\x00\x00", "-0"},
		{"type: float64", "\x7f\xef\xff\xff\xff\xff\xff\xff", "1.7976931348623157e+308"},
		{"type: float64, scale: 10", "\x7f\xef\xff\xff\xff\xff\xff\xff", "null"},
		{"type: float32", "\x7f\xc0\x00\x00", "null"},
		{"type: float32, scale: 2, offset: 1", "\x7f\x80\x00\x00", "null"},
		{"type: float64", "\xff\xf0\x00\x00\x00\x00\x00\x00", "null"},
	} {
		r := one(t, "struct", "    endian: big\n    fields: [{name: x, "+c.field+"}]\n")
		if got, problem := decodeOne(t, r, []byte(c.payload)); got != `{"x":`+c.want+`}` || problem != "" {
			t.Errorf("%s: got %s %q, want %s", c.field, got, problem, c.want)
		}
	}
}

// Small fields with long names make a value much longer than the payload. They
// are the operator's names, so that is no reason to refuse it.
func TestStructMayHaveManySmallFields(t *testing.T) {
	var fields strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&fields, "      - {name: a_flag_with_a_long_name_%d, type: bool}\n", i)
	}
	r := one(t, "struct", "    endian: little\n    fields:\n"+fields.String())
	value, problem := decodeOne(t, r, make([]byte, 1000))
	var got map[string]bool
	if err := json.Unmarshal([]byte(value), &got); err != nil || len(got) != 1000 || problem != "" {
		t.Errorf("got %d fields, %q, %v, want 1000", len(got), problem, err)
	}
}
