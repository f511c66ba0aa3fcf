package test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/spectest"
)

// strictSocket is a client of /ws that takes one frame after the other, and
// holds each against asyncapi.yaml.
type strictSocket struct {
	*socket
	seen int // frames taken
	doc  *spectest.Document
}

func (g *gateway) dialStrict(t testing.TB, query string) *strictSocket {
	t.Helper()
	s, err := g.tryDial(query)
	if err != nil {
		t.Fatal(err)
	}
	return &strictSocket{socket: s, doc: spectest.AsyncAPI(t)}
}

// next is the next frame, which must be as the file says.
func (s *strictSocket) next() map[string]any {
	s.t.Helper()
	var raw string
	s.until("another frame", func(frames []frame) bool {
		if len(frames) > s.seen {
			raw = frames[s.seen].raw
			s.seen++
		}
		return raw != ""
	})
	got := spectest.Decode[map[string]any](s.t, raw)
	name, _ := got["type"].(string)
	if _, ofAuth := got["principal"]; ofAuth && name == "ack" {
		name = "auth_ack"
	}
	if s.doc.Object("/components/messages/"+name) == nil {
		s.t.Fatalf("got a frame of type %q: %s", name, raw)
	}
	if err := s.doc.Validate(s.doc.MessageSchema(name), []byte(raw)); err != nil {
		s.t.Errorf("%s: %v\n%s", name, err, raw)
	}
	return got
}

// expect is the next frame, which must be of that type.
func (s *strictSocket) expect(name string) map[string]any {
	s.t.Helper()
	got := s.next()
	if got["type"] != name {
		s.t.Fatalf("got frame %v, want type %s", got, name)
	}
	return got
}

// ops are the messages of the client.
var ops = []string{"subscribe", "unsubscribe", "publish", "request", "ping", "auth"}

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
	t.Parallel()
	g := play(t)
	g.past()
	g.upstream.play(nil, nil)
	g.battery()
	g.led()
	g.receive(hub.Inbound{Topic: "pi/3/mode", Payload: []byte("eco"), QoS: 1, Retain: true})
	g.lamp("pi/8/led/set", "pi/8/led")
	s := g.dialStrict(t, "")
	s.expect("welcome")
	want := map[string]string{}
	for _, answer := range []string{"ack", "auth_ack", "published", "reply", "error", "pong"} {
		for _, e := range s.doc.FrameExamples(answer) {
			want[e.Name] = spectest.Steady(t, e.Value)
		}
	}
	for _, op := range ops {
		for _, e := range s.doc.FrameExamples(op) {
			s.send(string(spectest.Encode(t, e.Value)))
			if got := spectest.Steady(t, s.next()); got != want[e.Name] {
				t.Errorf("%s %s: got %s, want %s", op, e.Name, got, want[e.Name])
			}
			if got := s.rest(); !slices.Equal(got, followers[e.Name]) {
				t.Errorf("%s %s: got %v behind the answer, want %v", op, e.Name, got, followers[e.Name])
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
func (s *strictSocket) rest() []string {
	s.t.Helper()
	s.send(`{"op":"ping","id":"rest"}`)
	var types []string
	for {
		frame := s.next()
		if frame["type"] == "pong" && frame["id"] == "rest" {
			return types
		}
		types = append(types, frame["type"].(string))
	}
}

// Order after a subscribe: ack, retained, live.
func TestSubscribeOrder(t *testing.T) {
	t.Parallel()
	g := play(t)
	g.up(false)
	g.upstream.play(
		[]hub.Inbound{{Topic: "a/1", Payload: []byte("1")}, {Topic: "a/2", Payload: []byte("2")}},
		map[string]error{"b": hub.ErrRefused, "c": hub.ErrNotCovered, "d": context.DeadlineExceeded})
	s := g.dialStrict(t, "")
	welcome := s.expect("welcome")
	s.send(`{"op":"subscribe","id":1.50,"topics":["a/+","b","c","d"]}`)
	ack := s.expect("ack")
	if got, want := fmt.Sprint(ack["id"]), "1.50"; got != want {
		t.Errorf("got id %s, want %s", got, want)
	}
	if ack["cursor"] != welcome["cursor"] {
		t.Errorf("got cursor %v, want that of welcome, %v: nothing has happened", ack["cursor"], welcome["cursor"])
	}
	var why []string
	for _, r := range ack["results"].([]any) {
		r := r.(map[string]any)
		why = append(why, fmt.Sprint(r["status"], r["code"], r["retryable"]))
	}
	if want := []string{
		fmt.Sprint(nil, nil, nil), fmt.Sprint(403, "filter_refused", false), fmt.Sprint(422, "filter_not_covered", false), fmt.Sprint(503, "broker_unavailable", true),
	}; !slices.Equal(why, want) {
		t.Errorf("got %q, want %q", why, want)
	}
	for _, topic := range []string{"a/1", "a/2"} {
		if m := s.expect("message"); m["topic"] != topic || m["retain"] != true || m["cursor"] != nil {
			t.Errorf("got %v, want a retained copy on %s without cursor", m, topic)
		}
	}
	g.receive(hub.Inbound{Topic: "a/1", Payload: []byte("3")})
	if m := s.expect("message"); m["retain"] != false || m["cursor"] == nil {
		t.Errorf("got %v, want a live message with cursor", m)
	}
}

// JSON that is too deep for many readers comes as text.
func TestDeepPayloadIsText(t *testing.T) {
	t.Parallel()
	g := play(t)
	g.up(false)
	s := g.dialStrict(t, "?topic=a")
	s.expect("welcome")
	s.expect("ack")
	for depth, want := range map[int]string{64: "json", 65: "text"} {
		g.receive(hub.Inbound{Topic: "a", Payload: []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))})
		if m := s.expect("message"); m["encoding"] != want {
			t.Errorf("%d levels: got encoding %v, want %s", depth, m["encoding"], want)
		}
	}
}

// An op has no fields but those that the file gives it.
func TestOpsRefuseFieldsOfOthers(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"op": `"x"`, "id": `1`, "topics": `["a"]`, "topic": `"a"`, "payload": `1`, "encoding": `"json"`, "qos": `1`, "retain": `false`,
		"since": `null`, "snapshot": `false`, "overflow": `"close"`, "min_interval": `"1s"`,
		"content_type": `"a/b"`, "expiry": `"1s"`, "response_topic": `"a"`, "correlation": `"YQ=="`, "user_properties": `{"a":"1"}`,
		"reply": `"a"`, "expect": `"1"`, "timeout": `"1s"`, "token": `"x"`,
	}
	d := spectest.AsyncAPI(t)
	for _, op := range ops {
		fields := d.SchemaOf(t, op)["properties"].(map[string]any)
		for _, name := range append(spectest.Keys(values), "password") {
			if fields[name] != nil {
				continue
			}
			value := values[name]
			if value == "" {
				value = "1"
			}
			g := play(t)
			g.up(false)
			s := g.dialStrict(t, "")
			s.expect("welcome")
			s.send(fmt.Sprintf(`{"op":%q,"id":7,%q:%s}`, op, name, value))
			problem := s.expect("error")["problem"].(map[string]any)
			if problem["code"] != "unknown_field" {
				t.Errorf("%s with %s: got %v, want unknown_field", op, name, problem["code"])
			}
		}
	}
}

// Every code that an op can be answered with comes in an error frame that the
// file allows.
func TestErrorFrames(t *testing.T) {
	t.Parallel()
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
		g := play(t)
		g.up(false)
		s := g.dialStrict(t, "")
		s.expect("welcome")
		s.send(frame)
		problem := s.expect("error")["problem"].(map[string]any)
		if problem["code"] != want || problem["request_id"] != s.header.Get("X-Request-Id") {
			t.Errorf("%s: got %v of request %v, want %s of %s", frame, problem["code"], problem["request_id"], want, s.header.Get("X-Request-Id"))
		}
	}
}
