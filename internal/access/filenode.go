package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// FileError says what is wrong in an access file, and where. It holds no value of the file.
type FileError struct {
	Line    int    // from 1; 0 if it is about the whole file
	Field   string // such as principals[1].subscribe[0], counted from 0; "" if it is about the whole line
	Problem string // a sentence
}

func (e *FileError) Error() string {
	var where []string
	if e.Line > 0 {
		where = append(where, fmt.Sprintf("line %d", e.Line))
	}
	if e.Field != "" {
		where = append(where, e.Field)
	}
	if len(where) == 0 {
		return e.Problem
	}
	return strings.Join(where, ", ") + ": " + e.Problem
}

// node is a place in an access file. The file is read from its nodes and not into structs, because the library's errors
// about structs repeat values and leave out fields.
type node struct {
	*yaml.Node
	field string
}

func (n node) errorf(format string, args ...any) error {
	return &FileError{Line: n.Line, Field: n.field, Problem: fmt.Sprintf(format, args...)}
}

// parseYAML returns the root of the one document in data, nil in an empty one.
func parseYAML(data []byte) (node, error) {
	if len(data) > maxFile {
		return node{}, &FileError{Problem: fmt.Sprintf("it is larger than %d bytes", maxFile)}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return node{}, nil
	case err != nil:
		return node{}, syntaxError(err)
	}
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return node{}, syntaxError(err)
	default:
		return node{}, &FileError{Line: second.Line, Problem: "a second document begins here; only one is read, so leave out the ---"}
	}
	if len(document.Content) != 1 {
		return node{}, nil
	}
	return node{Node: document.Content[0]}, nil
}

var lineOf = regexp.MustCompile(`line ([0-9]+):`)

// syntaxError keeps the line of the library's error and drops its words, which may repeat the file's.
func syntaxError(err error) error {
	e := &FileError{Problem: "this is not YAML; check indentation, colons, brackets and quotes"}
	if m := lineOf.FindStringSubmatch(err.Error()); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
	}
	return e
}

// absent reports whether there is nothing here, as behind a field all of whose lines are commented out.
func (n node) absent() bool { return n.Node == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// members calls do for each field of a mapping, in order.
func (n node) members(do func(key, value node) error) error {
	if n.absent() {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return n.errorf("must have fields, each with a colon, such as subscribe: [\"a/#\"]")
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := node{n.Content[i], n.field}
		if key.Kind != yaml.ScalarNode {
			return key.errorf("the name of a field must be plain text")
		}
		if seen[key.Value] {
			return key.errorf("%s stands here twice", fieldName(key.Value))
		}
		seen[key.Value] = true
		value := node{n.Content[i+1], strings.TrimPrefix(n.field+"."+fieldName(key.Value), ".")}
		if err := do(key, value); err != nil {
			return err
		}
	}
	return nil
}

// fields calls the function of each field of a mapping; other fields than these are refused.
func (n node) fields(known map[string]func(node) error) error {
	return n.members(func(key, value node) error {
		read := known[key.Value]
		if read == nil {
			return value.errorf("there is no such field; there are %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		value.Line = key.Line // where a reader looks for it
		return read(value)
	})
}

var plainName = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// fieldName returns the name of a field as far as it looks like one: what looks otherwise may be a misplaced secret.
func fieldName(s string) string {
	if plainName.MatchString(s) {
		return s
	}
	return "a field"
}

// items calls do for each item of a list.
func (n node) items(do func(node) error) error {
	if n.absent() {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return n.errorf("must be a list, also of one: [\"…\"]")
	}
	for i, item := range n.Content {
		if err := do(node{item, fmt.Sprintf("%s[%d]", n.field, i)}); err != nil {
			return err
		}
	}
	return nil
}

// scalar reads a text. What YAML takes for a number or a date is text as well, as it is written.
func (n node) scalar(to *string) error {
	if n.Kind != yaml.ScalarNode || n.absent() || n.Tag == "!!binary" {
		return n.errorf("must be a text")
	}
	*to = n.Value
	return nil
}

func (n node) boolean(to *bool) error {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
		return n.errorf("must be true or false")
	}
	return n.Decode(to)
}

func (n node) time(to *time.Time) (err error) {
	var text string
	if err := n.scalar(&text); err != nil {
		return err
	}
	if *to, err = time.Parse(time.RFC3339, text); err != nil {
		return n.errorf("must be a time such as 2027-01-01T00:00:00Z")
	}
	return nil
}

// grants reads the filter lists of a mapping that may have other fields as well.
func (n node) grants(to *Grants, named bool, others map[string]func(node) error) error {
	known := map[string]func(node) error{"operator": func(v node) error { return v.boolean(&to.Operator) }}
	maps.Copy(known, others)
	for _, l := range lists {
		known[string(l)] = func(v node) error { return v.filters(l, l.of(to), named) }
	}
	return n.fields(known)
}

func (n node) filters(l list, to *[]string, named bool) error {
	return n.items(func(item node) error {
		var filter string
		if err := item.scalar(&filter); err != nil {
			return err
		}
		if err := l.check(filter, named); err != nil {
			return item.errorf("%v", err)
		}
		if len(*to) == MaxFilters {
			return item.errorf("the list has more than %d filters", MaxFilters)
		}
		*to = append(*to, filter)
		return nil
	})
}
