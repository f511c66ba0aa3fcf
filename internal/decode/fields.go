package decode

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/vulturepi/gateway/internal/yamlfile"
	"github.com/vulturepi/gateway/wire"
)

// maxName is the longest name of a field in bytes.
const maxName = 256

const fieldTypes = "int8 to int64, uint8 to uint64, float32, float64, bool, text, hex, skip"

// fieldOf reads one field of a struct.
func fieldOf(n *yaml.Node) (f field, err error) {
	keys, err := yamlfile.Object(n, "name", "type", "length", "scale", "offset")
	if err != nil {
		return f, err
	}
	if f.kind, err = yamlfile.Scalar(keys["type"], "type", fieldTypes); err != nil {
		return f, err
	}
	if f.size, err = sizeOf(f.kind, keys["length"]); err != nil {
		return f, err
	}
	if f.scale, err = linearOf(f.kind, keys["scale"], keys["offset"]); err != nil {
		return f, err
	}
	if f.kind == "skip" {
		if keys["name"] != nil {
			return f, errors.New("skip has no name; remove it")
		}
		return f, nil
	}
	if f.name, err = yamlfile.Scalar(keys["name"], "name", "the name of the field"); err != nil {
		return f, err
	}
	if f.name == "" || len(f.name) > maxName {
		return f, fmt.Errorf("the name must have 1 to %d bytes", maxName)
	}
	f.prefix = string(append(wire.AppendString(nil, f.name), ':'))
	return f, nil
}

// sizeOf is the length of a field of that type.
func sizeOf(kind string, length *yaml.Node) (int, error) {
	size := sizes[kind]
	switch {
	case size > 0 && length != nil:
		return 0, fmt.Errorf("a field of type %s has no length; remove it", kind)
	case size > 0:
		return size, nil
	case kind != "text" && kind != "hex" && kind != "skip":
		return 0, fmt.Errorf("the type %s does not exist; write one of %s", yamlfile.Quote(kind), fieldTypes)
	}
	s, err := yamlfile.Scalar(length, "length", "the number of bytes")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxPayload || s[0] == '0' || s[0] == '+' {
		return 0, fmt.Errorf("the length is %s; write a whole number from 1 to %d", yamlfile.Quote(s), maxPayload)
	}
	return n, nil
}

// linearOf reads scale and offset, nil if there are none.
func linearOf(kind string, scale, offset *yaml.Node) (*linear, error) {
	if scale == nil && offset == nil {
		return nil, nil
	}
	if sizes[kind] == 0 || kind == "bool" {
		return nil, fmt.Errorf("a field of type %s has neither scale nor offset; remove them", kind)
	}
	var l linear
	for _, part := range []struct {
		key  string
		node *yaml.Node
		to   **big.Rat
	}{{"scale", scale, &l.scale}, {"offset", offset, &l.offset}} {
		if part.node == nil {
			continue
		}
		s, err := yamlfile.Scalar(part.node, part.key, "a number such as 0.01")
		if err != nil {
			return nil, err
		}
		if *part.to = rat(s); *part.to == nil {
			return nil, fmt.Errorf("the %s is %s; write a decimal number between 1e-30 and 1e30 such as 0.01", part.key, yamlfile.Quote(s))
		}
	}
	if l.scale != nil && l.scale.Sign() == 0 {
		return nil, errors.New("the scale is 0, which makes every value the same; write another")
	}
	return &l, nil
}
