package test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/bridge"
	vulture "github.com/vulturepi/gateway/internal/gateway"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/mqtt"
	"github.com/vulturepi/gateway/wire"
)

// maxPayload is the default of GATEWAY_MAX_PAYLOAD_BYTES.
const maxPayload = 262144

// epoch is that of the cursors in the contract's examples.
const epoch = "k3f9c2m4q8z1"

const foreignOrigin = "http://elsewhere.example"

// exampleDecoders are the rules that the contract's examples speak of.
const exampleDecoders = "decoders: [{topic: pi/+/switch, format: bool}, {topic: pi/+/imu, format: msgpack}]"

// played is a whole gateway whose broker side is played: it can be told to
// refuse, to break and to be silent in ways that no broker does, and what it
// receives stands at known places of the sequence.
type played struct {
	*gateway
	*stage
}

// play runs one that remembers; set changes its options. It is not connected to
// its broker yet.
func play(t testing.TB, set ...func(*api.Options)) *played {
	t.Helper()
	return playWith(t, 64<<20, nil, set...)
}

// playWith runs one with that much history, and more variables.
func playWith(t testing.TB, history int64, env map[string]string, set ...func(*api.Options)) *played {
	t.Helper()
	file := filepath.Join(t.TempDir(), "decoders.yaml")
	if err := os.WriteFile(file, []byte(exampleDecoders), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &played{stage: newStage()}
	options := []vulture.Option{
		vulture.WithBroker(func(cfg bridge.Config) vulture.Broker {
			p.in = cfg.Receiver
			return p.stage
		}),
		vulture.WithHub(func(o *hub.Options) { o.Epoch, o.HistoryBytes = epoch, history }),
	}
	for _, f := range set {
		options = append(options, vulture.WithAPI(f))
	}
	all := map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1", "GATEWAY_DECODERS_FILE": file, "GATEWAY_LOG_LEVEL": "info"}
	maps.Copy(all, env)
	p.gateway = start(t, all, options...)
	return p
}

// stage plays the broker side.
type stage struct {
	publisher
	upstream

	receiving sync.Mutex      // one event at a time
	in        bridge.Receiver // set before the gateway runs

	mu      sync.Mutex // guards the rest
	status  func() bridge.Status
	version mqtt.Version
}

func newStage() *stage {
	s := &stage{}
	s.setStatus(works)
	return s
}

func works() bridge.Status { return bridge.Status{Publish: true, Subscribe: true} }

func (s *stage) setStatus(f func() bridge.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = f
}

func (s *stage) setVersion(v mqtt.Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = v
}

// Run implements vulture.Broker.
func (s *stage) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Status implements vulture.Broker.
func (s *stage) Status() bridge.Status {
	s.mu.Lock()
	f := s.status
	s.mu.Unlock()
	return f()
}

// Changed implements vulture.Broker: nobody waits for it.
func (s *stage) Changed() <-chan struct{} { return nil }

// Stats implements vulture.Broker.
func (s *stage) Stats() bridge.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bridge.Stats{Version: s.version}
}

// event tells the gateway something, in turn.
func (s *stage) event(tell func(in bridge.Receiver)) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	tell(s.in)
}

// receive lets the gateway receive a message.
func (s *stage) receive(m hub.Inbound) {
	s.event(func(in bridge.Receiver) {
		var p *bridge.Properties
		if from := m.Properties; from != nil {
			p = &bridge.Properties{ContentType: from.ContentType, Expires: from.Expires, Expiry: from.Expiry, ResponseTopic: from.ResponseTopic, Correlation: from.Correlation}
			for _, u := range from.User {
				p.User = append(p.User, bridge.UserProperty(u))
			}
		}
		in.Message(bridge.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, TooLarge: m.TooLarge, Properties: p})
		in.Rest()
	})
}

func (s *stage) up(lost bool) { s.event(func(in bridge.Receiver) { in.Up(lost) }) }
func (s *stage) down()        { s.event(func(in bridge.Receiver) { in.Down(errOther) }) }

// overflow says that the broker has dropped messages.
func (s *stage) overflow() { s.event(func(in bridge.Receiver) { in.Dropped(false, time.Now()) }) }

// publication is what reached the publisher.
type publication struct {
	topic, payload string
	qos            byte
	retain         bool
}

// publisher plays the broker's side of publishing.
type publisher struct {
	mu      sync.Mutex
	refuse  error // answer of Publish
	outcome error // answer of Wait
	unheard bool  // nobody has subscribed
	broken  bool  // Publish panics
	hear    func(publication)
	got     []publication
	old     bool // the broker speaks MQTT 3.1.1
}

// Publish implements api.Publisher.
func (p *publisher) Publish(m api.Outbound) (api.Pending, error) {
	got := publication{m.Topic, string(m.Payload), m.QoS, m.Retain}
	hear, result, err := p.take(got, m.Properties)
	if err != nil {
		return nil, err
	}
	if hear != nil {
		hear(got)
	}
	return result, nil
}

func (p *publisher) take(got publication, given *wire.Properties) (hear func(publication), result pending, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		panic("out of order")
	}
	if p.refuse != nil {
		return nil, pending{}, p.refuse
	}
	if p.old && given != nil {
		return nil, pending{}, api.ErrNeedsMQTT5
	}
	p.got = append(p.got, got)
	return p.hear, pending{p.outcome, p.unheard}, nil
}

// listen calls hear for every message that is published, before its outcome is
// known.
func (p *publisher) listen(hear func(publication)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hear = hear
}

// lamp plays a device that does what it is told on one topic, and says so on
// another.
func (s *stage) lamp(set, state string) {
	s.listen(func(p publication) {
		if p.topic == set {
			s.receive(hub.Inbound{Topic: state, Payload: []byte(p.payload), QoS: 1})
		}
	})
}

type pending struct {
	err     error
	unheard bool
}

// Unheard implements api.Pending.
func (p pending) Unheard() bool { return p.unheard }

// Outcome implements api.Pending.
func (p pending) Outcome() error { return p.err }

// Done implements api.Pending.
func (p pending) Done() <-chan struct{} { return ended }

var ended = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (p *publisher) play(refuse, outcome error, broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.outcome, p.broken = refuse, outcome, broken
}

// setOld makes the broker speak MQTT 3.1.1, or 5.
func (p *publisher) setOld(old bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.old = old
}

// exampleProperties are those of the contract's examples.
func exampleProperties() *wire.Properties {
	return &wire.Properties{
		ContentType: "text/plain", Expires: true, Expiry: 3600, ResponseTopic: "pi/3/reply", Correlation: []byte("\xde\xad\xbe\xef"),
		User: []wire.UserProperty{{Name: "unit", Value: "C"}, {Name: "tag", Value: "a"}, {Name: "tag", Value: "b"}},
	}
}

// setUnheard lets nobody have subscribed to anything, or not.
func (p *publisher) setUnheard(unheard bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unheard = unheard
}

// all are the messages that were published so far.
func (p *publisher) all() []publication {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

// upstream plays the broker's side of subscribing.
type upstream struct {
	mu       sync.Mutex
	refuse   map[string]error // by filter
	retained []hub.Inbound    // given for every filter
	broken   bool             // everything panics
}

// play sets what the broker keeps and which filters it refuses.
func (u *upstream) play(retained []hub.Inbound, refuse map[string]error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.retained, u.refuse = retained, refuse
}

// setBroken makes everything panic, or not.
func (u *upstream) setBroken(broken bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.broken = broken
}

// Want implements hub.Upstream.
func (u *upstream) Want(_ context.Context, filter string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.broken {
		panic("out of order")
	}
	return u.refuse[filter]
}

// Release implements hub.Upstream.
func (u *upstream) Release(string) {}

// Watched implements hub.Upstream.
func (u *upstream) Watched(filter string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.broken {
		panic("out of order")
	}
	_, refused := u.refuse[filter]
	return !refused
}

// Retained implements hub.Upstream.
func (u *upstream) Retained(context.Context, string) ([]hub.Inbound, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.retained, nil
}

var errOther = errors.New("something else")
