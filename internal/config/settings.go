package config

import (
	"bytes"
	"net"
	"strings"
)

// Keys of section [system] in the device SDK's settings.ini.
const (
	keyAddress = "ip_address"
	keyPort    = "mqtt_port"
)

// parseSettings returns host:port of the broker that a settings.ini names. It
// reads what Python's configparser reads: `=` or `:`, full-line comments with
// `;` or `#`, keys in any case. Quotes and comments after a value are taken
// off, too. Sections other than [system] are not looked at.
//
// An error names a line or a key, but shows only values of the two keys above:
// other keys may be secret.
func parseSettings(data []byte) (string, error) {
	values, err := readSystem(data)
	if err != nil {
		return "", err
	}
	address, found := values[keyAddress]
	if !found {
		return "", valueErrorf("section [system] has no %s; add for example %s = 192.168.1.10", keyAddress, keyAddress)
	}
	host, err := destination(address)
	if err != nil {
		return "", valueErrorf("%s = %q: %s", keyAddress, address, err)
	}
	port, found := values[keyPort]
	if !found {
		port = defaultPort("mqtt")
	}
	if err := checkPort(port); err != nil || port == "0" {
		return "", valueErrorf("%s = %q: write a port from 1 to 65535, in decimal and without a leading zero, for example 1883", keyPort, port)
	}
	return net.JoinHostPort(host, port), nil
}

// readSystem returns the keys of section [system], in lower case.
func readSystem(data []byte) (map[string]string, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) || bytes.IndexByte(data, 0) >= 0 {
		return nil, valueError("is UTF-16 or binary; save it as UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var values map[string]string // nil until [system] is seen
	inside := false
	number := 0
	for text := range strings.Lines(string(data)) {
		number++
		line := strings.TrimSpace(withoutComment(text))
		if line == "" {
			continue
		}
		if line[0] == '[' {
			name, ok := strings.CutSuffix(line[1:], "]")
			if !ok {
				return nil, valueErrorf("line %d: the section has no closing bracket; write for example [system]", number)
			}
			inside = strings.TrimSpace(name) == "system"
			if inside && values != nil {
				return nil, valueErrorf("line %d: section [system] appears twice; keep one", number)
			}
			if inside {
				values = make(map[string]string)
			}
			continue
		}
		if !inside {
			continue
		}
		if err := addKey(values, line, number); err != nil {
			return nil, err
		}
	}
	if values == nil {
		return nil, valueErrorf("has no section [system]; add it with %s and %s", keyAddress, keyPort)
	}
	return values, nil
}

func addKey(values map[string]string, line string, number int) error {
	i := strings.IndexAny(line, "=:")
	if i < 1 {
		return valueErrorf("line %d: is not of the form key = value", number)
	}
	key := strings.ToLower(strings.TrimSpace(line[:i]))
	if _, twice := values[key]; twice {
		return valueErrorf("line %d: key %q appears twice in section [system]; keep one", number, key)
	}
	value := strings.TrimSpace(line[i+1:])
	for _, quote := range []string{`"`, `'`} {
		if len(value) > 1 && strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote) {
			value = value[1 : len(value)-1]
		}
	}
	values[key] = value
	return nil
}

// withoutComment cuts at a ; or # that starts the line or follows a space. No
// value of interest holds one, so quotes need no care.
func withoutComment(line string) string {
	for i, r := range line {
		if (r == ';' || r == '#') && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}
