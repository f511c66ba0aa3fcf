package api

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// Bounds of the properties of MQTT 5: what a message may say of itself.
const (
	maxContentType   = 256
	maxCorrelation   = 1024
	maxUser          = 64
	maxUserName      = 256
	maxUserValue     = 4096
	maxAllProperties = 8192
)

// given are the properties of a message, and where each was given: in which
// field, parameter or header.
type given struct {
	wire.Properties
	pointers []string
}

// properties are those to publish; nil where there are none.
func (g *given) properties() *wire.Properties {
	if g == nil {
		return nil
	}
	return &g.Properties
}

func (g *given) size() int { return g.properties().Size() }

// errors says the same of all of them.
func (g *given) errors(detail string) (all []wire.FieldError) {
	for _, pointer := range g.pointers {
		all = append(all, wire.FieldError{Pointer: pointer, Detail: detail})
	}
	return all
}

// propertyReader collects properties and what is wrong with them.
type propertyReader struct {
	given given
	wrong []*wire.Problem
}

// from notes that a property was given there; a detail says what is wrong with
// it.
func (r *propertyReader) from(pointer, detail string) {
	r.given.pointers = append(r.given.pointers, pointer)
	if detail != "" {
		r.wrong = append(r.wrong, fieldProblem(wire.CodeInvalidProperty, pointer, detail))
	}
}

func (r *propertyReader) contentType(pointer, s string, ok bool) {
	detail := ""
	if !ok || s == "" || len(s) > maxContentType || !isPropertyText(s) {
		detail = fmt.Sprintf("content_type must be text of 1 to %d bytes without control characters.", maxContentType)
	}
	r.given.ContentType = s
	r.from(pointer, detail)
}

func (r *propertyReader) expiry(s string, ok bool) {
	d, err := time.ParseDuration(s)
	detail := ""
	if !ok || err != nil || d < time.Second || d > math.MaxUint32*time.Second || d%time.Second != 0 {
		detail = "expiry must be a duration of whole seconds, for example 30s or 12h."
	}
	r.given.Expires, r.given.Expiry = true, uint32(d/time.Second)
	r.from("/"+wire.FieldExpiry, detail)
}

func (r *propertyReader) responseTopic(s string, ok bool) {
	detail := ""
	if !ok {
		detail = "response_topic must be a string."
	} else if err := topic.CheckName(s); err != nil {
		detail = "response_topic is no topic that can be published to. " + ProblemOf(err).Detail
	}
	r.given.ResponseTopic = s
	r.from("/"+wire.FieldResponseTopic, detail)
}

func (r *propertyReader) correlation(s string, ok bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	detail := ""
	if !ok || err != nil || len(b) == 0 || len(b) > maxCorrelation || strings.ContainsAny(s, "\r\n") {
		detail = fmt.Sprintf("correlation must be 1 to %d bytes as base64, in the standard alphabet with padding.", maxCorrelation)
	}
	r.given.Correlation = b
	r.from("/"+wire.FieldCorrelation, detail)
}

// user adds a user property; the caller notes where it is from.
func (r *propertyReader) user(name, value string) (detail string) {
	switch {
	case name == "" || len(name) > maxUserName || !isPropertyText(name):
		return fmt.Sprintf("The name of a user property must be text of 1 to %d bytes without control characters.", maxUserName)
	case len(value) > maxUserValue || !isPropertyText(value):
		return fmt.Sprintf("The value of a user property must be text of %d bytes at most without control characters.", maxUserValue)
	case len(r.given.User) == maxUser:
		return fmt.Sprintf("A message has %d user properties at most.", maxUser)
	}
	r.given.User = append(r.given.User, wire.UserProperty{Name: name, Value: value})
	return ""
}

// done gives what was collected; nil where nothing was given.
func (r *propertyReader) done() (*given, *wire.Problem) {
	if len(r.given.pointers) == 0 {
		return nil, nil
	}
	if n := r.given.size(); n > maxAllProperties && len(r.wrong) == 0 {
		detail := fmt.Sprintf("The properties of a message have %d bytes at most, all together.", maxAllProperties)
		return nil, problem(wire.CodeInvalidProperty, detail, r.given.errors(detail)...)
	}
	return &r.given, merge(r.wrong)
}

// isPropertyText reports whether brokers take s as a string: they may close the
// connection on what MQTT 5, 1.5.4, forbids or warns of.
func isPropertyText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r&0xFFFE == 0xFFFE || r >= 0xFDD0 && r <= 0xFDEF
	})
}

// propertyFields are the members of a publish object that are properties, still
// raw.
type propertyFields struct {
	contentType, expiry, responseTopic, correlation, user jsontext.Value
}

func (f *propertyFields) set(name string, value jsontext.Value) bool {
	switch name {
	case wire.FieldContentType:
		f.contentType = value
	case wire.FieldExpiry:
		f.expiry = value
	case wire.FieldResponseTopic:
		f.responseTopic = value
	case wire.FieldCorrelation:
		f.correlation = value
	case wire.FieldUserProperties:
		f.user = value
	default:
		return false
	}
	return true
}

// read checks the fields, all of them; without any it gives nil.
func (f *propertyFields) read() (*given, *wire.Problem) {
	if f.contentType == nil && f.expiry == nil && f.responseTopic == nil && f.correlation == nil && f.user == nil {
		return nil, nil
	}
	var r propertyReader
	if f.contentType != nil {
		s, ok := stringValue(f.contentType)
		r.contentType("/"+wire.FieldContentType, s, ok)
	}
	if f.expiry != nil {
		r.expiry(stringValue(f.expiry))
	}
	if f.responseTopic != nil {
		r.responseTopic(stringValue(f.responseTopic))
	}
	if f.correlation != nil {
		r.correlation(stringValue(f.correlation))
	}
	if f.user != nil {
		r.from("/"+wire.FieldUserProperties, r.users(f.user))
	}
	return r.done()
}

// users reads an object of strings and arrays of strings.
func (r *propertyReader) users(object jsontext.Value) (detail string) {
	const wrong = "user_properties must be an object of strings, or of arrays of strings."
	if object.Kind() != '{' {
		return wrong
	}
	if bad := scanObject(object, func(name string, value jsontext.Value) bool {
		var values []string
		if s, ok := stringValue(value); ok {
			values = []string{s}
		} else if value.Kind() != '[' || !stringArray(value, &values) || len(values) == 0 {
			detail = wrong
		}
		for _, v := range values {
			if detail == "" {
				detail = r.user(name, v)
			}
		}
		return true
	}); bad != nil {
		return wrong
	}
	return detail
}

// The headers and query parameters that stand for properties where the body is
// the payload.
const (
	userPropertyHeader = "Mqtt-User-Property"
	paramContentType   = "content_type" // true: the Content-Type of the request
)

var propertyParams = []string{paramContentType, wire.FieldExpiry, wire.FieldResponseTopic}

// propertiesOf reads the properties of a request whose body is the payload.
func propertiesOf(req *http.Request, query url.Values) (*given, *wire.Problem) {
	var r propertyReader
	switch query.Get(paramContentType) {
	case "true":
		r.contentType("/"+paramContentType, req.Header.Get("Content-Type"), true)
	case "false":
	default:
		if query.Has(paramContentType) {
			r.from("/"+paramContentType, "content_type must be true, to pass the request's Content-Type on, or false.")
		}
	}
	if query.Has(wire.FieldExpiry) {
		r.expiry(query.Get(wire.FieldExpiry), true)
	}
	if query.Has(wire.FieldResponseTopic) {
		r.responseTopic(query.Get(wire.FieldResponseTopic), true)
	}
	pairs, detail := req.Header.Values(userPropertyHeader), ""
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if detail == "" && !ok {
			detail = "Write a user property as Mqtt-User-Property: name=value."
		} else if detail == "" {
			detail = r.user(name, value)
		}
	}
	if len(pairs) > 0 {
		r.from("/"+userPropertyHeader, detail)
	}
	return r.done()
}

// propertyHeaders are the headers that become a part of the message.
func propertyHeaders(r *http.Request) []string {
	headers := r.Header.Values(userPropertyHeader)
	if len(r.URL.RawQuery) > 0 && r.URL.Query().Get(paramContentType) == "true" {
		headers = append(headers[:len(headers):len(headers)], r.Header.Get("Content-Type"))
	}
	return headers
}

// traceparent is the W3C's header that says which trace a request belongs to,
// if it is valid (Trace Context, 3.2); else it is as good as none.
func traceparent(r *http.Request) string {
	values := r.Header["Traceparent"]
	const form = "00-00000000000000000000000000000000-0000000000000000-00"
	if len(values) != 1 || len(values[0]) != len(form) {
		return ""
	}
	s := values[0]
	for i := range len(s) {
		hex := s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f'
		if form[i] == '-' && s[i] != '-' || form[i] != '-' && !hex {
			return ""
		}
	}
	if s[:2] == "ff" || strings.Trim(s[3:35], "0") == "" || strings.Trim(s[36:52], "0") == "" {
		return ""
	}
	return s
}
