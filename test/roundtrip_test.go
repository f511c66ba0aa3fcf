package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/wire"
)

// publishRoutes are all ways to publish a payload to a topic.
var publishRoutes = []struct {
	name string
	send func(r *round, topic string, payload []byte) (status int, detail string)
}{
	{"POST /publish", func(r *round, topic string, payload []byte) (int, string) {
		a := r.mustSend("POST", "/publish", publishObject(topic, payload), "Content-Type: application/json")
		return a.status, a.body
	}},
	{"POST /publish/batch", func(r *round, topic string, payload []byte) (int, string) {
		body := append(append([]byte("["), publishObject(topic, payload)...), ']')
		a := r.mustSend("POST", "/publish/batch", body, "Content-Type: application/json")
		return a.status, a.body
	}},
	{"POST /publish/batch, NDJSON", func(r *round, topic string, payload []byte) (int, string) {
		a := r.mustSend("POST", "/publish/batch", publishObject(topic, payload), "Content-Type: application/x-ndjson")
		if !strings.HasPrefix(a.body, `{"index":0,"status":200,`) {
			return 0, a.body
		}
		return a.status, a.body
	}},
	{"POST /topics/{topic}", func(r *round, topic string, payload []byte) (int, string) {
		a := r.mustSend("POST", topicPath("/topics/", topic), payload, "Content-Type: application/octet-stream")
		return a.status, a.body
	}},
	{"PUT /topics/{topic}", func(r *round, topic string, payload []byte) (int, string) {
		method := "PUT"
		if len(payload) == 0 {
			method = "POST" // an empty one would clear
		}
		a := r.mustSend(method, topicPath("/topics/", topic), payload)
		return a.status, a.body
	}},
	{"POST /request/{topic}", func(r *round, topic string, payload []byte) (int, string) {
		a := r.mustSend("POST", topicPath("/request/", topic)+"?reply="+url.QueryEscape(topic), payload)
		return a.status, a.body
	}},
	{"WebSocket", func(r *round, topic string, payload []byte) (int, string) {
		op := append([]byte(`{"op":"publish","id":"`+opID(topic)+`",`), publishObject(topic, payload)[1:]...)
		r.ws.send(string(op))
		f := r.ws.wait("published", func(f frame) bool {
			return (f.Type == "published" || f.Type == "error") && string(f.ID) == `"`+opID(topic)+`"`
		})
		return f.Status, f.raw
	}},
	{"MQTT", func(r *round, topic string, payload []byte) (int, string) {
		if err := r.raw.Publish(topic, payload, 1, false); err != nil {
			return 0, err.Error()
		}
		return 200, ""
	}},
}

// opID is the number that every topic begins with.
func opID(topic string) string { return topic[:6] }

func publishObject(topic string, payload []byte) []byte {
	b, _ := json.Marshal(map[string]any{"topic": topic, "payload": payload, "encoding": "base64"})
	return b
}

// anyPayload is bytes of all kinds: text, JSON in many spellings, and binary.
func anyPayload() *rapid.Generator[[]byte] {
	text := rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) })
	return rapid.OneOf(text, rapid.SliceOfN(rapid.Byte(), 0, 300), rapid.SampledFrom([][]byte{
		{}, []byte("0"), []byte("21.50"), []byte(" 1"), []byte("1\n"), []byte("{\"a\":\r\n1}"), []byte(`{"a": [1, 2]}`), []byte(`"on"`), []byte("\u2028"),
		{0}, {0xff, 0xfe}, {'\n'}, []byte("data: x\n\nid: 9\nevent: gap\n\n"), []byte("\"\\ud800\""), []byte(strings.Repeat("[", 65)), []byte("e\u0301"), bytes.Repeat([]byte{0x80}, 70000),
	}))
}

// Whatever is published by any route comes back, byte for byte, by every route
// that reads.
func TestEveryByteComesBackByEveryRoute(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	sse, ndjson, text := r.stream(t, "sse"), r.stream(t, "ndjson"), r.stream(t, "text")
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		route := rapid.SampledFrom(publishRoutes).Draw(rt, "route")
		payload := anyPayload().Draw(rt, "payload")
		n++
		topic := fmt.Sprintf("%06d/%s", n, rapid.SampledFrom([]string{"a", "a b", "//", "%2F", "caf\u00e9/\u20ac", "a?b=c&d", "\"\\"}).Draw(rt, "topic"))
		if status, detail := route.send(r, topic, payload); status != 200 {
			rt.Fatalf("%s: got %d %s, want 200", route.name, status, detail)
		}
		r.arrives(topic, payload)
		same := func(reader string, got []byte, err error) {
			if err != nil || !bytes.Equal(got, payload) {
				rt.Fatalf("%s, read by %s: got %.100q %v, want %.100q", route.name, reader, got, err, payload)
			}
		}
		object := func(reader, body string) {
			var m wire.Message
			if err := json.Unmarshal([]byte(body), &m); err != nil || m.Topic != topic {
				rt.Fatalf("%s, read by %s: got %.300s %v, want a message on %s", route.name, reader, body, err, topic)
			}
			got, err := m.Bytes()
			same(reader, got, err)
		}
		const message = `{"type":"message"`
		object("SSE", message+sse.next("data: "+message))
		object("NDJSON", message+ndjson.next(message))
		got, err := textLine(text.next(""), payload)
		same("text", got, err)
		a := r.mustSend("GET", topicPath("/topics/", topic), nil)
		same("GET /topics/{topic}", []byte(a.body), nil)
		object("GET /topics/{topic} as JSON", r.mustSend("GET", topicPath("/topics/", topic), nil, "Accept: application/json").body)
		array := func(path string) string {
			return strings.TrimSuffix(strings.TrimPrefix(r.mustSend("GET", path+"?filter="+url.QueryEscape(topic), nil).body, "["), "]\n")
		}
		object("GET /history", array("/history"))
		if len(payload) > 0 { // an empty message is no value in a list
			object("GET /topics", array("/topics"))
		}
	})
}

// textLine undoes what format=text does to a payload with line breaks, or that
// is not UTF-8.
func textLine(line string, payload []byte) ([]byte, error) {
	switch wire.PayloadEncoding(payload) {
	case wire.EncodingBase64:
		return wire.DecodePayload([]byte(line), wire.EncodingBase64)
	case wire.EncodingText:
		if bytes.ContainsAny(payload, "\r\n") {
			return wire.DecodePayload([]byte(line), wire.EncodingText)
		}
	}
	return []byte(line), nil
}
