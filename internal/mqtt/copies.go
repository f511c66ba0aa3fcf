package mqtt

import (
	"bytes"
	"reflect"
	"slices"
)

// A broker sends a message once for each subscription that matches it, or may do so, MQTT 3.3.4. Where subscriptions of
// one connection overlap, their identifiers tell a copy from a message that is like the one before it: the copies of one
// message come one right after the other, each for another subscription. latest is what such a copy is like.
type latest struct {
	message Message
	ids     []uint32 // of the subscriptions that it came for; 0 is one without an identifier; nil: there is no message
}

// copied reports whether m, which came for the subscriptions ids, is one more copy of the message before it.
func (l *latest) copied(m Message, ids []uint32) bool {
	if len(ids) == 0 {
		ids = []uint32{0}
	}
	same := l.ids != nil && l.message.Topic == m.Topic && l.message.QoS == m.QoS && l.message.Retain == m.Retain &&
		bytes.Equal(l.message.Payload, m.Payload) && reflect.DeepEqual(l.message.Properties, m.Properties)
	if same && !slices.ContainsFunc(ids, func(id uint32) bool { return slices.Contains(l.ids, id) }) {
		l.ids = append(l.ids, ids...)
		return true
	}
	l.message, l.ids = m, append(l.ids[:0], ids...)
	return false
}

// forget is called where the subscriptions change: what comes behind is no copy of what came before.
func (l *latest) forget() { *l = latest{} }
