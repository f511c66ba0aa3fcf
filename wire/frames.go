package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// Subprotocol is the WebSocket subprotocol that the gateway speaks.
const Subprotocol = "gateway.v1"

// Welcome is the first frame of a WebSocket.
type Welcome struct {
	Type   string `json:"type"` // TypeWelcome
	Epoch  string `json:"epoch"`
	Cursor string `json:"cursor"`
	Limits Limits `json:"limits"`
}

// Limits are what a connection may use. Sizes are bytes.
type Limits struct {
	MaxPayload  int `json:"max_payload_bytes"`
	MaxFrame    int `json:"max_frame_bytes"`
	MaxFilters  int `json:"max_filters"`
	MaxInFlight int `json:"max_publishes_in_flight"`
	QueueBytes  int `json:"queue_bytes"`
}

// Ack says that a subscribe or unsubscribe is in force.
type Ack struct {
	Type    string          `json:"type"` // TypeAck
	ID      json.RawMessage `json:"id,omitempty"`
	Results []Result        `json:"results"`
	Devices *bool           `json:"devices,omitempty"` // the changes of devices come, or no longer come
	Resumed *bool           `json:"resumed,omitempty"`
	// Cursor is the place where the subscription joins the stream.
	Cursor string `json:"cursor"`
}

// Result is the outcome for one filter of a subscribe or unsubscribe.
type Result struct {
	Topic string `json:"topic"`
	OK    bool   `json:"ok"`
	// Of one that was refused, what a Problem says.
	Status    int    `json:"status,omitempty"`
	Code      Code   `json:"code,omitempty"`
	Detail    string `json:"detail,omitempty"`
	Retryable *bool  `json:"retryable,omitempty"`
	// WasSubscribed is set in the answer to unsubscribe only.
	WasSubscribed *bool `json:"was_subscribed,omitempty"`
}

// Refuse makes r the outcome of a filter that was refused.
func (r *Result) Refuse(why *Problem) {
	*r = Result{Topic: r.Topic, Status: why.Status, Code: why.Code, Detail: why.Detail, Retryable: &why.Retryable}
}

// PublishResult is the answer to a publish that the broker took.
type PublishResult struct {
	Topic       string  `json:"topic"`
	QoS         byte    `json:"qos"`
	Delivery    string  `json:"delivery"`              // acknowledged (QoS 1, 2) or sent (QoS 0)
	Subscribers string  `json:"subscribers,omitempty"` // SubscribersNone, or not known
	TookMS      float64 `json:"took_ms"`
}

// SubscribersNone: the broker says that nobody has subscribed to the topic. It
// is no failure.
const SubscribersNone = "none"

// AppendPublishResult appends the JSON object of r: there are very many.
func AppendPublishResult(dst []byte, r *PublishResult) []byte {
	dst = AppendString(append(dst, `{"topic":`...), r.Topic)
	dst = append(append(dst, `,"qos":`...), '0'+r.QoS)
	dst = append(append(append(dst, `,"delivery":"`...), r.Delivery...), '"')
	if r.Subscribers != "" {
		dst = append(append(append(dst, `,"subscribers":"`...), r.Subscribers...), '"')
	}
	dst = append(dst, `,"took_ms":`...)
	return append(strconv.AppendFloat(dst, r.TookMS, 'f', -1, 64), '}')
}

// BatchResult is what became of one message of a batch: a PublishResult, or
// what a Problem says.
type BatchResult struct {
	Index  int `json:"index"`  // of the object in the array, or of the line that is not blank
	Status int `json:"status"` // what the same publish alone would have answered
	*PublishResult
	Code       Code         `json:"code,omitempty"`
	Detail     string       `json:"detail,omitempty"`
	Retryable  *bool        `json:"retryable,omitempty"`
	ReasonCode int          `json:"reason_code,omitempty"`
	Errors     []FieldError `json:"errors,omitempty"`
}

// Published says that the broker took the message of a publish op. One that
// it did not take is answered by an ErrorFrame.
type Published struct {
	Type   string          `json:"type"` // TypePublished
	ID     json.RawMessage `json:"id,omitempty"`
	Status int             `json:"status"`
	*PublishResult
}

// Reply is the answer to a request op: the first message on its reply topic.
type Reply struct {
	Type    string          `json:"type"` // TypeReply
	ID      json.RawMessage `json:"id,omitempty"`
	Status  int             `json:"status"`  // 200
	Message json.RawMessage `json:"message"` // a Message
}

// Reasons of a Gap.
const (
	GapHistoryExpired       = "history_expired"
	GapGatewayRestarted     = "gateway_restarted"
	GapBrokerConnectionLost = "broker_connection_lost"
	GapSlowConsumer         = "slow_consumer"
	GapBrokerOverflow       = "broker_overflow"
	GapTooLarge             = "too_large"
)

// Gap stands at the very place where messages are or may be missing: those
// behind After, up to and including Before. The stream goes on behind Before.
// Where both are the same, nothing of the stream is missing, but an older
// message, retained or of a snapshot.
type Gap struct {
	Type    string `json:"type"` // TypeGap
	After   string `json:"after"`
	Before  string `json:"before"`
	Reason  string `json:"reason"`
	Certain bool   `json:"certain"`
	// Topic and Bytes are set with GapTooLarge: of the one message that it
	// stands for, and of its payload. Skipped is as in a [Message].
	Topic   string `json:"topic,omitempty"`
	Bytes   int    `json:"bytes,omitempty"`
	Skipped int    `json:"skipped,omitempty"`
}

// SnapshotEnd says that the newest known message of every matching topic has
// been sent, once; live messages follow.
type SnapshotEnd struct {
	Type string          `json:"type"` // TypeSnapshotEnd
	ID   json.RawMessage `json:"id,omitempty"`
}

// Broker says that the gateway's connection to the broker changed.
type Broker struct {
	Type      string    `json:"type"` // TypeBroker
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
}

// ErrorFrame answers an op that could not be carried out.
type ErrorFrame struct {
	Type    string          `json:"type"` // TypeError
	ID      json.RawMessage `json:"id,omitempty"`
	Problem *Problem        `json:"problem"`
}

// Pong answers a ping op.
type Pong struct {
	Type string          `json:"type"` // TypePong
	ID   json.RawMessage `json:"id,omitempty"`
}

// Problem is an error (RFC 9457, application/problem+json).
type Problem struct {
	Type       string       `json:"type"`
	Title      string       `json:"title"`
	Status     int          `json:"status"`
	Detail     string       `json:"detail"`
	Code       Code         `json:"code"`
	Retryable  bool         `json:"retryable"`
	RequestID  string       `json:"request_id,omitempty"`
	ReasonCode int          `json:"reason_code,omitempty"` // the broker's, of MQTT 5; 0: it gave none
	Bytes      int          `json:"bytes,omitempty"`       // of a payload that is too large to be handed out
	Errors     []FieldError `json:"errors,omitempty"`

	// RetryAfter is the header of that name, where it is more than a second.
	RetryAfter time.Duration `json:"-"`
}

// Error makes a Problem usable as a Go error.
func (p *Problem) Error() string { return string(p.Code) + ": " + p.Detail }

// FieldError points (RFC 6901) at one wrong field.
type FieldError struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// Health is the body of /readyz.
type Health struct {
	Status string            `json:"status"` // ready, degraded, not_ready
	Checks map[string]string `json:"checks"`
}

// Encode makes the JSON object of a frame or an answer: one of the types of
// this package.
func Encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("wire: cannot be encoded: " + err.Error()) // our own types
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
