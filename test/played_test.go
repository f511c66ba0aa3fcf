package spec_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/api"
	decoders "github.com/vulturepi/gateway/internal/decode"
	"github.com/vulturepi/gateway/internal/hub"
)

const (
	maxPayload    = 262144
	epoch         = "k3f9c2m4q8z1" // that of the examples' cursors
	foreignOrigin = "http://elsewhere.example"
)

// gateway is a real server on a real hub; only the broker is played.
type gateway struct {
	server    *api.Server
	hub       *hub.Hub
	addr      string
	client    *http.Client
	publisher *publisher
	upstream  *upstream

	mu     sync.Mutex // guards health
	health func() api.Health
}

// start runs a gateway that remembers; set changes its options.
func start(t *testing.T, set ...func(*api.Options)) *gateway {
	t.Helper()
	return startWith(t, 64<<20, set...)
}

// startWith runs a gateway with that much history.
func startWith(t *testing.T, history int64, set ...func(*api.Options)) *gateway {
	t.Helper()
	g := &gateway{publisher: &publisher{}, upstream: &upstream{}}
	g.setHealth(func() api.Health { return api.Health{Publish: true, Subscribe: true} })
	o := api.Options{
		Publisher: g.publisher,
		Health: func() api.Health {
			g.mu.Lock()
			h := g.health
			g.mu.Unlock()
			return h()
		},
		BrokerStats:    func() api.BrokerStats { return api.BrokerStats{} },
		MaxPayload:     maxPayload,
		QueueBytes:     1 << 20,
		MaxConnections: 100,
		PublishTimeout: time.Minute,
		Log:            slog.New(slog.DiscardHandler),
	}
	for _, f := range set {
		f(&o)
	}
	rules, err := decoders.Parse([]byte("decoders: [{topic: pi/+/switch, format: bool}, {topic: pi/+/imu, format: msgpack}]"))
	if err != nil {
		t.Fatal(err)
	}
	g.hub = hub.New(hub.Options{Upstream: g.upstream, Epoch: epoch, QueueBytes: o.QueueBytes, HistoryBytes: history, Decode: rules.Decode})
	o.Hub = g.hub
	g.server = api.New(o)
	ts := httptest.NewServer(g.server.Public())
	g.addr = strings.TrimPrefix(ts.URL, "http://")
	g.client = ts.Client()
	g.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		ts.Close()
		g.hub.Close()
	})
	return g
}

func (g *gateway) setHealth(f func() api.Health) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.health = f
}

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
	broken  bool  // Publish panics
	hear    func(publication)
	got     []publication
}

// Publish implements api.Publisher.
func (p *publisher) Publish(topic string, payload []byte, qos byte, retain bool) (api.Pending, error) {
	got := publication{topic, string(payload), qos, retain}
	hear, outcome, err := p.take(got)
	if err != nil {
		return nil, err
	}
	if hear != nil {
		hear(got)
	}
	return pending{outcome}, nil
}

func (p *publisher) take(got publication) (hear func(publication), outcome, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		panic("out of order")
	}
	if p.refuse != nil {
		return nil, nil, p.refuse
	}
	p.got = append(p.got, got)
	return p.hear, p.outcome, nil
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
func (g *gateway) lamp(set, state string) {
	g.publisher.listen(func(p publication) {
		if p.topic == set {
			g.hub.Ingest(hub.Inbound{Topic: state, Payload: []byte(p.payload), QoS: 1})
		}
	})
}

type pending struct{ err error }

// Wait implements api.Pending.
func (p pending) Wait(context.Context) error { return p.err }

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

// request is one HTTP request of a test.
type request struct {
	name         string
	method, path string // path with its query
	header       map[string]string
	host         string
	body         string
	chunked      bool // the length is not announced
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends r and reads the answer.
func (g *gateway) do(t *testing.T, r request) answer {
	t.Helper()
	var body io.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
		if r.chunked {
			body = io.MultiReader(body) // hides the length
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), r.method, "http://"+g.addr+r.path, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if r.host != "" {
		req.Host = r.host
	}
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols {
		return answer{res.StatusCode, res.Header, nil}
	}
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return answer{res.StatusCode, res.Header, got}
}

// direct serves r without a network, for what no client can send.
func (g *gateway) direct(r *http.Request) answer {
	rec := httptest.NewRecorder()
	g.server.Public().ServeHTTP(rec, r)
	return answer{rec.Code, rec.Header(), rec.Body.Bytes()}
}

// brokenBody is a body that fails to arrive.
type brokenBody struct{ err error }

func (b brokenBody) Read([]byte) (int, error) { return 0, b.err }
func (b brokenBody) Close() error             { return nil }

var jsonHeader = map[string]string{"Content-Type": "application/json"}

// with is a copy of base with one more header.
func with(base map[string]string, name, value string) map[string]string {
	h := maps.Clone(base)
	if h == nil {
		h = map[string]string{}
	}
	h[name] = value
	return h
}

// post is a POST /publish.
func post(name, body string) request {
	return request{name: name, method: "POST", path: "/publish", header: jsonHeader, body: body}
}

// upgrade is the header of a WebSocket handshake.
var upgrade = map[string]string{
	"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}

// handshake is a GET /ws with the header of an upgrade.
func handshake(name, query string) request {
	return request{name: name, method: "GET", path: "/ws" + query, header: upgrade}
}

var errOther = errors.New("something else")

// oneLine reports whether body is one line with its end.
func oneLine(body []byte) bool {
	return bytes.HasSuffix(body, []byte("\n")) && bytes.Count(body, []byte("\n")) == 1
}
