package hub

import (
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// Inbound is a message as the broker side hands it over. The hub owns Payload
// from then on.
type Inbound struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool // the broker delivered it as a retained copy

	// Retained: a live message was published as retained; false may be unknown.
	Retained bool

	// TooLarge is the size of a payload that was left out; 0: Payload is whole.
	TooLarge int

	Properties *wire.Properties // of MQTT 5; nil: none
}

// Ingest is Accept and Flush.
func (h *Hub) Ingest(in Inbound) {
	h.Accept(in)
	h.Flush()
}

// kickBytes is how much of a long burst is accepted before the writers are
// woken while it still arrives.
const kickBytes = 32 << 10

// Accept takes one message from the broker: encodes it, gives it its place,
// remembers it, queues it for everybody who subscribed. It is written with the
// next Flush. Retained copies are only remembered; each newcomer fetches its
// own.
func (h *Hub) Accept(in Inbound) {
	m := h.encode(in, time.Now()) // without the lock: it may take its time
	var payload payloadKey
	if h.expecting.Load() > 0 && in.TooLarge == 0 {
		payload = h.keyOf(in.Payload)
	}
	remembered := rememberable(in.Topic)
	h.mu.Lock()
	h.received++
	if in.Retain {
		if remembered && !m.Empty() {
			m.StampCopy(h.opts.Epoch, h.seq)
			h.memory.AddRetained(m, h.downAt, h.seq)
		}
		h.unlockTrimmed()
		return
	}
	h.seq++
	m.Stamp(h.opts.Epoch, h.seq)
	if remembered {
		h.memory.Add(m, m.Empty() && (h.clears.take(m.Topic) || in.Retained))
	} else {
		h.memory.Pass(m.Topic, m.Seq)
		h.unremembered++
	}
	h.deliver(m, payload, m.At)
	h.unlockTrimmed()
	if !remembered && h.unremembered == 1 {
		h.opts.Log.Warn("a topic is too long or too deep to be remembered; its messages are passed on, and not kept", "bytes", len(in.Topic), "levels", levels(in.Topic))
	}
	if h.unflushed += len(m.JSON); h.unflushed > kickBytes { // a long burst
		h.unflushed = 0
		h.writers.Kick()
	}
}

// Bounds of a topic that is remembered: those of a topic that clients may name.
const (
	maxTopicBytes  = 1024
	maxTopicLevels = 32
)

func rememberable(topic string) bool {
	return len(topic) <= maxTopicBytes && levels(topic) <= maxTopicLevels
}

func levels(topic string) int { return strings.Count(topic, "/") + 1 }

// encode decodes the payload and encodes the message, outside of hub.mu.
func (h *Hub) encode(in Inbound, now time.Time) *message.Message {
	value, problem := h.decode(in)
	return message.New(message.In{Topic: in.Topic, Payload: in.Payload, QoS: in.QoS, Retain: in.Retain, TooLarge: in.TooLarge, Value: value, Problem: problem, Properties: in.Properties}, now)
}

// problemPanic is what a message says whose decoder broke down.
const problemPanic = "The decoder failed on this payload; that is a mistake in the gateway."

// decode decodes the payload of in. Decoders read what strangers send: one that
// breaks down must cost the value, not the message.
func (h *Hub) decode(in Inbound) (value []byte, problem string) {
	if h.opts.Decode == nil || in.TooLarge > 0 {
		return nil, ""
	}
	defer func() {
		if recover() != nil { // what it says may hold the payload, so it goes nowhere
			h.opts.Log.Error("a decoder failed", "topic", in.Topic)
			value, problem = nil, problemPanic
		}
	}()
	return h.opts.Decode(in.Topic, in.Payload)
}

// trimSteps is how much is forgotten under one lock.
const trimSteps = 64

// unlockTrimmed gives hub.mu back when what is remembered is inside its limits
// again; in between, others have their turn.
func (h *Hub) unlockTrimmed() {
	for h.memory.Trim(trimSteps) {
		h.mu.Unlock()
		h.mu.Lock()
	}
	h.mu.Unlock()
}

// Flush lets what was accepted be written.
func (h *Hub) Flush() {
	h.unflushed = 0
	h.writers.Flush()
}

// BrokerDown tells every client that the broker connection is gone.
func (h *Hub) BrokerDown() {
	h.mu.Lock()
	h.downAt = h.seq
	h.mu.Unlock()
	h.setBroker(false)
}

// BrokerUp tells every client that messages flow again, and first that some
// passed while they did not. With lost that is certain; otherwise the broker
// has kept those of QoS 1, but none of QoS 0.
func (h *Hub) BrokerUp(lost bool) {
	if h.wasUp {
		h.gap(func() uint64 { return h.downAt }, wire.GapBrokerConnectionLost, lost)
	}
	h.wasUp = true
	h.mu.Lock()
	h.upAt = h.seq
	h.mu.Unlock()
	h.setBroker(true)
	h.wakeOwed()
}

// Dropped tells every client that the broker or the link to it dropped
// messages after since; certain is false where it is not known that they were
// ours.
func (h *Hub) Dropped(certain bool, since time.Time) {
	h.gap(func() uint64 {
		if certain {
			return h.seq
		}
		return h.memory.At(since)
	}, wire.GapBrokerOverflow, certain)
}

func (h *Hub) setBroker(connected bool) {
	h.mu.Lock()
	if h.broker.Connected == connected {
		h.mu.Unlock()
		return
	}
	h.broker.Connected, h.broker.Since = connected, time.Now().UTC().Truncate(time.Microsecond)
	f := outbox.Frame{Kind: "broker", Body: wire.Encode(&h.broker)}
	h.mu.Unlock()
	h.broadcast(f)
}
