package wire_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/wire"
)

// jsonText draws a JSON text of any shape, with the odd white space.
func jsonText(t *rapid.T, depth int) string {
	space := rapid.SampledFrom([]string{"", "", " ", "\t", "\n", "\r"})
	kinds := 6
	if depth == 0 {
		kinds = 4
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "word")
	case 1:
		return rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "number")
	case 2:
		b, _ := json.Marshal(rapid.String().Draw(t, "string"))
		return string(b)
	case 3:
		return string(wire.AppendString(nil, rapid.String().Draw(t, "raw string")))
	case 4:
		var items []string
		for range rapid.IntRange(0, 3).Draw(t, "items") {
			items = append(items, space.Draw(t, "space")+jsonText(t, depth-1))
		}
		return "[" + strings.Join(items, ",") + space.Draw(t, "space") + "]"
	default:
		var members []string
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			name := wire.AppendString(nil, rapid.String().Draw(t, "name"))
			members = append(members, string(name)+space.Draw(t, "space")+":"+jsonText(t, depth-1))
		}
		return "{" + strings.Join(members, ",") + space.Draw(t, "space") + "}"
	}
}

// payloads draws bytes of every kind that devices send.
func payloads() *rapid.Generator[[]byte] {
	text := rapid.Custom(func(t *rapid.T) []byte { return []byte(jsonText(t, 3)) })
	return rapid.OneOf(
		rapid.SliceOf(rapid.Byte()),
		rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }),
		text,
		rapid.Custom(func(t *rapid.T) []byte { // JSON with something around it
			around := rapid.SampledFrom([]string{"", " ", "\n", "\r\n", "\t", "\x00", "\ufeff", "\xff", ",", "}"})
			return []byte(around.Draw(t, "before") + string(text.Draw(t, "text")) + around.Draw(t, "behind"))
		}),
		rapid.Map(rapid.SliceOf(rapid.SampledFrom([]string{"\x00", "\x1f", "\x7f", "\u2028", "\u2029", "\u0085", "\ufeff", "\ufffd", `"`, `\`, `\u`, "\n", "\r", "a", "é", "🌡", "\xc3", "\xed\xa0\x80"})),
			func(s []string) []byte { return []byte(strings.Join(s, "")) }),
	)
}

// properties draws those of MQTT 5, few or many, and none.
func properties() *rapid.Generator[*wire.Properties] {
	return rapid.Custom(func(t *rapid.T) *wire.Properties {
		if rapid.Bool().Draw(t, "none") {
			return nil
		}
		text, name := rapid.String(), rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a", "b", "c"}))
		p := &wire.Properties{
			ContentType: text.Draw(t, "content type"), Expires: rapid.Bool().Draw(t, "expires"), Expiry: rapid.Uint32().Draw(t, "expiry"),
			ResponseTopic: text.Draw(t, "response topic"), Correlation: rapid.SliceOf(rapid.Byte()).Draw(t, "correlation"),
		}
		for range rapid.SampledFrom([]int{0, 1, 2, 5, 40}).Draw(t, "user properties") {
			p.User = append(p.User, wire.UserProperty{Name: name.Draw(t, "name"), Value: text.Draw(t, "value")})
		}
		return p
	})
}

func fields() *rapid.Generator[*wire.Fields] {
	return rapid.Custom(func(t *rapid.T) *wire.Fields {
		var value []byte
		if rapid.Bool().Draw(t, "decoded") {
			value = []byte(strings.NewReplacer("\n", " ", "\r", " ").Replace(jsonText(t, 3)))
		}
		return &wire.Fields{
			Topic:   rapid.String().Draw(t, "topic"),
			Payload: payloads().Draw(t, "payload"),
			Value:   value, DecodeError: rapid.OneOf(rapid.Just(""), rapid.String()).Draw(t, "decode error"),
			QoS:        rapid.ByteRange(0, 2).Draw(t, "qos"),
			Retain:     rapid.Bool().Draw(t, "retain"),
			Time:       time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "time")),
			Properties: properties().Draw(t, "properties"),
			Epoch:      rapid.StringMatching(`|[0-9a-z]{12}`).Draw(t, "epoch"),
			Seq:        rapid.Uint64().Draw(t, "seq"),
		}
	})
}

func TestAnyMessageRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkMessage(t, fields().Draw(t, "fields")) })
}

// The encoding says no more and no less than what the payload is.
func TestEncodingTellsWhatThePayloadIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payload := payloads().Draw(t, "payload")
		want := wire.EncodingText
		switch {
		case !utf8.Valid(payload):
			want = wire.EncodingBase64
		case json.Valid(payload) && bytes.Equal(bytes.Trim(payload, " \t\r\n"), payload) && !bytes.ContainsAny(payload, "\r\n"):
			want = wire.EncodingJSON
		}
		if got := wire.PayloadEncoding(payload); got != want {
			t.Errorf("%q: got %s, want %s", payload, got, want)
		}
	})
}

func TestAnyStringRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.String().Draw(t, "s")
		encoded := wire.AppendString(nil, want)
		var got string
		if err := json.Unmarshal(encoded, &got); err != nil || got != want {
			t.Errorf("%s: got %q %v, want %q", encoded, got, err, want)
		}
		if again := wire.AppendString(nil, []byte(want)); !bytes.Equal(again, encoded) {
			t.Errorf("as bytes: got %s, want %s", again, encoded)
		}
	})
}

// Frames survive encoding and decoding, whatever is in them.
func TestFramesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, frame := range drawFrames(t) {
			body, err := json.Marshal(frame)
			if err != nil {
				t.Fatalf("%T: %v", frame, err)
			}
			if bytes.ContainsAny(body, "\n\r") {
				t.Errorf("%T: got %s, want one line", frame, body)
			}
			back := reflect.New(reflect.TypeOf(frame).Elem()).Interface()
			dec := json.NewDecoder(bytes.NewReader(body))
			dec.DisallowUnknownFields()
			if err := dec.Decode(back); err != nil {
				t.Fatalf("%T: %v: %s", frame, err, body)
			}
			if !reflect.DeepEqual(back, frame) {
				t.Errorf("got %+v, want %+v: %s", back, frame, body)
			}
		}
	})
}

func drawFrames(t *rapid.T) []any {
	text := rapid.String()
	id := rapid.OneOf(
		rapid.Just(json.RawMessage(nil)),
		rapid.SampledFrom([]json.RawMessage{json.RawMessage("1"), json.RawMessage("1.50"), json.RawMessage(`"s-2"`)}),
	).Draw(t, "id")
	at := time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "time")).UTC()
	yes := rapid.Bool().Draw(t, "bool")
	n := rapid.IntRange(1, 1<<30).Draw(t, "n")
	problem := &wire.Problem{
		Type: text.Draw(t, "type"), Title: text.Draw(t, "title"), Status: n, Detail: text.Draw(t, "detail"), Code: wire.Code(text.Draw(t, "code")),
		Retryable: yes, RequestID: text.Draw(t, "request"), ReasonCode: n, Errors: []wire.FieldError{{Pointer: text.Draw(t, "pointer"), Detail: "x"}},
	}
	result := &wire.PublishResult{Topic: text.Draw(t, "topic"), QoS: 2, Delivery: "acknowledged", Subscribers: wire.SubscribersNone, TookMS: float64(n) / 1000}
	return []any{
		&wire.Welcome{Type: "welcome", Epoch: text.Draw(t, "epoch"), Cursor: text.Draw(t, "cursor"), Limits: wire.Limits{MaxPayload: n, MaxFrame: n, MaxFilters: n, MaxInFlight: n, QueueBytes: n}},
		&wire.Ack{Type: "ack", ID: id, Results: []wire.Result{{Topic: text.Draw(t, "filter"), OK: yes, Status: n, Code: "x", Detail: "y", Retryable: &yes, WasSubscribed: &yes}}, Resumed: &yes, Cursor: "e-1"},
		&wire.Published{Type: "published", ID: id, Status: 200, PublishResult: result},
		&wire.Gap{Type: "gap", After: "e-1", Before: "e-2", Reason: wire.GapBrokerOverflow, Certain: yes},
		&wire.Broker{Type: "broker", Connected: yes, Since: at},
		&wire.ErrorFrame{Type: "error", ID: id, Problem: problem},
		&wire.Pong{Type: "pong", ID: id},
		&wire.Health{Status: "ready", Checks: map[string]string{"publish": text.Draw(t, "check")}},
	}
}

// FuzzMessage: no payload and no topic breaks the encoding.
func FuzzMessage(f *testing.F) {
	for _, g := range golden {
		f.Add(g.Topic, g.Payload, g.QoS, g.Retain, g.Epoch != "", g.Seq)
	}
	f.Fuzz(func(t *testing.T, topic string, payload []byte, qos byte, retain, cursor bool, seq uint64) {
		if !utf8.ValidString(topic) {
			return // topics are UTF-8
		}
		fields := wire.Fields{Topic: topic, Payload: payload, QoS: qos % 3, Retain: retain, Time: when, Seq: seq}
		if cursor {
			fields.Epoch = "k3f9c2m4q8z1"
		}
		checkMessage(t, &fields)
	})
}
