package client

import (
	"encoding/json"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// Event is what a subscription brings: a *[Message], a *[Gap], a *[Broker] or a
// *[SnapshotEnd].
type Event interface{ event() }

// Message is one that was published.
type Message struct {
	Topic   string
	Payload []byte // byte for byte as it was published
	// Value is what the payload means, where the gateway has a decoder for the
	// topic: one JSON value. DecodeError says instead why there is none.
	Value       json.RawMessage
	DecodeError string
	QoS         byte // with which the gateway got it
	// Retain is true only on a copy that the broker had kept.
	Retain bool
	Time   time.Time // when the gateway received it
	// ContentType to UserProperties are what its publisher says with MQTT 5.
	ContentType    string
	Expiry         time.Duration
	ResponseTopic  string
	Correlation    []byte
	UserProperties map[string]wire.Strings
	// Skipped counts the messages that it stands for besides itself, with
	// MinInterval or OverflowLatest.
	Skipped int
	// Cursor is its place in the stream, for Since. Copies that are older than
	// the place where the subscription began have none.
	Cursor string
}

// JSON decodes the payload, as json.Unmarshal does.
func (m *Message) JSON(v any) error { return json.Unmarshal(m.Payload, v) }

// Gap stands where messages are or may be missing, with the reason: one of the
// wire.Gap… constants.
type Gap wire.Gap

// Broker says that the gateway has lost its broker, or has it again.
type Broker wire.Broker

// SnapshotEnd says that the newest message of every topic has come; live ones
// follow.
type SnapshotEnd struct{}

func (*Message) event()     {}
func (*Gap) event()         {}
func (*Broker) event()      {}
func (*SnapshotEnd) event() {}

func decodeMessage(b []byte) (*Message, error) {
	var w wire.Message
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, err
	}
	payload, err := w.Bytes()
	if err != nil {
		return nil, err
	}
	expiry, _ := time.ParseDuration(w.Expiry)
	return &Message{
		Topic: w.Topic, Payload: payload, Value: w.Value, DecodeError: w.DecodeError, QoS: w.QoS, Retain: w.Retain, Time: w.Time,
		ContentType: w.ContentType, Expiry: expiry, ResponseTopic: w.ResponseTopic, Correlation: w.Correlation, UserProperties: w.UserProperties,
		Skipped: w.Skipped, Cursor: w.Cursor,
	}, nil
}
