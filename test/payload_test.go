package test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/wire"
)

// round is a gateway with a WebSocket and an MQTT client that see everything.
type round struct {
	*gateway
	broker *brokertest.Broker
	ws     *socket
	raw    *brokertest.Client
	seen   int
}

func startRound(t *testing.T) *round {
	t.Helper()
	broker := brokertest.Start(t)
	r := &round{gateway: startReady(t, broker.URL(), nil), broker: broker, raw: brokertest.Dial(t, broker.Addr())}
	r.ws = r.dial("")
	r.ws.subscribe("#")
	if code := r.raw.Subscribe("#", 2); code != 2 {
		t.Fatalf("SUBSCRIBE #: got code %#x, want 2", code)
	}
	return r
}

// next is the next message as both clients see it.
func (r *round) next() (frame, brokertest.Message) {
	r.t.Helper()
	r.seen++
	return r.ws.waitMessages(r.seen)[r.seen-1], r.raw.WaitCount(r.seen, patience)[r.seen-1]
}

// arrives checks that the next message is topic and payload, byte for byte, at
// both clients, and returns the frame.
func (r *round) arrives(topic string, payload []byte) frame {
	r.t.Helper()
	f, m := r.next()
	if m.Topic != topic || !bytes.Equal(m.Payload, payload) {
		r.t.Errorf("MQTT: got %q on %q, want %q on %q", cut(m.Payload), m.Topic, cut(payload), topic)
	}
	got, err := f.Bytes()
	if err != nil || f.Topic != topic || !bytes.Equal(got, payload) {
		r.t.Errorf("WebSocket: got %q on %q (%v), want %q on %q", cut(got), f.Topic, err, cut(payload), topic)
	}
	if f.Retain || f.Cursor == "" {
		r.t.Errorf("WebSocket: got retain %t and cursor %q of a live message", f.Retain, f.Cursor)
	}
	return f
}

func cut(b []byte) string { return string(b[:min(len(b), 80)]) }

func TestJSONValueIsPublishedVerbatim(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	for _, value := range []string{
		`21.50`, `0`, `-0`, `-0.0`, `1E+2`, `1e400`, `12345678901234567890123456789`, `0.1000000000000000055511151231257827`,
		`true`, `false`, `null`, `[]`, `{}`, `[1, 2 ,3]`, `{"b": {"a": [null, {"x": 1.0}]}, "a": ""}`,
		`{"s":"\u00e4\ud83d\ude00<>&\u2028"}`, `"with \"quotes\" and \\"`,
	} {
		body, encoding := `{"topic":"json/value","payload":`+value+`}`, ""
		if value[0] == '"' {
			body = `{"topic":"json/value","payload":` + value + `,"encoding":"json"}`
		}
		if a := r.post(body); a.status != 200 {
			t.Fatalf("POST %s: got %d %s", body, a.status, a.body)
		}
		f := r.arrives("json/value", []byte(value))
		if encoding = f.Encoding; string(f.Payload) != value || encoding != wire.EncodingJSON {
			t.Errorf("got payload %s with encoding %s, want %s with encoding json", f.Payload, encoding, value)
		}
	}
}

func TestTextIsPublishedAsItsUTF8(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	var controls []byte
	for c := range byte(0x20) {
		controls = append(controls, c)
	}
	for _, tt := range []struct{ text, encoding string }{
		{"on", "text"}, {"", "text"}, {" ", "text"}, {"\n", "text"}, {" 1", "text"}, {"1\n", "text"}, {"01", "text"},
		{"Grüße 🦅", "text"}, {string(controls) + "\x7f", "text"}, {"\u2028\u2029\ufeff\ufffe\u0085", "text"},
		{`"`, "text"}, {`\`, "text"}, {"<script>&amp;", "text"}, {"NaN", "text"}, {"{\"a\":\n1}", "text"},
		{"21.50", "json"}, {`{"a":1}`, "json"}, {"null", "json"}, {`"on"`, "json"},
	} {
		text, _ := json.Marshal(tt.text)
		for _, encoding := range []string{``, `,"encoding":"text"`} {
			body := `{"topic":"text","payload":` + string(text) + encoding + `}`
			if a := r.post(body); a.status != 200 {
				t.Fatalf("POST %s: got %d %s", body, a.status, a.body)
			}
			if f := r.arrives("text", []byte(tt.text)); f.Encoding != tt.encoding {
				t.Errorf("%q: got encoding %s, want %s", tt.text, f.Encoding, tt.encoding)
			}
		}
	}
}

func TestEveryByteGoesRound(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	all := make([]byte, 256)
	for c := range 256 {
		all[c] = byte(c)
		r.postBase64([]byte{byte(c)})
		r.arrives("bytes", []byte{byte(c)})
	}
	r.postBase64(all)
	if f := r.arrives("bytes", all); f.Encoding != wire.EncodingBase64 {
		t.Errorf("got encoding %s, want base64", f.Encoding)
	}
}

func (r *round) postBase64(payload []byte) {
	r.t.Helper()
	body := fmt.Sprintf(`{"topic":"bytes","payload":%q,"encoding":"base64"}`, base64.StdEncoding.EncodeToString(payload))
	if a := r.post(body); a.status != 200 {
		r.t.Fatalf("POST of %d bytes: got %d %s", len(payload), a.status, a.body)
	}
}

func TestBinaryPayloadKeepsTheConnectionOpen(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	for _, payload := range []string{"\xff\xfe", "\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xc3"} {
		if err := r.raw.Publish("binary", []byte(payload), 1, false); err != nil {
			t.Fatal(err)
		}
		if f := r.arrives("binary", []byte(payload)); f.Encoding != wire.EncodingBase64 {
			t.Errorf("%q: got encoding %s, want base64", payload, f.Encoding)
		}
	}
	r.ws.sync()
}

func TestLargestPayloadGoesRound(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	const limit = 256 << 10
	text := strings.Repeat("x", limit)
	if a := r.post(`{"topic":"big","payload":"` + text + `"}`); a.status != 200 {
		t.Fatalf("%d bytes: got %d %s", limit, a.status, a.body)
	}
	r.arrives("big", []byte(text))
	binary := bytes.Repeat([]byte{0xff, 0}, limit/2)
	r.postBase64(binary)
	r.arrives("bytes", binary)
	controls := strings.Repeat(`\u0001`, limit) // the longest way to write it in JSON
	if a := r.post(`{"topic":"big","payload":"` + controls + `"}`); a.status != 200 {
		t.Fatalf("%d escaped bytes: got %d %s", limit, a.status, a.body)
	}
	r.arrives("big", bytes.Repeat([]byte{1}, limit))
	if a := r.post(`{"topic":"big","payload":"x` + text + `"}`); a.status != 413 || a.problem.Code != "payload_too_large" {
		t.Errorf("%d bytes: got %d %s, want 413 payload_too_large", limit+1, a.status, a.problem.Code)
	}
}

func TestTopicGoesRound(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	for _, topic := range []string{
		"a", "/", "//", "/a", "a/", "a//b", "a b", "Küche/Lampe 🦅", "a%2Fb", "a?b=c&d", `quo"te\`, "<b>", "a/$SYS",
		strings.Repeat("x", 1024), strings.Repeat("a/", 31) + "a",
	} {
		name, _ := json.Marshal(topic)
		if a := r.post(`{"topic":` + string(name) + `,"payload":"x"}`); a.status != 200 {
			t.Fatalf("%q: got %d %s", topic, a.status, a.body)
		}
		r.arrives(topic, []byte("x"))
		ws := r.dial("?topic=" + url.QueryEscape(topic))
		ws.wait("ack", func(f frame) bool {
			return f.Type == "ack" && len(f.Results) == 1 && f.Results[0] == wire.Result{Topic: topic, OK: true}
		})
	}
}

func TestStatusTellsTheQoS(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	for i, tt := range []struct {
		qos      string
		status   int
		delivery string
		wire     byte // at the MQTT client
	}{
		{`,"qos":0`, 202, "sent", 0}, {`,"qos":1`, 200, "acknowledged", 1}, {`,"qos":2`, 200, "acknowledged", 2}, {``, 200, "acknowledged", 1},
	} {
		a := r.post(`{"topic":"q","payload":"http"` + tt.qos + `}`)
		var res wire.PublishResult
		if err := json.Unmarshal([]byte(a.body), &res); err != nil {
			t.Fatalf("%s: %v", a.body, err)
		}
		if a.status != tt.status || res.Delivery != tt.delivery || res.Topic != "q" || res.QoS != tt.wire {
			t.Errorf("HTTP%s: got %d %s, want %d %s", tt.qos, a.status, a.body, tt.status, tt.delivery)
		}
		f, m := r.next()
		if m.QoS != tt.wire || f.QoS != 0 {
			t.Errorf("HTTP%s: got QoS %d over MQTT and %d over WebSocket, want %d and %d", tt.qos, m.QoS, f.QoS, tt.wire, 0)
		}
		id := strconv.Itoa(100 + i)
		r.ws.send(`{"op":"publish","id":` + id + `,"topic":"q","payload":"ws"` + tt.qos + `}`)
		p := r.ws.wait("published", func(f frame) bool { return f.Type == "published" && string(f.ID) == id })
		if p.Status != tt.status || p.Delivery != tt.delivery || p.Topic != "q" || p.QoS != tt.wire {
			t.Errorf("WebSocket%s: got %s, want %d %s", tt.qos, p.raw, tt.status, tt.delivery)
		}
		if _, m := r.next(); m.QoS != tt.wire || string(m.Payload) != "ws" {
			t.Errorf("WebSocket%s: got %q at QoS %d, want ws at %d", tt.qos, m.Payload, m.QoS, tt.wire)
		}
	}
}

func TestRetainedIsSentOnceToEachNewSubscriber(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	if a := r.post(`{"topic":"pi/1/led","payload":"on","retain":true}`); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	r.arrives("pi/1/led", []byte("on"))
	for _, filter := range []string{"pi/1/led", "pi/+/led", "#"} {
		ws := r.dial("")
		ws.subscribe(filter, "pi/#")
		f := ws.waitMessages(1)[0]
		if f.Topic != "pi/1/led" || string(f.Payload) != `"on"` || !f.Retain || f.Cursor != "" {
			t.Errorf("%s: got %s, want it with retain and without cursor", filter, f.raw)
		}
		r.post(`{"topic":"live","payload":1}`)
		if filter == "#" {
			ws.waitMessages(2)
		}
		r.arrives("live", []byte("1"))
		ws.sync()
		want := 1
		if filter == "#" {
			want = 2
		}
		if got := ws.messages(); len(got) != want {
			t.Errorf("%s: got %d messages, want %d: %s", filter, len(got), want, lastFrames(got))
		}
	}
	r.ws.sync()
	for _, f := range r.ws.messages() {
		if f.Retain {
			t.Errorf("the first subscriber got a copy again: %s", f.raw)
		}
	}
}

func TestEmptyRetainedPayloadIsRefused(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	for _, body := range []string{`{"topic":"a","payload":"","retain":true}`, `{"topic":"a","payload":"","encoding":"base64","retain":true}`} {
		if a := r.post(body); a.status != 422 || a.problem.Code != "would_clear_retained" {
			t.Errorf("%s: got %d %s, want 422 would_clear_retained", body, a.status, a.problem.Code)
		}
	}
	if a := r.post(`{"topic":"a","payload":""}`); a.status != 200 {
		t.Errorf("empty payload: got %d, want 200", a.status)
	}
	r.arrives("a", nil)
}

// A refused message never reaches the broker, which would cut the connection
// of everybody.
func TestBadTopicNeverReachesTheBroker(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	connections := r.broker.Connections()
	for body, want := range map[string]string{
		`{"topic":"a/+","payload":1}`: "topic_wildcard", `{"topic":"a/#","payload":1}`: "topic_wildcard", `{"topic":"","payload":1}`: "topic_required",
		`{"topic":"a\u0000b","payload":1}`: "topic_control_char", `{"topic":"\u0001","payload":1}`: "topic_control_char",
		`{"topic":"\ufffe","payload":1}`: "topic_noncharacter", `{"topic":"$SYS/x","payload":1}`: "topic_reserved",
		`{"topic":"\ud800","payload":1}`: "invalid_unicode", "{\"topic\":\"\xff\",\"payload\":1}": "invalid_utf8",
		`{"topic":"` + strings.Repeat("a/", 200) + `","payload":1}`: "topic_too_deep", `{"topic":"` + strings.Repeat("a", 65536) + `","payload":1}`: "topic_too_long",
	} {
		if a := r.post(body); a.status < 400 || a.status >= 500 || string(a.problem.Code) != want {
			t.Errorf("%.60q: got %d %s, want %s", body, a.status, a.problem.Code, want)
		}
		r.ws.send(strings.Replace(strings.ToValidUTF8(body, "\x01"), "{", `{"op":"publish","id":1,`, 1))
	}
	r.post(`{"topic":"good","payload":1}`)
	r.arrives("good", []byte("1"))
	if got := r.broker.Connections(); got != connections {
		t.Errorf("connections at the broker: got %d, want %d", got, connections)
	}
}
