package hub

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// Message is one message, encoded once and shared by everybody it goes to.
// What others may see of it does not change after it was made.
type Message struct {
	Topic  string // of a mark: the gap's reason
	Seq    uint64 // 0: a retained copy, which has no place in the sequence
	JSON   []byte // the object of wire.Message
	layout wire.Layout
	mark   bool // not a message but a gap that everybody was told: JSON is wire.Gap

	// The archive's, guarded by hub.mu.
	at   time.Time // when it was received
	gone bool      // evicted
}

func newMessage(in Inbound, d decoded, epoch string, seq uint64, now time.Time) *Message {
	m := &Message{Topic: in.Topic, Seq: seq}
	f := wire.Fields{Topic: in.Topic, Payload: in.Payload, Value: d.value, DecodeError: d.problem, QoS: in.QoS, Retain: in.Retain, Time: now, Epoch: epoch, Seq: seq}
	m.JSON, m.layout = wire.AppendMessage(make([]byte, 0, 160+len(in.Topic)+len(in.Payload)+len(d.value)+len(d.problem)), &f)
	return m
}

// form is how a message looks to one reader; the zero form is the message as
// it is for everybody.
type form struct {
	copy    bool   // stands before the place where the reader joins: no cursor
	skipped int    // messages on the topic that the reader asked not to see
	place   uint64 // resume from before this sequence number instead of from behind the message
}

// body is the JSON object of m in that form.
func (m *Message) body(f form, epoch string) []byte {
	if f == (form{}) || m.mark {
		return m.JSON
	}
	body := append(make([]byte, 0, len(m.JSON)+24), m.JSON[:m.layout.Cut]...)
	if f.skipped > 0 {
		body = strconv.AppendInt(append(body, `,"skipped":`...), int64(f.skipped), 10)
	}
	if !f.copy && m.Seq != 0 {
		seq := m.Seq
		if f.place != 0 {
			seq = f.place - 1
		}
		body = append(body, `,"cursor":"`...)
		body = append(wire.AppendCursor(body, epoch, seq), '"')
	}
	return append(body, '}')
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
	l.Cut = len(body)
	return &Message{Topic: m.Topic, JSON: append(body, '}'), layout: l}
}

// withoutCursor is m as a copy that stands before the place where its reader
// joins the stream.
func (m *Message) withoutCursor() *Message {
	return &Message{Topic: m.Topic, JSON: m.body(form{copy: true}, ""), layout: m.layout}
}

// empty reports whether the payload has no bytes: such a message clears the
// retained one.
func (m *Message) empty() bool {
	return m.layout.Encoding == wire.EncodingText && m.layout.PayloadEnd-m.layout.Payload == 2
}

// encode makes the JSON of a frame. Frames are our own types, so it cannot fail.
func encode(frame any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(frame); err != nil {
		panic("hub: frame cannot be encoded: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
