package devicecom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vulturepi/gateway/internal/topic"
)

// The errors of this package that a program may want to tell apart with
// [errors.Is].
var (
	// ErrNotConnected: there is no connection at the moment, and nothing was
	// sent. The client connects again by itself.
	ErrNotConnected = errors.New("not connected to the broker at the moment; nothing was sent")

	// ErrUnknownOutcome: the message was sent, or a part of it, and no
	// confirmation came. It may have arrived, or not. It is not sent again.
	ErrUnknownOutcome = errors.New("the broker did not confirm it; it may or may not have arrived")

	// ErrClosed: Close was called.
	ErrClosed = errors.New("the connection was closed with Close")
)

// publication is a message on its way out.
type publication struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
}

// PublishOption changes how [Values.Publish] publishes.
type PublishOption func(*publication)

// QoS sets the quality of service. At 0, Publish returns when the message has
// been handed to the operating system; at 1, the default, and at 2 when the
// broker has confirmed it. At 2 it does not arrive twice.
func QoS(qos byte) PublishOption { return func(p *publication) { p.qos = qos } }

// Retain makes the broker keep the message for later subscribers, in place of
// the one that it keeps for this topic; an empty one deletes it.
func Retain() PublishOption { return func(p *publication) { p.retain = true } }

// Publish sends value to a topic and returns when the broker has confirmed it,
// for at most 30 s. A string and a []byte are sent as they are, and everything
// else as JSON: 21.5 as 21.5, nil as null, a struct as an object.
//
// While there is no connection it returns [ErrNotConnected] at once and nothing
// is kept for later. [ErrUnknownOutcome] means that the confirmation did not
// come: the connection was lost, or ctx ended. With any other error, nothing was
// sent. At most 100 calls at a time are on their way; further ones wait.
//
// A confirmation says that the broker has the message, not who received it: a
// broker may also confirm what its access rules then drop.
func (v *Values) Publish(ctx context.Context, topic string, value any, opts ...PublishOption) error {
	p := publication{topic: topic, qos: 1}
	for _, opt := range opts {
		opt(&p)
	}
	var err error
	p.payload, err = encode(topic, value, p.qos, v.o.MaxPacketBytes)
	if err == nil {
		err = v.publish(ctx, p)
	}
	if err != nil {
		return fmt.Errorf("devicecom: publish to %q: %w", topic, err)
	}
	return nil
}

// encode checks a message and returns its payload.
func encode(name string, value any, qos byte, maxPacket int) ([]byte, error) {
	if err := topic.CheckName(name); err != nil {
		return nil, detail(err)
	}
	if qos > 2 {
		return nil, fmt.Errorf("QoS %d: use 0, 1 or 2", qos)
	}
	var payload []byte
	switch value := value.(type) {
	case string:
		payload = []byte(value)
	case []byte:
		payload = bytes.Clone(value) // it may be sent after the caller has given up
	default:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(value); err != nil {
			return nil, fmt.Errorf("the value, a %T, cannot be written as JSON: %w", value, err)
		}
		payload = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	}
	// The header, the topic's length and the packet id (MQTT 3.1.1, 3.3).
	if size := 5 + 2 + len(name) + 2 + len(payload); size > maxPacket {
		return nil, fmt.Errorf("the message has %d bytes with its topic; at most %d are sent: see Options.MaxPacketBytes", size, maxPacket)
	}
	return payload, nil
}

func (v *Values) publish(ctx context.Context, p publication) error {
	select {
	case <-v.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	default:
	}
	s := v.session.Load()
	if s == nil {
		return ErrNotConnected
	}
	return s.publish(ctx, p, v.o.timing.confirm)
}
