package bridge

import (
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// A Message is one MQTT message, either way.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte

	// Retain: publish it as retained; received: it is a copy that the broker kept, sent because a filter was subscribed.
	Retain bool

	// Retained: a live message was published as retained. Only MQTT 5 tells; false may be unknown.
	Retained bool

	// Properties need MQTT 5; nil where there are none.
	Properties *Properties

	// Trace is published as the user property "traceparent", where MQTT 5 is spoken and there is none yet, and is
	// otherwise left out. Received messages have it among their Properties.
	Trace string

	// TooLarge is the size of a received payload that was larger than [Config.MaxPayload] and has been left out, in
	// bytes; 0: Payload is whole.
	TooLarge int
}

// Properties are what MQTT 5 says about a message beside its payload.
type Properties = mqtt.Properties

// A UserProperty is a name and a value among Properties.
type UserProperty = mqtt.UserProperty

// A Receiver gets the subscriber link's events, from one goroutine at a time and in order.
// It must not block for long: nothing is read meanwhile. And it must not call [Bridge.Retained], which waits for it.
type Receiver interface {
	// Message is a message of the live stream, or stands for one that was too large. Retain is set on the copies that a
	// broker sends when a filter is subscribed, which it does with MQTT 3.1.1 only. The payload is the receiver's.
	Message(m Message)

	// Rest: every message that has arrived has been handed over, and the bridge waits for more. It is called before
	// any such wait that follows a message, so what is done for many messages at once can wait for it.
	Rest()

	// Up: the subscriber link is up and every wanted filter has been subscribed. Messages may have been missed since
	// the last Down if lost is set; it is not at the very first Up and when the broker kept the session.
	Up(lost bool)

	// Down: the subscriber link is gone. Down and Up alternate.
	Down(reason error)

	// Dropped: messages were left out. Certain: some that came before the last Up exceeded what can be held back.
	// Otherwise the broker has counted dropped messages, for us or for another of its clients, after since.
	Dropped(certain bool, since time.Time)
}

type deaf struct{}

func (deaf) Message(Message)         {}
func (deaf) Rest()                   {}
func (deaf) Up(bool)                 {}
func (deaf) Down(error)              {}
func (deaf) Dropped(bool, time.Time) {}
