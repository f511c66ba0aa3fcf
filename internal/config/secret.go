package config

import "log/slog"

const redacted = "[redacted]"

// Secret is a value that must not reach a log, an error or a response. Only
// Reveal gives it away. The value sits behind a pointer, so even code that
// prints by reflection shows an address.
type Secret struct{ value *string }

// Reveal returns the value, "" when none is set.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Decode takes the value from the environment.
func (s *Secret) Decode(value string) error {
	s.value = &value
	return nil
}

// String returns [redacted], or "" when no value is set.
func (s Secret) String() string {
	if s.value == nil {
		return ""
	}
	return redacted
}

// GoString redacts for %#v.
func (s Secret) GoString() string { return `config.Secret("` + s.String() + `")` }

// MarshalJSON redacts for encoding/json.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// LogValue redacts for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
