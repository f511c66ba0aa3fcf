// Package message is one message from the broker as everybody sees it: encoded
// once, shared by all it goes to.
package message

import (
	"strconv"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// Message is one message, or a gap that everybody is told, or a gap that stands
// for one message. It does not change after it was stamped, so it may be read by
// many at once.
type Message struct {
	Topic string // of a gap that everybody is told: its reason
	Seq   uint64 // place in the sequence; 0: a copy, which has none
	JSON  []byte // the object of wire.Message, or of wire.Gap
	At    time.Time
	IsGap bool // everybody is told

	// TooLarge is the size of a payload that was left out; 0: it is whole. Such a
	// message goes wherever it would have gone, as a gap.
	TooLarge int

	layout wire.Layout
}

// In is a message as the broker side hands it over.
type In struct {
	Topic   string
	Payload []byte // not kept
	QoS     byte
	Retain  bool // the broker delivered it as a retained copy
	// TooLarge is the size of a payload that was left out; 0: it is whole.
	TooLarge int
	// Value is the decoded payload, one JSON text; Problem says why there is
	// none. Both are empty where the topic has no decoder.
	Value   []byte
	Problem string
	// Properties are those of MQTT 5; nil: none.
	Properties *wire.Properties
}

// cursorRoom is what Stamp appends: `,"cursor":"<epoch>-<sequence>"`.
const cursorRoom = 80

// New encodes a message that has no place in the sequence yet. Of one that is too
// large Stamp or StampCopy does that.
func New(in In, now time.Time) *Message {
	m := &Message{Topic: in.Topic, At: now, TooLarge: in.TooLarge}
	if in.TooLarge > 0 {
		return m
	}
	f := wire.Fields{Topic: in.Topic, Payload: in.Payload, Value: in.Value, DecodeError: in.Problem, QoS: in.QoS, Retain: in.Retain, Time: now, Properties: in.Properties}
	size := 112 + cursorRoom + len(in.Topic) + len(in.Payload) + len(in.Value) + len(in.Problem)
	if p := in.Properties; p != nil {
		size += 128 + p.Size() + 8*len(p.User)
	}
	m.JSON, m.layout = wire.AppendMessage(make([]byte, 0, size), &f)
	if spare := cap(m.JSON) - len(m.JSON); spare > cursorRoom+len(m.JSON)/4 { // escaping has made it grow
		m.JSON = append(make([]byte, 0, len(m.JSON)+cursorRoom), m.JSON...)
	}
	return m
}

// Stamp gives m its place. The cursor is the last field, so the cost does not
// depend on the payload. It must not be called once others can see m.
func (m *Message) Stamp(epoch string, seq uint64) {
	m.Seq = seq
	if m.TooLarge > 0 {
		m.JSON = m.gap(epoch, seq-1, seq, 0)
		return
	}
	body := append(m.JSON[:m.layout.Cut], `,"cursor":"`...)
	m.JSON = append(wire.AppendCursor(body, epoch, seq), `"}`...)
}

// StampCopy is Stamp for a copy, which has no place, taken when the sequence
// stood at asOf.
func (m *Message) StampCopy(epoch string, asOf uint64) {
	if m.TooLarge > 0 {
		m.JSON = m.gap(epoch, asOf, asOf, 0)
	}
}

// gap is the wire.Gap that stands for a message that is too large.
func (m *Message) gap(epoch string, after, before uint64, skipped int) []byte {
	dst := wire.AppendCursor([]byte(`{"type":"gap","after":"`), epoch, after)
	dst = wire.AppendCursor(append(dst, `","before":"`...), epoch, before)
	dst = append(dst, `","reason":"`+wire.GapTooLarge+`","certain":true,"topic":`...)
	dst = append(wire.AppendString(dst, m.Topic), `,"bytes":`...)
	dst = strconv.AppendInt(dst, int64(m.TooLarge), 10)
	if skipped > 0 {
		dst = strconv.AppendInt(append(dst, `,"skipped":`...), int64(skipped), 10)
	}
	return append(dst, '}')
}

// GapReason is the reason of a gap, whomever it is for; empty for a message.
func (m *Message) GapReason() string {
	switch {
	case m.IsGap:
		return m.Topic
	case m.TooLarge > 0:
		return wire.GapTooLarge
	}
	return ""
}

// NewGap is a gap that has a place of its own in the sequence.
func NewGap(gap *wire.Gap, seq uint64, now time.Time) *Message {
	return &Message{Topic: gap.Reason, Seq: seq, JSON: wire.Encode(gap), At: now, IsGap: true}
}

// overhead is what a message takes in memory besides its bytes, roughly, with
// its places in the history.
const overhead = 224

// Size is the memory that m takes, roughly.
func (m *Message) Size() int64 { return int64(cap(m.JSON)+len(m.Topic)) + overhead }

// Form is how a message looks to one reader; the zero Form is the message as it
// is for everybody.
type Form struct {
	Copy    bool   // stands before the place where the reader joins: no cursor
	Skipped int    // messages on the topic that the reader asked not to see
	Place   uint64 // resume from before this sequence number instead of from behind the message; 0: no. Of a copy, where the reader joins
}

// Body is the JSON object of m in that form.
func (m *Message) Body(f Form, epoch string) []byte {
	if f == (Form{}) || m.IsGap {
		return m.JSON
	}
	if m.TooLarge > 0 {
		after, before := m.Seq-1, m.Seq
		switch at := m.ResumeFrom(f); {
		case f.Copy && f.Place > 0:
			after, before = f.Place-1, f.Place-1
		case f.Copy || m.Seq == 0 || at == m.Seq && f.Skipped == 0:
			return m.JSON
		case at != m.Seq:
			after, before = at, at
		}
		return m.gap(epoch, after, before, f.Skipped)
	}
	body := append(make([]byte, 0, len(m.JSON)+24), m.JSON[:m.layout.Cut]...)
	if f.Skipped > 0 {
		body = strconv.AppendInt(append(body, `,"skipped":`...), int64(f.Skipped), 10)
	}
	if !f.Copy && m.Seq != 0 {
		body = append(body, `,"cursor":"`...)
		body = append(wire.AppendCursor(body, epoch, m.ResumeFrom(f)), '"')
	}
	return append(body, '}')
}

// ResumeFrom is the place from which a reader goes on who has seen m in that
// form.
func (m *Message) ResumeFrom(f Form) uint64 {
	if f.Place != 0 && f.Place <= m.Seq {
		return f.Place - 1
	}
	return m.Seq
}

// AsRetained is m as a retained copy: no cursor, retain set.
func (m *Message) AsRetained() *Message {
	if m.TooLarge > 0 {
		return m.WithoutCursor()
	}
	l := m.layout
	at := l.Retain
	body := make([]byte, 0, l.Cut+1)
	body = append(body, m.JSON[:at]...)
	body = append(body, "true"...)
	for m.JSON[at] != ',' {
		at++
	}
	body = append(body, m.JSON[at:l.Cut]...)
	l.Properties += len(body) - l.Cut
	l.Cut = len(body)
	return &Message{Topic: m.Topic, JSON: append(body, '}'), At: m.At, layout: l}
}

// WithoutCursor is m as a copy that stands before the place where its reader
// joins the stream.
func (m *Message) WithoutCursor() *Message {
	return &Message{Topic: m.Topic, JSON: m.Body(Form{Copy: true}, ""), At: m.At, TooLarge: m.TooLarge, layout: m.layout}
}

// Empty reports whether the payload has no bytes: such a message clears the
// retained one.
func (m *Message) Empty() bool {
	return !m.IsGap && m.layout.Encoding == wire.EncodingText && m.layout.PayloadEnd-m.layout.Payload == 2
}

// Payload is the payload as it stands in the JSON object, and its encoding.
func (m *Message) Payload() (value []byte, encoding string) {
	return m.JSON[m.layout.Payload:m.layout.PayloadEnd], m.layout.Encoding
}

// SaysTheSame reports whether two messages have the same topic, payload and
// properties.
func (m *Message) SaysTheSame(o *Message) bool {
	if m.TooLarge > 0 || o.TooLarge > 0 {
		return m.Topic == o.Topic && m.TooLarge == o.TooLarge
	}
	a, encodingA := m.Payload()
	b, encodingB := o.Payload()
	propertiesA, propertiesB := m.JSON[m.layout.Properties:m.layout.Cut], o.JSON[o.layout.Properties:o.layout.Cut]
	return m.Topic == o.Topic && string(propertiesA) == string(propertiesB) && encodingA == encodingB && string(a) == string(b) &&
		m.JSON[m.layout.Retain-len(`0,"retain":`)] == o.JSON[o.layout.Retain-len(`0,"retain":`)] // the QoS
}
