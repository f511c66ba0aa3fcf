package spectest

import (
	"encoding/json"
	"fmt"
	"testing"

	"go.yaml.in/yaml/v3"
)

// verbatim turns YAML into JSON without touching the digits of numbers.
func verbatim(t testing.TB, body []byte) []byte {
	t.Helper()
	var node yaml.Node
	if err := yaml.Unmarshal(body, &node); err != nil {
		t.Fatal(err)
	}
	out, err := appendNode(nil, &node)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func appendNode(dst []byte, n *yaml.Node) ([]byte, error) {
	var err error
	switch n.Kind {
	case yaml.DocumentNode:
		return appendNode(dst, n.Content[0])
	case yaml.SequenceNode:
		dst = append(dst, '[')
		for i, child := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendNode(dst, child); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case yaml.MappingNode:
		dst = append(dst, '{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendText(dst, n.Content[i].Value)
			dst = append(dst, ':')
			if dst, err = appendNode(dst, n.Content[i+1]); err != nil {
				return nil, err
			}
		}
		return append(dst, '}'), nil
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!int", "!!float", "!!bool", "!!null":
			return append(dst, n.Value...), nil
		}
		return appendText(dst, n.Value), nil
	}
	return nil, fmt.Errorf("line %d: neither mapping, sequence nor scalar", n.Line)
}

func appendText(dst []byte, s string) []byte {
	b, _ := json.Marshal(s) // a string always encodes
	return append(dst, b...)
}
