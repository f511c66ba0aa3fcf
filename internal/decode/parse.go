package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/internal/yamlfile"
)

const (
	maxRules  = 1000
	maxWords  = 100 // of one list
	maxFields = 1000
)

// formats are the names of formats, as an error lists them.
var formats = []string{"msgpack", "cbor", "json", "text", "hex", "number", "bool", "struct"}

// Parse reads rules from YAML. An error is one line that says where and what
// to do.
func Parse(file []byte) (*Rules, error) {
	root, err := yamlfile.Document(file, "decoders")
	if err != nil {
		return nil, err
	}
	top, err := yamlfile.Object(root, "decoders")
	if err != nil {
		return nil, err
	}
	list := top["decoders"]
	if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		return nil, errors.New("there are no decoders; write a list of rules below decoders:, each with its topic and format")
	}
	if n := len(list.Content); n > maxRules {
		return nil, fmt.Errorf("there are %d decoders; write at most %d, and use wildcards in their topics", n, maxRules)
	}
	r := &Rules{}
	seen := map[string]int{}
	for i, n := range list.Content {
		filter, f, err := rule(n)
		if err == nil && seen[filter] > 0 {
			err = fmt.Errorf("rule %d has the same topic and comes first; remove one of them", seen[filter])
		}
		if err != nil {
			return nil, fmt.Errorf("rule %d (%sline %d): %w", i+1, named(filter), n.Line, err)
		}
		seen[filter] = i + 1
		r.filters.Add(filter, i)
		r.formats = append(r.formats, f)
	}
	return r, nil
}

// named is the filter of a rule in an error.
func named(filter string) string {
	if filter == "" {
		return ""
	}
	return yamlfile.Quote(filter) + ", "
}

// rule reads one rule. The filter is returned with an error, too, if it is
// known by then.
func rule(n *yaml.Node) (filter string, f format, err error) {
	fields, err := yamlfile.Object(n, "topic", "format", "on_words", "off_words", "endian", "fields")
	if n.Kind == yaml.MappingNode {
		filter = yamlfile.Peek(n, "topic")
	}
	if err != nil {
		return filter, nil, err
	}
	if _, err = yamlfile.Scalar(fields["topic"], "topic", "a topic filter such as tele/+/POWER"); err != nil {
		return filter, nil, err
	}
	if err := topic.CheckFilter(filter); err != nil {
		reason := err.Error()
		if detailed := new(topic.Error); errors.As(err, &detailed) {
			reason = detailed.Detail
		}
		return filter, nil, errors.New(reason)
	}
	name, err := yamlfile.Scalar(fields["format"], "format", strings.Join(formats, ", "))
	if err != nil {
		return filter, nil, err
	}
	f, err = formatOf(name, fields)
	return filter, f, err
}

// formatOf makes the format of a rule.
func formatOf(name string, fields map[string]*yaml.Node) (format, error) {
	own := map[string][]string{"bool": {"on_words", "off_words"}, "struct": {"endian", "fields"}}[name]
	for _, key := range []string{"on_words", "off_words", "endian", "fields"} {
		if fields[key] != nil && slices.Contains(formats, name) && !slices.Contains(own, key) {
			return nil, fmt.Errorf("format %s has no %s; remove it", name, key)
		}
	}
	switch name {
	case "msgpack":
		return msgpack, nil
	case "cbor":
		return cborFormat, nil
	case "json":
		return jsonFormat, nil
	case "text":
		return textFormat, nil
	case "hex":
		return hexFormat, nil
	case "number":
		return number, nil
	case "bool":
		return boolOf(fields["on_words"], fields["off_words"])
	case "struct":
		return structOf(fields["endian"], fields["fields"])
	}
	return nil, fmt.Errorf("the format %s does not exist; write one of %s", yamlfile.Quote(name), strings.Join(formats, ", "))
}

// boolOf reads the two lists of words.
func boolOf(on, off *yaml.Node) (format, error) {
	if (on == nil) != (off == nil) {
		return nil, errors.New("only one of on_words and off_words is there; write both, or none for the usual words")
	}
	words := map[string]bool{}
	for _, w := range onWords {
		words[w] = true
	}
	for _, w := range offWords {
		words[w] = false
	}
	if on == nil {
		return boolFormat(words), nil
	}
	clear(words)
	for key, list := range map[string]*yaml.Node{"on_words": on, "off_words": off} {
		if err := addWords(words, key, list); err != nil {
			return nil, err
		}
	}
	return boolFormat(words), nil
}

func addWords(words map[string]bool, key string, list *yaml.Node) error {
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 || len(list.Content) > maxWords {
		return fmt.Errorf("%s must be a list of 1 to %d words, such as [open, \"1\"]", key, maxWords)
	}
	for _, n := range list.Content {
		word, err := yamlfile.Scalar(n, "a word of "+key, "the word, in quotes if it is special to YAML")
		switch {
		case err != nil:
			return err
		case strings.Trim(word, asciiSpace) != word || word == "":
			return fmt.Errorf("%s has a word that is empty or has white space around it; the payload's is cut off, so cut it off here too", key)
		case len(word) > maxWord:
			return fmt.Errorf("%s has a word of %d bytes; write at most %d", key, len(word), maxWord)
		}
		if _, twice := words[fold(word)]; twice {
			return fmt.Errorf("the word %s is there twice; upper and lower case are the same, so remove one", yamlfile.Quote(word))
		}
		words[fold(word)] = key == "on_words"
	}
	return nil
}

// structOf reads the layout of a struct.
func structOf(endian, list *yaml.Node) (format, error) {
	name, err := yamlfile.Scalar(endian, "endian", "little or big")
	if err != nil {
		return nil, err
	}
	var order binary.ByteOrder
	switch name {
	case "little":
		order = binary.LittleEndian
	case "big":
		order = binary.BigEndian
	default:
		return nil, fmt.Errorf("endian is %s; write little or big", yamlfile.Quote(name))
	}
	if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 || len(list.Content) > maxFields {
		return nil, fmt.Errorf("fields must be a list of 1 to %d fields, such as {name: ax, type: int16}", maxFields)
	}
	fields := make([]field, 0, len(list.Content))
	seen := map[string]bool{}
	total := 0
	for i, n := range list.Content {
		f, err := fieldOf(n)
		if total += f.size; err == nil && total > maxPayload {
			err = fmt.Errorf("the fields are longer than %d bytes up to here; no decoder reads more", maxPayload)
		}
		if err == nil && f.name != "" && seen[f.name] {
			err = fmt.Errorf("the name %s is there twice; rename one", yamlfile.Quote(f.name))
		}
		if err != nil {
			return nil, fmt.Errorf("field %d (line %d): %w", i+1, n.Line, err)
		}
		if f.name != "" && len(seen) > 0 {
			f.prefix = "," + f.prefix
		}
		if f.name != "" {
			seen[f.name] = true
		}
		fields = append(fields, f)
	}
	if len(seen) == 0 {
		return nil, errors.New("all fields are skipped; write one that has a name")
	}
	return structFormat(order, fields), nil
}
