package hub

import (
	"encoding/json"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// Message is one message, encoded once and shared by everybody it goes to.
// What others may see of it does not change after it was made.
type Message struct {
	Topic  string
	Seq    uint64 // 0: a retained copy, which has no place in the sequence
	JSON   []byte // the object of wire.Message
	layout wire.Layout

	// The archive's, guarded by hub.mu.
	at   time.Time // when it was received
	gone bool      // evicted
}

func newMessage(in Inbound, epoch string, seq uint64, now time.Time) *Message {
	m := &Message{Topic: in.Topic, Seq: seq}
	f := wire.Fields{Topic: in.Topic, Payload: in.Payload, QoS: in.QoS, Retain: in.Retain, Time: now, Epoch: epoch, Seq: seq}
	m.JSON, m.layout = wire.AppendMessage(make([]byte, 0, 160+len(in.Topic)+len(in.Payload)), &f)
	return m
}

// asRetained is m as a retained copy: no cursor, retain set.
func (m *Message) asRetained() *Message {
	l := m.layout
	at := l.Retain
	body := make([]byte, 0, l.Cut+1)
	body = append(body, m.JSON[:at]...)
	body = append(body, "true"...)
	for m.JSON[at] != ',' {
		at++
	}
	body = append(body, m.JSON[at:l.Cut]...)
	body = append(body, '}')
	l.Cut = len(body) - 1
	return &Message{Topic: m.Topic, JSON: body, layout: l}
}

// withoutCursor is m as a copy that stands before the place where its reader
// joins the stream.
func (m *Message) withoutCursor() *Message {
	body := append(m.JSON[:m.layout.Cut:m.layout.Cut], '}')
	return &Message{Topic: m.Topic, JSON: body, layout: m.layout}
}

// empty reports whether the payload has no bytes: such a message clears the
// retained one.
func (m *Message) empty() bool {
	return m.layout.Encoding == wire.EncodingText && m.layout.PayloadEnd-m.layout.Payload == 2
}

// encode makes the JSON of a frame. Frames are our own types, so it cannot fail.
func encode(frame any) []byte {
	b, err := json.Marshal(frame)
	if err != nil {
		panic("hub: frame cannot be encoded: " + err.Error())
	}
	return b
}
