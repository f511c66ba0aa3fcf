package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/internal/mqtt"
	"github.com/vulturepi/gateway/internal/topic"
)

// Straight is a broker that is reached without a gateway.
type Straight struct {
	Broker string `placeholder:"URL" help:"Straight to this broker, such as mqtt://localhost:1883, without a gateway. GATEWAY_MQTT_USERNAME and GATEWAY_MQTT_PASSWORD say who we are there."`
}

// link is one connection to the broker, in MQTT 5 or, where it does not speak
// that, 3.1.1.
func (s *Straight) link(sh *Shell, files *tls.Config, handler mqtt.Handler) (*mqtt.Conn, error) {
	cfg := mqtt.Config{Version: mqtt.V5, TLS: files, Handler: handler, MaxPayload: maxLine}
	u, err := url.Parse(s.Broker)
	switch {
	case err != nil || u.Host == "" || !slices.Contains([]string{"mqtt", "mqtts", "ws", "wss"}, u.Scheme):
		return nil, usage("--broker: write mqtt://HOST:PORT, or mqtts, ws or wss in its place")
	case u.User != nil:
		return nil, usage("--broker: what stands in an address is seen by others; set GATEWAY_MQTT_USERNAME and GATEWAY_MQTT_PASSWORD")
	}
	cfg.URL = u
	if cfg.Username, cfg.Password, err = brokerUser(); err != nil {
		return nil, err
	}
	conn, err := mqtt.Dial(sh.Ctx, cfg)
	var refused *mqtt.ConnectError
	if errors.Is(err, mqtt.ErrClosedOnConnect) || errors.As(err, &refused) && refused.OtherVersion {
		cfg.Version = mqtt.V311
		conn, err = mqtt.Dial(sh.Ctx, cfg)
	}
	if err == nil {
		return conn, nil
	}
	status := StatusNoConnection
	if errors.As(err, &refused) && refused.Unauthorised() {
		status = StatusFailed
	}
	return nil, &Error{status, u.Host + ": " + err.Error()}
}

// brokerUser is who we are at a broker.
func brokerUser() (user, password string, err error) {
	const envPassword, envFile = "GATEWAY_MQTT_PASSWORD", "GATEWAY_MQTT_PASSWORD_FILE"
	user, password = os.Getenv("GATEWAY_MQTT_USERNAME"), os.Getenv(envPassword)
	file := os.Getenv(envFile)
	if file == "" {
		return user, password, nil
	}
	if password != "" {
		return "", "", usage("%s and %s are both set; unset one of them", envPassword, envFile)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", "", usage("%s: %v", envFile, err)
	}
	return user, strings.TrimRight(string(b), "\r\n"), nil
}

// straight publishes at a broker.
func (c *Pub) straight(sh *Shell, payload []byte) (client.Outcome, error) {
	var none client.Outcome
	if c.Key != "" {
		return none, usage("--key needs a gateway; a broker has no such thing")
	}
	if err := topic.CheckName(c.Topic); err != nil {
		return none, failed("%v", err)
	}
	files, err := c.tls()
	if err != nil {
		return none, err
	}
	m := mqtt.Message{Topic: c.Topic, Payload: payload, QoS: byte(c.QoS), Retain: c.Retain}
	if m.Properties, err = c.properties(); err != nil {
		return none, err
	}
	conn, err := c.link(sh, files, nil)
	if err != nil {
		return none, err
	}
	defer conn.Close()
	if m.Properties != nil && conn.Version() != mqtt.V5 {
		return none, failed("the broker speaks MQTT 3.1.1, which has no properties")
	}
	p := mqtt.NewPublication(m)
	begin := time.Now()
	conn.Publish(p)
	select {
	case <-p.Done():
	case <-time.After(retryFor):
		return none, &Error{StatusUnknown, "the broker has not acknowledged the message; nobody knows whether it has it"}
	case <-sh.Ctx.Done():
		return none, sh.Ctx.Err()
	}
	reason, err := p.Outcome()
	switch {
	case errors.Is(err, mqtt.ErrUnknown):
		return none, &Error{StatusUnknown, err.Error()}
	case errors.Is(err, mqtt.ErrNotSent):
		return none, &Error{StatusNoConnection, err.Error()}
	case err != nil:
		return none, failed("%v", err)
	}
	return client.Outcome{QoS: byte(c.QoS), Took: time.Since(begin), NoSubscribers: reason == mqtt.NoSubscribers}, nil
}

// properties are those of MQTT 5; nil: none are asked for.
func (c *Pub) properties() (*mqtt.Properties, error) {
	if c.Expiry == 0 && c.ContentType == "" && len(c.Property) == 0 {
		return nil, nil
	}
	if c.Expiry != 0 && (c.Expiry < time.Second || c.Expiry > math.MaxUint32*time.Second || c.Expiry%time.Second != 0) {
		return nil, usage("--expiry %v: write whole seconds, such as 30s or 12h", c.Expiry)
	}
	p := &mqtt.Properties{ContentType: c.ContentType, Expires: c.Expiry > 0, Expiry: uint32(c.Expiry / time.Second)}
	for _, pair := range c.Property {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usage("--property %q: write NAME=VALUE", pair)
		}
		p.User = append(p.User, mqtt.UserProperty{Name: name, Value: value})
	}
	return p, nil
}

// straight reads from a broker, again and again.
func (c *Sub) straight(sh *Shell, p *printer) error {
	if c.Since != "" || c.Snapshot {
		return usage("--since and --snapshot need a gateway; a broker remembers retained messages only")
	}
	var filters []mqtt.Filter
	for _, f := range c.Filters {
		if err := topic.CheckFilter(f); err != nil {
			return failed("%v", err)
		}
		filters = append(filters, mqtt.Filter{Filter: f, QoS: 1})
	}
	files, err := c.tls()
	if err != nil {
		return err
	}
	sh.endWithPipe()
	in := &inbox{sh: sh, printer: p, ended: make(chan struct{})}
	for attempt := 0; ; attempt++ {
		joined, err := c.read(sh, files, filters, in)
		var known *Error
		switch {
		case in.isOver(), sh.Ctx.Err() != nil:
			return cmp.Or(in.err, sh.Ctx.Err())
		case !joined && attempt == 0, errors.As(err, &known) && known.Status != StatusNoConnection:
			return err
		case joined:
			sh.note("the connection to the broker was lost: %v; messages may be missing here; trying again", err)
		}
		if !sleepUntil(sh, time.Now().Add(time.Second)) {
			return sh.Ctx.Err()
		}
	}
}

// read reads from one connection until its end.
func (c *Sub) read(sh *Shell, files *tls.Config, filters []mqtt.Filter, in *inbox) (joined bool, err error) {
	conn, err := c.link(sh, files, in)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	codes, err := conn.Subscribe(sh.Ctx, filters)
	if err != nil {
		return false, &Error{StatusNoConnection, err.Error()}
	}
	for i, code := range codes {
		if code.Failed() {
			return false, failed("%s: the broker refused it: %s", filters[i].Filter, code)
		}
	}
	select {
	case <-conn.Done():
		return true, conn.Err()
	case <-in.ended:
		return true, nil
	case <-sh.Ctx.Done():
		return true, context.Cause(sh.Ctx)
	}
}

// inbox prints what a broker sends. It is called by one goroutine at a time; err
// may be read once ended is closed.
type inbox struct {
	sh      *Shell
	printer *printer
	ended   chan struct{}
	err     error
}

func (in *inbox) isOver() bool {
	select {
	case <-in.ended:
		return true
	default:
		return false
	}
}

func (in *inbox) Message(m mqtt.Message) (taken bool) {
	if in.isOver() {
		return false
	}
	enough, err := in.printer.message(&client.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Time: time.Now()})
	if enough || err != nil {
		in.err = err
		close(in.ended)
	}
	return true
}

func (in *inbox) Skipped(s mqtt.Skipped) bool {
	in.sh.note("a gap: the message on %s has %d bytes, which is too much", s.Topic, s.Size)
	return true
}

func (in *inbox) Rest() {}
