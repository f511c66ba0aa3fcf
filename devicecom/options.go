package devicecom

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vulturepi/gateway/internal/topic"
)

// Options are what [ConnectBrokerContext] lets a program choose. The zero value
// of each field means what [ConnectBroker] does.
type Options struct {
	// SettingsFile is the path of settings.ini. Default: settings.ini in the
	// working directory.
	SettingsFile string

	// Timeout is how long to try when the broker is not there yet. A wrong
	// settings file, or a broker that refuses the client, ends it at once.
	// Default: 30 s; below 0 there is a single attempt.
	Timeout time.Duration

	// TLS makes the client speak TLS, as mqtt_tls = true does, and says how:
	// with which certificate authority, for example. Default: the system's
	// authorities, TLS 1.2 or newer, and the name in ip_address.
	TLS *tls.Config

	// ClientID is what the broker knows the device by. No two clients may have
	// the same: the broker would disconnect one for the other. Default: a random
	// one for each call.
	ClientID string

	// Filters are what to subscribe to. Filters that overlap may bring a message
	// twice. Default: #, all topics.
	Filters []string

	// Will is what the broker publishes when it loses this client, and nothing
	// when the client calls Close. Default: none.
	Will *Will

	// Birth is what the client publishes first on each connection, also on one
	// that replaces a lost one, whose will the broker has published. With
	// ClientID set, that will comes before it. There is no connection until the
	// broker has confirmed the birth. Default: none.
	Birth *Will

	// KeepAlive is how long the connection may be silent before the client asks
	// whether the broker is still there; it then waits as long as that, at most
	// 5 s, for the answer. In whole seconds, 1 to 65535. Default: 15 s.
	KeepAlive time.Duration

	// MaxPacketBytes bounds a message, with its topic, in both directions. One
	// that is published is refused, one that comes is left out and counted in
	// [Drops].TooLarge. Default: 1 MiB.
	MaxPacketBytes int

	// QueueMessages is how many messages wait for Next and All, and as many for
	// OnMessage; in bytes, 4 MiB each, or one message. The newest are kept.
	// Default: 1000.
	QueueMessages int

	// Logger is told when the connection is lost and when it is back, at level
	// warn and info. Default: [slog.Default].
	Logger *slog.Logger

	will   *publication // Will and Birth, encoded
	birth  *publication
	timing timing // what tests shorten
}

// Will is a message that the broker publishes on behalf of a client that is lost
// (MQTT 3.1.1, 3.1.2.5), or as [Options].Birth the client when it is there.
type Will struct {
	Topic  string
	Value  any  // encoded as in Publish
	QoS    byte // 0, 1 or 2
	Retain bool
}

// Message is what somebody published. It belongs to the one who gets it, except
// for the bytes, which must not be changed.
type Message struct {
	Topic string
	// Value is the decoded payload; the table is in the package's comment.
	Value any
	// Payload is the bytes as they came.
	Payload []byte
	// Retained is true for a message that the broker kept from before the
	// subscription.
	Retained bool
}

// timing is what tests shorten.
type timing struct {
	find     time.Duration // for an answer by mDNS
	connect  time.Duration // for TCP and TLS; as long again for the answer to CONNECT
	answer   time.Duration // for the answer to SUBSCRIBE
	write    time.Duration // for one packet to leave
	confirm  time.Duration // for a publish to be confirmed
	stable   time.Duration // after it the backoff starts over
	minPause time.Duration // between attempts, before jitter
	maxPause time.Duration
	close    time.Duration // for Close to wait for a callback
}

var usual = timing{
	find: 5 * time.Second, connect: 10 * time.Second, answer: 10 * time.Second, write: 10 * time.Second, confirm: 30 * time.Second,
	stable: 10 * time.Second, minPause: 250 * time.Millisecond, maxPause: 10 * time.Second, close: 5 * time.Second,
}

const (
	defaultSettings  = "settings.ini"
	defaultTimeout   = 30 * time.Second
	defaultKeepAlive = 15 * time.Second
	defaultMaxPacket = 1 << 20
	defaultQueue     = 1000
	queueBytes       = 4 << 20

	// The smallest MaxPacketBytes lets every packet through that is no message;
	// the largest is MQTT's own (MQTT 3.1.1, 2.2.3).
	leastMaxPacket = 256
	mostMaxPacket  = 268435455

	// The longest string, and the longest payload of a will (MQTT 3.1.1, 1.5.3
	// and 3.1.3.3). The library would cut what is longer.
	mqttString = 65535
)

// withDefaults fills in what is not set, and refuses what cannot be.
func (o Options) withDefaults() (Options, error) {
	o.SettingsFile = orElse(o.SettingsFile, defaultSettings)
	o.Timeout = orElse(o.Timeout, defaultTimeout)
	o.KeepAlive = orElse(o.KeepAlive, defaultKeepAlive)
	o.MaxPacketBytes = orElse(o.MaxPacketBytes, defaultMaxPacket)
	o.QueueMessages = orElse(o.QueueMessages, defaultQueue)
	o.Logger = orElse(o.Logger, slog.Default())
	o.timing = orElse(o.timing, usual)
	if o.ClientID == "" {
		o.ClientID = randomID()
	}
	o.Filters = slices.Clone(o.Filters)
	if len(o.Filters) == 0 {
		o.Filters = []string{"#"}
	}
	if err := o.check(); err != nil {
		return o, err
	}
	var err error
	if o.will, err = o.Will.encode(o.MaxPacketBytes); err != nil {
		return o, fmt.Errorf("Options.Will: %w", err)
	}
	if o.will != nil && len(o.will.payload) > mqttString {
		return o, fmt.Errorf("Options.Will: the payload has %d bytes; MQTT has room for %d", len(o.will.payload), mqttString)
	}
	if o.birth, err = o.Birth.encode(o.MaxPacketBytes); err != nil {
		return o, fmt.Errorf("Options.Birth: %w", err)
	}
	return o, nil
}

// encode is nil for nil.
func (w *Will) encode(maxPacket int) (*publication, error) {
	if w == nil {
		return nil, nil
	}
	payload, err := encode(w.Topic, w.Value, w.QoS, maxPacket)
	return &publication{topic: w.Topic, qos: w.QoS, retain: w.Retain, payload: payload}, err
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func (o *Options) check() error {
	if len(o.ClientID) > mqttString || !utf8.ValidString(o.ClientID) || strings.ContainsFunc(o.ClientID, unicode.IsControl) {
		return fmt.Errorf("Options.ClientID: use at most %d bytes of UTF-8 without control characters", mqttString)
	}
	if o.KeepAlive < time.Second || o.KeepAlive > 65535*time.Second {
		return fmt.Errorf("Options.KeepAlive = %v: use 1s to 65535s", o.KeepAlive)
	}
	if o.MaxPacketBytes < leastMaxPacket || o.MaxPacketBytes > mostMaxPacket {
		return fmt.Errorf("Options.MaxPacketBytes = %d: use %d to %d", o.MaxPacketBytes, leastMaxPacket, mostMaxPacket)
	}
	if o.QueueMessages < 1 {
		return fmt.Errorf("Options.QueueMessages = %d: use 1 or more", o.QueueMessages)
	}
	seen := make(map[string]bool)
	for _, filter := range o.Filters {
		if err := topic.CheckSystemFilter(filter); err != nil {
			return fmt.Errorf("Options.Filters: %q: %w", filter, detail(err))
		}
		if seen[filter] {
			return fmt.Errorf("Options.Filters: %q appears twice; name it once", filter)
		}
		seen[filter] = true
	}
	return nil
}

// detail is the sentence of an error of package topic.
func detail(err error) error {
	if e := (*topic.Error)(nil); errors.As(err, &e) {
		return errors.New(e.Detail)
	}
	return err
}
