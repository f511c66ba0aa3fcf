package spec_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// socket is a client of /ws that holds every frame against asyncapi.yaml.
type socket struct {
	conn   *websocket.Conn
	header http.Header // of the answer to the handshake
	doc    *document
}

func (g *gateway) dial(t *testing.T, query string) *socket {
	t.Helper()
	conn, res, err := websocket.Dial(t.Context(), "ws://"+g.addr+"/ws"+query, &websocket.DialOptions{
		Subprotocols: []string{wire.Subprotocol}, HTTPClient: g.client,
	})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &socket{conn, res.Header, asyncAPI(t)}
}

// next is the next frame, which must be as the file says.
func (s *socket) next(t *testing.T) map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	kind, body, err := s.conn.Read(ctx)
	if err != nil || kind != websocket.MessageText {
		t.Fatalf("got no text frame: %v %v", kind, err)
	}
	frame := decode[map[string]any](t, body)
	name, _ := frame["type"].(string)
	if _, known := frames[name]; !known {
		t.Fatalf("got a frame of type %q: %s", name, body)
	}
	if err := s.doc.validate(s.doc.messageSchema(name), body); err != nil {
		t.Errorf("%s: %v\n%s", name, err, body)
	}
	return frame
}

// expect is the next frame, which must be of that type.
func (s *socket) expect(t *testing.T, name string) map[string]any {
	t.Helper()
	frame := s.next(t)
	if frame["type"] != name {
		t.Fatalf("got frame %v, want type %s", frame, name)
	}
	return frame
}

func (s *socket) send(t *testing.T, frame string) {
	t.Helper()
	if err := s.conn.Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil {
		t.Fatal(err)
	}
}

// closed reads to the end and gives the close code.
func (s *socket) closed(t *testing.T) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if _, _, err := s.conn.Read(ctx); err != nil {
			return int(websocket.CloseStatus(err))
		}
	}
}

// followers are the frames behind the answers to the examples of subscribe.
var followers = map[string][]string{
	"resume":                   {"message", "message"},
	"resume_after_restart":     {"gap"},
	"snapshot_for_a_dashboard": {"message", "snapshot_end"},
	"invalid_cursor":           {"ack", "gap"},
	"since_a_time":             {"message"},
}

// Each example of a client's frame is answered with the example of the same
// name, and then comes what its summary says.
func TestOpExamplesGetTheirAnswers(t *testing.T) {
	g := start(t)
	g.past()
	g.upstream.play(nil, nil)
	g.battery()
	g.led()
	g.hub.Ingest(hub.Inbound{Topic: "pi/3/mode", Payload: []byte("eco"), QoS: 1, Retain: true})
	g.lamp("pi/8/led/set", "pi/8/led")
	s := g.dial(t, "")
	s.expect(t, "welcome")
	want := map[string]string{}
	for _, answer := range []string{"ack", "published", "reply", "error", "pong"} {
		for _, e := range s.doc.frameExamples(answer) {
			want[e.name] = steady(t, e.value)
		}
	}
	for _, op := range ops {
		for _, e := range s.doc.frameExamples(op) {
			s.send(t, string(encode(t, e.value)))
			if got := steady(t, s.next(t)); got != want[e.name] {
				t.Errorf("%s %s: got %s, want %s", op, e.name, got, want[e.name])
			}
			if got := s.rest(t); !slices.Equal(got, followers[e.name]) {
				t.Errorf("%s %s: got %v behind the answer, want %v", op, e.name, got, followers[e.name])
			}
		}
	}
	sent := []publication{
		{"pi/3/led", "on", 1, false},
		{"pi/3/battery", "21.50", 0, false},
		{"pi/3/frame", "\xde\xad\xbe\xef", 2, true},
		{"pi/8/led/set", "on", 1, false},
		{"pi/8/led/set", "off", 2, false},
		{"pi/8/led/set", "on", 1, false},
	}
	if got := g.publisher.all(); !slices.Equal(got, sent) {
		t.Errorf("the broker got %+v, want %+v", got, sent)
	}
}

// rest are the types of the frames that are under way.
func (s *socket) rest(t *testing.T) []string {
	t.Helper()
	s.send(t, `{"op":"ping","id":"rest"}`)
	var types []string
	for {
		frame := s.next(t)
		if frame["type"] == "pong" && frame["id"] == "rest" {
			return types
		}
		types = append(types, frame["type"].(string))
	}
}

// The other examples of frames are what the gateway sends, too.
func TestFrameExamplesAreReal(t *testing.T) {
	g := start(t)
	g.upstream.play([]hub.Inbound{{Topic: "pi/3/mode", Payload: []byte("eco"), QoS: 1}}, nil)
	s := g.dial(t, "?topic=pi/3/%23")
	got := map[string]bool{}
	note := func(name string) { got[steady(t, s.expect(t, name))] = true }
	note("welcome")
	note("broker") // there is no connection yet
	note("ack")
	note("message")
	g.hub.BrokerUp(false)
	note("broker")
	g.battery()
	note("message")
	g.led()
	note("message")
	g.hub.Ingest(hub.Inbound{Topic: "pi/3/frame", Payload: []byte("\xde\xad\xbe\xef")})
	note("message")
	g.hub.Ingest(hub.Inbound{Topic: "pi/3/switch", Payload: []byte("ON"), QoS: 1})
	note("message")
	g.hub.Ingest(hub.Inbound{Topic: "pi/3/imu", Payload: []byte("\x92\x01"), QoS: 1})
	note("message")
	g.hub.BrokerDown()
	note("broker")
	g.hub.BrokerUp(true)
	note("gap")
	note("broker")
	g.hub.Dropped(false, time.Now())
	note("gap")
	s.send(t, `{"op":"jump","id":9}`)
	note("error")
	g.publisher.play(api.ErrNotSent, nil, false)
	s.send(t, `{"op":"publish","id":10,"topic":"a","payload":1}`)
	note("error")
	g.server.Drain()
	s.send(t, `{"op":"publish","id":16,"topic":"a","payload":1}`)
	note("error")
	for _, frame := range []map[string]any{slowGap(t), expiredGap(t), throttled(t), restartGap(t), snapshotEnd(t)} {
		got[steady(t, frame)] = true
	}

	answered := map[string]bool{}
	for _, op := range ops {
		for _, e := range s.doc.frameExamples(op) {
			answered[e.name] = true
		}
	}
	for _, name := range []string{"welcome", "ack", "message", "gap", "broker", "error", "snapshot_end"} {
		for _, e := range s.doc.frameExamples(name) {
			if !answered[e.name] && !got[steady(t, e.value)] {
				t.Errorf("no frame was like the example %s of %s: %s", e.name, name, steady(t, e.value))
			}
		}
	}
}

// expiredGap is what comes instead of messages that have left the history.
func expiredGap(t *testing.T) map[string]any {
	t.Helper()
	g := startWith(t, 1<<10)
	g.hub.BrokerUp(false)
	for range 100 {
		g.battery()
	}
	s := g.dial(t, "?topic=pi/3/battery&since="+epoch+"-12")
	s.expect(t, "welcome")
	if ack := s.expect(t, "ack"); ack["resumed"] != false {
		t.Errorf("got %v, want resumed false", ack)
	}
	return s.expect(t, "gap")
}

// restartGap is for a cursor of another gateway.
func restartGap(t *testing.T) map[string]any {
	t.Helper()
	g := start(t)
	g.hub.BrokerUp(false)
	s := g.dial(t, "?topic=a&since=h8w2c5v7n4xe-77")
	s.expect(t, "welcome")
	s.expect(t, "ack")
	return s.expect(t, "gap")
}

// throttled is a message that stands for others.
func throttled(t *testing.T) map[string]any {
	t.Helper()
	g := start(t)
	g.hub.BrokerUp(false)
	s := g.dial(t, "?topic=pi/3/battery&min_interval=1h")
	s.expect(t, "welcome")
	s.expect(t, "ack")
	for i := range 19 { // the first comes at once
		g.hub.Ingest(hub.Inbound{Topic: "pi/3/battery", Payload: []byte([]string{"21.50", "21.75"}[min(i, 1)]), QoS: 1})
	}
	if m := s.expect(t, "message"); m["skipped"] != nil {
		t.Errorf("got %v first, want nothing skipped", m)
	}
	g.hub.Dropped(false, time.Now()) // the gap must not overtake what is held back
	return s.expect(t, "message")
}

// snapshotEnd is that of a subscription in the URL.
func snapshotEnd(t *testing.T) map[string]any {
	t.Helper()
	g := start(t)
	g.hub.BrokerUp(false)
	g.led()
	g.led()
	s := g.dial(t, "?topic=pi/%23&snapshot=true")
	s.expect(t, "welcome")
	s.expect(t, "ack")
	if m := s.expect(t, "message"); m["cursor"] != nil || m["retain"] != false {
		t.Errorf("got %v, want the newest message without cursor", m)
	}
	return s.expect(t, "snapshot_end")
}

// slowGap is the last frame for a client that does not read.
func slowGap(t *testing.T) map[string]any {
	t.Helper()
	g := start(t, func(o *api.Options) { o.QueueBytes = 1 << 16 })
	g.hub.BrokerUp(false)
	s := g.dial(t, "?topic=%23")
	s.expect(t, "welcome")
	s.expect(t, "ack")
	payload := []byte(strings.Repeat("x", 1<<16))
	for range 4000 { // far more than the sockets hold
		if g.hub.Stats().Gaps[wire.GapSlowConsumer] > 0 {
			break
		}
		g.hub.Ingest(hub.Inbound{Topic: "a", Payload: payload})
	}
	for {
		if frame := s.next(t); frame["type"] == "gap" {
			if code := s.closed(t); code != 4008 {
				t.Errorf("got close code %d behind the gap, want 4008", code)
			}
			return frame
		}
	}
}

// Order after a subscribe: ack, retained, live.
func TestSubscribeOrder(t *testing.T) {
	g := start(t)
	g.hub.BrokerUp(false)
	g.upstream.play(
		[]hub.Inbound{{Topic: "a/1", Payload: []byte("1")}, {Topic: "a/2", Payload: []byte("2")}},
		map[string]error{"b": hub.ErrRefused, "c": hub.ErrNotCovered, "d": context.DeadlineExceeded})
	s := g.dial(t, "")
	welcome := s.expect(t, "welcome")
	s.send(t, `{"op":"subscribe","id":1.50,"topics":["a/+","b","c","d"]}`)
	ack := s.expect(t, "ack")
	if got, want := fmt.Sprint(ack["id"]), "1.50"; got != want {
		t.Errorf("got id %s, want %s", got, want)
	}
	if ack["cursor"] != welcome["cursor"] {
		t.Errorf("got cursor %v, want that of welcome, %v: nothing has happened", ack["cursor"], welcome["cursor"])
	}
	var codes []any
	for _, r := range ack["results"].([]any) {
		codes = append(codes, r.(map[string]any)["code"])
	}
	if want := []any{nil, "filter_refused", "filter_not_covered", "broker_unavailable"}; !slices.Equal(codes, want) {
		t.Errorf("got codes %v, want %v", codes, want)
	}
	for _, topic := range []string{"a/1", "a/2"} {
		if m := s.expect(t, "message"); m["topic"] != topic || m["retain"] != true || m["cursor"] != nil {
			t.Errorf("got %v, want a retained copy on %s without cursor", m, topic)
		}
	}
	g.hub.Ingest(hub.Inbound{Topic: "a/1", Payload: []byte("3")})
	if m := s.expect(t, "message"); m["retain"] != false || m["cursor"] == nil {
		t.Errorf("got %v, want a live message with cursor", m)
	}
}

// JSON that is too deep for many readers comes as text.
func TestDeepPayloadIsText(t *testing.T) {
	g := start(t)
	g.hub.BrokerUp(false)
	s := g.dial(t, "?topic=a")
	s.expect(t, "welcome")
	s.expect(t, "ack")
	for depth, want := range map[int]string{64: "json", 65: "text"} {
		g.hub.Ingest(hub.Inbound{Topic: "a", Payload: []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))})
		if m := s.expect(t, "message"); m["encoding"] != want {
			t.Errorf("%d levels: got encoding %v, want %s", depth, m["encoding"], want)
		}
	}
}

// An op has no fields but those that the file gives it.
func TestOpsRefuseFieldsOfOthers(t *testing.T) {
	values := map[string]string{
		"op": `"x"`, "id": `1`, "topics": `["a"]`, "topic": `"a"`, "payload": `1`, "encoding": `"json"`, "qos": `1`, "retain": `false`,
		"since": `null`, "snapshot": `false`, "overflow": `"close"`, "min_interval": `"1s"`,
		"reply": `"a"`, "expect": `"1"`, "timeout": `"1s"`,
	}
	d := asyncAPI(t)
	for _, op := range ops {
		fields := d.schemaOf(t, op)["properties"].(map[string]any)
		for _, name := range append(keys(values), "token") {
			if fields[name] != nil {
				continue
			}
			value := values[name]
			if value == "" {
				value = "1"
			}
			g := start(t)
			g.hub.BrokerUp(false)
			s := g.dial(t, "")
			s.expect(t, "welcome")
			s.send(t, fmt.Sprintf(`{"op":%q,"id":7,%q:%s}`, op, name, value))
			problem := s.expect(t, "error")["problem"].(map[string]any)
			if problem["code"] != "unknown_field" {
				t.Errorf("%s with %s: got %v, want unknown_field", op, name, problem["code"])
			}
		}
	}
}

// Every code that an op can be answered with comes in an error frame that the
// file allows.
func TestErrorFrames(t *testing.T) {
	for frame, want := range map[string]string{
		`x`:                           "invalid_json",
		``:                            "empty_body",
		`[]`:                          "not_an_object",
		`{"op":"ping"} {}`:            "trailing_data",
		`{"op":"ping","op":"ping"}`:   "duplicate_key",
		`{"op":"ping","id":"\ud800"}`: "invalid_unicode",
		`{"op":"ping","id":` + strings.Repeat("[", 65) + `}`: "too_deep",
		`{"id":1}`:                                              "invalid_op",
		`{"op":"ping","id":[1]}`:                                "invalid_id",
		`{"op":"subscribe","topics":"a"}`:                       "invalid_topics",
		`{"op":"publish","payload":1}`:                          "topic_required",
		`{"op":"subscribe","topics":["a"],"overflow":"block"}`:  "invalid_parameter",
		`{"op":"subscribe","topics":["a"],"snapshot":"true"}`:   "invalid_parameter",
		`{"op":"subscribe","topics":["a"],"min_interval":200}`:  "invalid_parameter",
		`{"op":"subscribe","topics":["a"],"min_interval":"2h"}`: "invalid_parameter",
		`{"op":"subscribe","topics":["a"],"since":1041}`:        "invalid_cursor",
	} {
		g := start(t)
		g.hub.BrokerUp(false)
		s := g.dial(t, "")
		s.expect(t, "welcome")
		s.send(t, frame)
		problem := s.expect(t, "error")["problem"].(map[string]any)
		if problem["code"] != want || problem["request_id"] != s.header.Get("X-Request-Id") {
			t.Errorf("%s: got %v of request %v, want %s of %s", frame, problem["code"], problem["request_id"], want, s.header.Get("X-Request-Id"))
		}
	}
}
