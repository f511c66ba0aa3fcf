package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/vulturepi/gateway/wire"
)

// Outcome is what is known of a message that was published. It speaks of the
// broker, never of subscribers.
type Outcome struct {
	// Status is 200, when the broker has confirmed the message, or 202: at QoS 0
	// it was written to the broker, which confirms nothing.
	Status int
	QoS    byte
	// NoSubscribers: the broker says that nobody has subscribed to the topic.
	// Few brokers say so, with MQTT 5 only.
	NoSubscribers bool
	// Replayed: the key was used before, and this is the first outcome again.
	Replayed bool
	Took     time.Duration // from the gateway to the broker and back
}

// publishing is what options change.
type publishing struct {
	fields map[string]any // of the body of POST /publish
	key    string
	expect *payload
	within time.Duration
	asks   string // the option that only Request has
	wrong  *Error // an option that cannot be
}

// Option changes a Publish, Clear or Request.
type Option func(*publishing)

func field(name string, value any) Option { return func(p *publishing) { p.fields[name] = value } }

// QoS is 1 unless it is 0 or 2.
func QoS(qos int) Option { return field(wire.FieldQoS, qos) }

// Retain makes the broker keep the message for those who come later.
func Retain() Option { return field(wire.FieldRetain, true) }

// Key is an Idempotency-Key: the same call with the same key within five minutes
// gives the first outcome, and publishes nothing again. It makes repeating safe
// after ErrUnknownOutcome, unless the gateway was restarted in between.
func Key(key string) Option { return func(p *publishing) { p.key = key } }

// ContentType names the media type of the payload. Like the other properties of
// MQTT 5, Expiry to UserProperty, it needs a broker that speaks that.
func ContentType(media string) Option { return field(wire.FieldContentType, media) }

// Expiry is how long the message may wait at the broker, in whole seconds.
func Expiry(d time.Duration) Option { return field(wire.FieldExpiry, d.String()) }

// ResponseTopic says where an answer is to be published.
func ResponseTopic(topic string) Option { return field(wire.FieldResponseTopic, topic) }

// Correlation is what an answer is to carry back.
func Correlation(data []byte) Option { return field(wire.FieldCorrelation, data) }

// UserProperty adds a pair that MQTT passes on. Names may repeat.
func UserProperty(name, value string) Option {
	return func(p *publishing) {
		all, _ := p.fields[wire.FieldUserProperties].(map[string]wire.Strings)
		if all == nil {
			all = map[string]wire.Strings{}
			p.fields[wire.FieldUserProperties] = all
		}
		all[name] = append(all[name], value)
	}
}

func newPublishing(options []Option, isRequest bool) (*publishing, *Error) {
	p := &publishing{fields: map[string]any{}}
	for _, o := range options {
		o(p)
	}
	if p.asks != "" && !isRequest {
		return nil, &Error{Code: wire.CodeInvalidParameter, Detail: p.asks + " is an option of Request. Nothing was sent."}
	}
	return p, p.wrong
}

// Publish publishes one message, and returns when its outcome is known. A string
// or a []byte is published as it is, anything else as its JSON text.
//
// What was certainly not sent is tried again, until ctx ends or
// Options.RetryFor is over. Nothing else is ever sent twice: when the answer got
// lost, the error is ErrUnknownOutcome.
func (c *Client) Publish(ctx context.Context, topic string, payload any, options ...Option) (Outcome, error) {
	p, failure := newPublishing(options, false)
	if failure != nil {
		return Outcome{}, failure
	}
	bytes, failure := payloadOf(payload)
	if failure != nil {
		return Outcome{}, failure
	}
	body, failure := p.body(topic, bytes)
	if failure != nil {
		return Outcome{}, failure
	}
	return c.outcome(c.do(ctx, &call{method: http.MethodPost, path: "/publish", contentType: "application/json", body: body, key: p.key}))
}

// Clear deletes the message that the broker keeps on a topic. Of the options it
// takes QoS and Key.
func (c *Client) Clear(ctx context.Context, topic string, options ...Option) (Outcome, error) {
	p, failure := newPublishing(options, false)
	if failure != nil {
		return Outcome{}, failure
	}
	query, failure := p.query()
	if failure != nil {
		return Outcome{}, failure
	}
	return c.outcome(c.do(ctx, &call{method: http.MethodDelete, path: "/topics/" + escaped(topic), query: query, key: p.key}))
}

// query is for routes that take little: the QoS.
func (p *publishing) query() (url.Values, *Error) {
	query := url.Values{}
	for name, value := range p.fields {
		qos, ok := value.(int)
		if name != wire.FieldQoS || !ok {
			return nil, &Error{Code: wire.CodeInvalidParameter, Detail: "Of the fields of a message only the QoS can be given here, not " + name + ". Nothing was sent."}
		}
		query.Set(wire.FieldQoS, strconv.Itoa(qos))
	}
	return query, nil
}

func (c *Client) outcome(a *answer, failure *Error) (Outcome, error) {
	if failure != nil {
		return Outcome{}, failure
	}
	r := wire.PublishResult{QoS: 1}
	_ = json.Unmarshal(a.body, &r) // when it broke off, the status still counts
	return Outcome{
		Status: a.status, QoS: r.QoS, NoSubscribers: r.Subscribers == wire.SubscribersNone, Replayed: a.header.Get("Idempotency-Replayed") == "true",
		Took: time.Duration(r.TookMS * float64(time.Millisecond)),
	}, nil
}

// payload is what is to be published.
type payload struct {
	bytes  []byte
	isJSON bool // made here
}

func payloadOf(v any) (*payload, *Error) {
	switch v := v.(type) {
	case nil:
		return nil, &Error{Code: wire.CodePayloadRequired, Detail: "There is no payload. Nothing was sent."}
	case string:
		return &payload{bytes: []byte(v)}, nil
	case []byte:
		return &payload{bytes: v}, nil
	}
	b, err := encode(v)
	if err != nil {
		return nil, &Error{Code: wire.CodeInvalidPayload, Detail: "The payload has no JSON. Nothing was sent.", cause: err}
	}
	return &payload{b, true}, nil
}

// encode is json.Marshal without escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// body is that of POST /publish.
func (p *publishing) body(topic string, payload *payload) ([]byte, *Error) {
	p.fields[wire.FieldTopic] = topic
	switch {
	case payload.isJSON:
		p.fields[wire.FieldPayload], p.fields[wire.FieldEncoding] = json.RawMessage(payload.bytes), wire.EncodingJSON
	case utf8.Valid(payload.bytes):
		p.fields[wire.FieldPayload], p.fields[wire.FieldEncoding] = string(payload.bytes), wire.EncodingText
	default:
		p.fields[wire.FieldPayload], p.fields[wire.FieldEncoding] = base64.StdEncoding.EncodeToString(payload.bytes), wire.EncodingBase64
	}
	for name, value := range p.fields {
		if s, ok := value.(string); ok && !utf8.ValidString(s) { // JSON would make another string of it
			return nil, &Error{Code: wire.CodeInvalidUTF8, Detail: "The field " + name + " is not UTF-8. Nothing was sent."}
		}
	}
	b, err := encode(p.fields)
	if err != nil {
		return nil, &Error{Code: wire.CodeInvalidPayload, Detail: "The message cannot be encoded. Nothing was sent.", cause: err}
	}
	return b, nil
}
