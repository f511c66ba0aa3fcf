package decode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The file is read as a tree of nodes and taken apart by hand. So an error can
// say which rule it means, and an alias is a node that is refused, not a copy
// that grows.

var lineNumber = regexp.MustCompile(`line (\d+)`)

// document is the one document of a file.
func document(file []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(file))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && (len(doc.Content) != 1 || empty(doc.Content[0])) {
		return nil, errors.New("the file is empty; write decoders: and a list of rules below it")
	}
	if err == nil {
		if err = dec.Decode(&more); errors.Is(err, io.EOF) {
			return doc.Content[0], nil
		} else if err == nil {
			return nil, fmt.Errorf("a second document begins at line %d; write one", more.Line)
		}
	}
	return nil, syntaxError(err)
}

// syntaxError is an error of the library on one line. Its text may repeat
// names out of the file, and a wrong path may lead to any file, so names are
// left out.
func syntaxError(err error) error {
	text := strings.TrimPrefix(strings.Join(strings.Fields(err.Error()), " "), "yaml: ")
	if strings.ContainsAny(text, "'\"`") || len(text) > 150 {
		text = "it is malformed"
		if line := lineNumber.FindString(err.Error()); line != "" {
			text = line + " is malformed"
		}
	}
	return fmt.Errorf("this is not YAML: %s", text)
}

func empty(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// object is a mapping that has no other keys than the known ones, and none
// twice.
func object(n *yaml.Node, known ...string) (map[string]*yaml.Node, error) {
	if n.Kind == yaml.AliasNode {
		return nil, errAlias
	}
	if n.Kind != yaml.MappingNode || n.Style&yaml.TaggedStyle != 0 {
		return nil, fmt.Errorf("line %d must have keys and values; the keys are %s", n.Line, strings.Join(known, ", "))
	}
	values := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value):
			return nil, fmt.Errorf("the key %s at line %d does not exist here; the keys are %s", quote(key.Value), key.Line, strings.Join(known, ", "))
		case values[key.Value] != nil:
			return nil, fmt.Errorf("the key %s is there twice, at line %d again; remove one", key.Value, key.Line)
		case value.Kind == yaml.AliasNode:
			return nil, errAlias
		}
		values[key.Value] = value
	}
	return values, nil
}

var errAlias = errors.New("aliases (*name) are not read; write out what they stand for")

// peek is the text at a key of a mapping, "" if there is none.
func peek(n *yaml.Node, key string) string {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key && n.Content[i+1].Kind == yaml.ScalarNode {
			return n.Content[i+1].Value
		}
	}
	return ""
}

// scalar is the text of a value as it stands in the file: on is "on", 1 is
// "1". want says what belongs there.
func scalar(n *yaml.Node, key, want string) (string, error) {
	switch {
	case n == nil:
		return "", fmt.Errorf("%s is missing; write %s", key, want)
	case n.Kind == yaml.AliasNode:
		return "", errAlias
	case n.Kind != yaml.ScalarNode || n.Style&yaml.TaggedStyle != 0:
		return "", fmt.Errorf("%s at line %d is not a plain value; write %s", key, n.Line, want)
	case empty(n):
		return "", fmt.Errorf("%s at line %d is empty; write %s", key, n.Line, want)
	}
	return n.Value, nil
}
