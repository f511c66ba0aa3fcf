package settings

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/vulturepi/gateway/internal/spelling"
)

// section is the one that is read.
const section = "system"

// entry is the value of a key, and where it stands.
type entry struct {
	value string
	line  int // from 1
	start int // the value is data[start : start+len(value)]
}

// readSystem returns the keys of section [system], in lower case.
func readSystem(data []byte) (map[string]entry, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) || bytes.IndexByte(data, 0) >= 0 {
		return nil, errors.New("is UTF-16 or binary; save it as UTF-8")
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	offset := len(data) - len(text) // of the line in data
	var keys map[string]entry       // nil until [system] is seen
	var otherCase string            // a section such as [System], and what to do
	inside := false
	number := 0
	for full := range strings.Lines(text) {
		number++
		start := offset + len(full) - len(strings.TrimLeftFunc(full, unicode.IsSpace))
		offset += len(full)
		line := strings.TrimSpace(full)
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			name, err := sectionName(line, number)
			if err != nil {
				return nil, err
			}
			inside = name == section
			if inside && keys != nil {
				return nil, fmt.Errorf("line %d: section [system] appears twice; keep one", number)
			}
			if inside {
				keys = make(map[string]entry)
			} else if strings.EqualFold(name, section) && otherCase == "" {
				otherCase = fmt.Sprintf("line %d: [%s] is not [system]: section names are case-sensitive; write [system]", number, name)
			}
			continue
		}
		if !inside {
			continue
		}
		if err := addKey(keys, line, number, start); err != nil {
			return nil, err
		}
	}
	if keys == nil && otherCase != "" {
		return nil, errors.New(otherCase)
	}
	if keys == nil {
		return nil, fmt.Errorf("has no section [system]; add it with %s and %s", KeyAddress, KeyPort)
	}
	return keys, nil
}

func sectionName(line string, number int) (string, error) {
	name, ok := strings.CutSuffix(strings.TrimSpace(withoutComment(line)[1:]), "]")
	if !ok {
		return "", fmt.Errorf("line %d: the section has no closing bracket; write for example [system]", number)
	}
	return strings.TrimSpace(name), nil
}

// addKey takes a line apart that begins at start.
func addKey(keys map[string]entry, line string, number, start int) error {
	i := strings.IndexAny(line, "=:")
	if i < 1 {
		return fmt.Errorf("line %d: is not of the form key = value", number)
	}
	key := strings.ToLower(strings.TrimSpace(line[:i]))
	if _, twice := keys[key]; twice {
		return fmt.Errorf("line %d: key %q appears twice in section [system]; keep one", number, key)
	}
	value := line[i+1:]
	start += i + 1
	if key != KeyUsername && key != KeyPassword { // these two may hold " #"
		value = withoutComment(value)
	}
	start += len(value) - len(strings.TrimLeftFunc(value, unicode.IsSpace))
	value = strings.TrimSpace(value)
	if isQuoted(value) {
		value = value[1 : len(value)-1]
		start++
	}
	keys[key] = entry{value, number, start}
	return nil
}

func isQuoted(value string) bool {
	last := len(value) - 1
	return last > 0 && value[0] == value[last] && (value[0] == '"' || value[0] == '\'')
}

// withoutComment cuts at a ; or # that starts the text or follows a space. No
// value that it is used for holds one, so quotes need no care.
func withoutComment(text string) string {
	for i, r := range text {
		if (r == ';' || r == '#') && (i == 0 || text[i-1] == ' ' || text[i-1] == '\t') {
			return text[:i]
		}
	}
	return text
}

// checkSpelling refuses a key that looks like a misspelling of a missing one:
// mqtt_prot would silently mean the default port.
func checkSpelling(keys map[string]entry) error {
	first, message := 0, ""
	for key, e := range keys {
		for _, known := range []string{KeyAddress, KeyPort, KeyUsername, KeyPassword, KeyTLS, KeyCAFile} {
			if _, found := keys[known]; found || !misspells(key, known) || first > 0 && e.line > first {
				continue
			}
			first, message = e.line, fmt.Sprintf("line %d: unknown key %q; did you mean %s?", e.line, key, known)
		}
	}
	if message != "" {
		return errors.New(message)
	}
	return nil
}

// misspells is true for one typo, for two in ip_address, whose double letters
// invite them, and for other or no separators between the words. More would
// refuse keys of other tools: mqtt_qos is two typos away from mqtt_tls.
func misspells(key, known string) bool {
	typos := 1
	if known == KeyAddress {
		typos = 2
	}
	if len(key) > 2*len(known) { // to compare them takes time
		return false
	}
	return key != known && (spelling.Typos(key, known) <= typos || slices.Equal(words(key), words(known)))
}

// words is the key without its separators.
func words(key string) []byte {
	return slices.DeleteFunc([]byte(key), func(b byte) bool { return b == '_' || b == '-' || b == ' ' || b == '.' })
}
