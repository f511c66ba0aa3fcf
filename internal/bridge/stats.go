package bridge

import (
	"cmp"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// counters are written where things happen and read by Stats.
type counters struct {
	reconnects, received, oversize atomic.Uint64
	inFlight                       atomic.Int64

	mu      sync.Mutex
	refused map[string]uint64 // guarded by mu
}

// The reasons by which refusals are counted; all others are counted together.
const (
	refusedClosed = "closed" // the broker closed the connection, and gave no reason
	refusedOther  = "other"
)

var refusedNames = map[ReasonCode]string{
	0: refusedClosed, mqtt.NotAuthorized: "not_authorized", mqtt.PacketTooLarge: "packet_too_large", mqtt.QuotaExceeded: "quota_exceeded",
	mqtt.RateTooHigh: "rate_too_high", mqtt.TopicInvalid: "topic_invalid", mqtt.PayloadInvalid: "payload_invalid",
	mqtt.RetainNotSupported: "retain_not_supported", mqtt.QoSNotSupported: "qos_not_supported",
}

// refuse counts a message that the broker did not take.
func (c *counters) refuse(r *Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = make(map[string]uint64)
	}
	c.refused[cmp.Or(refusedNames[r.Reason], refusedOther)]++
}

// refusals has every reason, also those that have not occurred.
func (c *counters) refusals() map[string]uint64 {
	all := map[string]uint64{refusedOther: 0}
	for _, name := range refusedNames {
		all[name] = 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(all, c.refused)
	return all
}

// Stats are counters since New, and the newest figures of the broker.
type Stats struct {
	Reconnects      uint64            // links made after the first of each role
	UpstreamFilters int               // subscribed at the broker for the gateway's clients
	Received        uint64            // messages handed to the Receiver
	Oversize        uint64            // messages whose payload was left out because of its size
	Refused         map[string]uint64 // publications that the broker refused, by its reason; from a closed set
	InFlight        int               // publications that have no outcome yet
	InFlightBytes   int64             // what they hold
	InFlightLimit   int64             // what they may hold
	Sys             map[string]float64
	Version         mqtt.Version // spoken with the broker; 0 before the first connection
	SubscribeQoS    byte         // at which the gateway subscribes
	Broker          string       // what the broker calls itself; empty where it does not say
}

// Stats reads the counters.
func (b *Bridge) Stats() Stats {
	name, qos := b.broker.get()
	held := b.trial.books.bytes.Load()
	for _, l := range b.lanes {
		held += l.bytes.Load()
	}
	return Stats{
		Reconnects:      b.stats.reconnects.Load(),
		UpstreamFilters: b.subs.size(),
		Received:        b.stats.received.Load(),
		Oversize:        b.stats.oversize.Load(),
		Refused:         b.stats.refusals(),
		InFlight:        int(b.stats.inFlight.Load()),
		InFlightBytes:   held,
		InFlightLimit:   InFlightLimit(b.cfg.Pool, b.cfg.MaxPayload),
		Sys:             b.sys.figures(),
		Version:         b.version.spoken(),
		SubscribeQoS:    qos,
		Broker:          name,
	}
}
