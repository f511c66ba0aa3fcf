package wire

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
)

// Properties are what MQTT 5 says about a message beside its payload. An empty
// field is none.
type Properties struct {
	ContentType   string
	Expires       bool   // there is an Expiry
	Expiry        uint32 // seconds that the message may wait at the broker
	ResponseTopic string
	Correlation   []byte
	User          []UserProperty // in order; names may repeat
}

// UserProperty is a pair that MQTT passes on without looking at it.
type UserProperty struct{ Name, Value string }

// Size is how many bytes the properties have; those of nil are none.
func (p *Properties) Size() int {
	if p == nil {
		return 0
	}
	n := len(p.ContentType) + len(p.ResponseTopic) + len(p.Correlation)
	for _, u := range p.User {
		n += len(u.Name) + len(u.Value)
	}
	return n
}

// append appends the fields that a message object has of them, each behind a
// comma.
func (p *Properties) append(dst []byte) []byte {
	if p.ContentType != "" {
		dst = AppendString(append(dst, `,"content_type":`...), p.ContentType)
	}
	if p.Expires {
		dst = strconv.AppendUint(append(dst, `,"expiry":"`...), uint64(p.Expiry), 10)
		dst = append(dst, `s"`...)
	}
	if p.ResponseTopic != "" {
		dst = AppendString(append(dst, `,"response_topic":`...), p.ResponseTopic)
	}
	if len(p.Correlation) > 0 {
		dst = base64.StdEncoding.AppendEncode(append(dst, `,"correlation":"`...), p.Correlation)
		dst = append(dst, '"')
	}
	if len(p.User) > 0 {
		dst = appendUser(append(dst, `,"user_properties":{`...), p.User)
		dst = append(dst, '}')
	}
	return dst
}

// fewProperties are so few that looking for a name again and again is quick.
const fewProperties = 32

// appendUser appends each name once, in the order of the first of its kind, with
// its value, or with an array of its values.
func appendUser(dst []byte, all []UserProperty) []byte {
	if len(all) > fewProperties {
		return appendManyUser(dst, all)
	}
	for i, u := range all {
		again, more := false, false
		for j, other := range all {
			again = again || j < i && other.Name == u.Name
			more = more || j > i && other.Name == u.Name
		}
		if again {
			continue
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, u.Name), ':')
		if !more {
			dst = AppendString(dst, u.Value)
			continue
		}
		dst = AppendString(append(dst, '['), u.Value)
		for _, other := range all[i+1:] {
			if other.Name == u.Name {
				dst = AppendString(append(dst, ','), other.Value)
			}
		}
		dst = append(dst, ']')
	}
	return dst
}

// appendManyUser is appendUser in a time that does not grow with the square.
func appendManyUser(dst []byte, all []UserProperty) []byte {
	values := make(map[string][]string, len(all))
	var names []string
	for _, u := range all {
		if values[u.Name] == nil {
			names = append(names, u.Name)
		}
		values[u.Name] = append(values[u.Name], u.Value)
	}
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, name), ':')
		if len(values[name]) == 1 {
			dst = AppendString(dst, values[name][0])
			continue
		}
		for j, v := range values[name] {
			dst = AppendString(append(dst, "[,"[min(j, 1)]), v)
		}
		dst = append(dst, ']')
	}
	return dst
}

// Strings are the values of a user property: in JSON a string, or an array of
// them where there are several.
type Strings []string

// MarshalJSON implements json.Marshaler.
func (s Strings) MarshalJSON() ([]byte, error) {
	if len(s) == 1 {
		return json.Marshal(s[0])
	}
	return json.Marshal([]string(s))
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Strings) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil && string(b) != "null" {
		*s = Strings{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil || many == nil {
		return errors.New("neither a string nor an array of strings")
	}
	*s = many
	return nil
}
