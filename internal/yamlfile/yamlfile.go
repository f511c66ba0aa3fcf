// Package yamlfile reads the YAML files that say what is done with which
// topics. A file is a tree of nodes that its reader takes apart by hand. So an
// error can say which rule it means, it shows of the file no more than a key or a
// word, and an alias is a node that is refused, not a copy that grows. It is pure.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var lineNumber = regexp.MustCompile(`line (\d+)`)

// Document is the one document of a file. An empty one is an error that says to
// write key, and a list of rules below it.
func Document(file []byte, key string) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(file))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && (len(doc.Content) != 1 || empty(doc.Content[0])) {
		return nil, fmt.Errorf("the file is empty; write %s: and a list of rules below it", key)
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

// Object is a mapping that has no other keys than the known ones, and none
// twice.
func Object(n *yaml.Node, known ...string) (map[string]*yaml.Node, error) {
	if n.Kind == yaml.AliasNode {
		return nil, ErrAlias
	}
	if n.Kind != yaml.MappingNode || n.Style&yaml.TaggedStyle != 0 {
		return nil, fmt.Errorf("line %d must have keys and values; the keys are %s", n.Line, strings.Join(known, ", "))
	}
	values := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value):
			return nil, fmt.Errorf("the key %s at line %d does not exist here; the keys are %s", Quote(key.Value), key.Line, strings.Join(known, ", "))
		case values[key.Value] != nil:
			return nil, fmt.Errorf("the key %s is there twice, at line %d again; remove one", key.Value, key.Line)
		case value.Kind == yaml.AliasNode:
			return nil, ErrAlias
		}
		values[key.Value] = value
	}
	return values, nil
}

// ErrAlias is what an alias is refused with.
var ErrAlias = errors.New("aliases (*name) are not read; write out what they stand for")

// Peek is the text at a key of a mapping, "" if there is none.
func Peek(n *yaml.Node, key string) string {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key && n.Content[i+1].Kind == yaml.ScalarNode {
			return n.Content[i+1].Value
		}
	}
	return ""
}

// Scalar is the text of a value as it stands in the file: on is "on", 1 is
// "1". want says what belongs there.
func Scalar(n *yaml.Node, key, want string) (string, error) {
	switch {
	case n == nil:
		return "", fmt.Errorf("%s is missing; write %s", key, want)
	case n.Kind == yaml.AliasNode:
		return "", ErrAlias
	case n.Kind != yaml.ScalarNode || n.Style&yaml.TaggedStyle != 0:
		return "", fmt.Errorf("%s at line %d is not a plain value; write %s", key, n.Line, want)
	case empty(n):
		return "", fmt.Errorf("%s at line %d is empty; write %s", key, n.Line, want)
	}
	return n.Value, nil
}

// Quote is a word of the file in an error, in a few characters.
func Quote(s string) string {
	const most = 64
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}
