package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/wire"
)

// Pub is gateway pub.
type Pub struct {
	Gateway `embed:""`
	Straight
	QoS         int           `name:"qos" default:"1" enum:"0,1,2" help:"QoS at the broker: 0, 1 or 2."`
	Retain      bool          `short:"r" help:"The broker keeps the message for those who come later."`
	Key         string        `placeholder:"KEY" help:"Idempotency key: the same command with the same key publishes once."`
	Expiry      time.Duration `placeholder:"DURATION" help:"How long the message may wait at the broker (MQTT 5)."`
	ContentType string        `placeholder:"TYPE" help:"Media type of the payload (MQTT 5)."`
	Property    []string      `sep:"none" placeholder:"NAME=VALUE" help:"User property (MQTT 5); may be given several times."`
	JSON        bool          `name:"json" help:"Print the outcome as a JSON object."`
	Topic       string        `arg:"" help:"Topic to publish to."`
	Payload     *string       `arg:"" optional:"" help:"Payload; - or none is standard input, as it is. Behind -- it may begin with a dash."`
}

// Run publishes one message, and says what is known of it.
func (c *Pub) Run(sh *Shell) error { return sh.done(c.run(sh)) }

func (c *Pub) run(sh *Shell) error {
	payload, err := readPayload(sh, c.Payload)
	if err != nil {
		return err
	}
	begin := time.Now()
	var outcome client.Outcome
	if c.Broker != "" {
		outcome, err = c.straight(sh, payload)
	} else {
		outcome, err = c.publish(sh, payload)
	}
	if err != nil {
		return err
	}
	if outcome.Took == 0 {
		outcome.Took = time.Since(begin)
	}
	return c.tell(sh, outcome)
}

func (c *Pub) publish(sh *Shell, payload []byte) (client.Outcome, error) {
	options := []client.Option{client.QoS(c.QoS)}
	if c.Retain {
		options = append(options, client.Retain())
	}
	if c.Key != "" {
		options = append(options, client.Key(c.Key))
	}
	if c.Expiry != 0 {
		options = append(options, client.Expiry(c.Expiry))
	}
	if c.ContentType != "" {
		options = append(options, client.ContentType(c.ContentType))
	}
	for _, p := range c.Property {
		name, value, ok := strings.Cut(p, "=")
		if !ok {
			return client.Outcome{}, usage("--property %q: write NAME=VALUE", p)
		}
		options = append(options, client.UserProperty(name, value))
	}
	g, err := c.dial(sh, atOnce)
	if err != nil {
		return client.Outcome{}, err
	}
	defer g.Close()
	return g.Publish(sh.Ctx, c.Topic, payload, options...)
}

// tell says what is known: on a terminal in words, on a pipe only if asked.
func (c *Pub) tell(sh *Shell, o client.Outcome) error {
	delivery := "acknowledged"
	if o.QoS == 0 {
		delivery = "sent"
	}
	ms := math.Round(float64(o.Took)/float64(time.Microsecond)) / 1000
	if c.JSON {
		r := &wire.PublishResult{Topic: c.Topic, QoS: o.QoS, Delivery: delivery, TookMS: ms}
		if o.NoSubscribers {
			r.Subscribers = wire.SubscribersNone
		}
		return sh.writeJSON(append(wire.AppendPublishResult(nil, r), '\n'))
	}
	if !isTerminal(sh.Stdout) {
		return nil
	}
	more := ""
	if o.NoSubscribers {
		more = "; nobody has subscribed to it"
	}
	if o.Replayed {
		more += "; the key was used before, nothing was published again"
	}
	return sh.write(fmt.Appendf(nil, "%s at QoS %d, %.1f ms%s\n", paint(sh.Stdout, green, delivery), o.QoS, ms, more))
}

// readPayload is what was given, or standard input.
func readPayload(sh *Shell, given *string) ([]byte, error) {
	if given != nil && *given != "-" {
		return []byte(*given), nil
	}
	if given == nil && isTerminal(sh.Stdin) {
		return nil, usage("there is no payload; give one, or - for standard input, or '' for an empty one")
	}
	b, err := io.ReadAll(io.LimitReader(sh.Stdin, maxLine+1))
	if err == nil && len(b) > maxLine {
		err = errors.New("the payload is too large for any gateway")
	}
	if err != nil {
		return nil, failed("standard input: %v", err)
	}
	return b, nil
}
