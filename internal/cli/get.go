package cli

import (
	"time"

	"github.com/vulturepi/gateway/client"
)

// Get is gateway get.
type Get struct {
	Gateway `embed:""`
	JSON    bool   `name:"json" help:"The whole message, as a JSON object."`
	Topic   string `arg:"" help:"Topic to read."`
}

// Run prints the newest value of a topic.
func (c *Get) Run(sh *Shell) error { return sh.done(c.run(sh)) }

func (c *Get) run(sh *Shell) error {
	g, err := c.dial(sh, atOnce)
	if err != nil {
		return err
	}
	defer g.Close()
	m, err := g.Get(sh.Ctx, c.Topic)
	if err != nil {
		return err
	}
	return value(sh, m, c.JSON)
}

// value prints a payload: on a pipe byte for byte, on a terminal as a line.
func value(sh *Shell, m *client.Message, whole bool) error {
	switch {
	case whole:
		return sh.writeJSON(appendObject(nil, m))
	case isTerminal(sh.Stdout):
		return sh.write([]byte(shown(m.Payload) + "\n"))
	}
	return sh.write(m.Payload)
}

// Request is gateway request.
type Request struct {
	Gateway `embed:""`
	Reply   string        `required:"" placeholder:"FILTER" help:"Topic or filter on which the reply comes."`
	Expect  *string       `placeholder:"PAYLOAD" help:"Wait for a reply with exactly this payload."`
	Timeout time.Duration `default:"5s" help:"How long to wait for the reply."`
	QoS     int           `name:"qos" default:"1" enum:"0,1,2" help:"QoS of the command: 0, 1 or 2."`
	JSON    bool          `name:"json" help:"The whole reply, as a JSON object."`
	Topic   string        `arg:"" help:"Topic of the command."`
	Payload string        `arg:"" help:"Payload of the command; - is standard input."`
}

// Run publishes a command, and prints the device's reply.
func (c *Request) Run(sh *Shell) error { return sh.done(c.run(sh)) }

func (c *Request) run(sh *Shell) error {
	payload, err := readPayload(sh, &c.Payload)
	if err != nil {
		return err
	}
	g, err := c.dial(sh, atOnce)
	if err != nil {
		return err
	}
	defer g.Close()
	options := []client.Option{client.QoS(c.QoS), client.Within(c.Timeout)}
	if c.Expect != nil {
		options = append(options, client.Expect(*c.Expect))
	}
	m, err := g.Request(sh.Ctx, c.Topic, payload, c.Reply, options...)
	if err != nil {
		return err
	}
	return value(sh, m, c.JSON)
}
