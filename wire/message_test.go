package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/wire"
)

var when = time.Date(2026, 11, 23, 3, 40, 59, 123456789, time.FixedZone("CET", 3600))

// golden are messages whose encoding is written down in testdata: what clients
// of any language get to read. UPDATE_GOLDEN=1 writes the files anew.
var golden = []struct {
	name string
	wire.Fields
}{
	{"number", wire.Fields{Topic: "pi/3/battery", Payload: []byte("21.50"), QoS: 1, Epoch: "k3f9c2", Seq: 1042}},
	{"zero", wire.Fields{Topic: "pi/3/led", Payload: []byte("0"), Epoch: "k3f9c2", Seq: 1}},
	{"true", wire.Fields{Topic: "pi/3/led", Payload: []byte("true"), QoS: 2, Epoch: "k3f9c2", Seq: 2}},
	{"null", wire.Fields{Topic: "pi/3/led", Payload: []byte("null"), Epoch: "k3f9c2", Seq: 3}},
	{"object", wire.Fields{Topic: "pi/3/status", Payload: []byte(`{"b": 1.0, "a":[1e3,"\u00e9"]}`), QoS: 1, Epoch: "k3f9c2", Seq: 4}},
	{"quoted", wire.Fields{Topic: "pi/3/led", Payload: []byte(`"on"`), Epoch: "k3f9c2", Seq: 5}},
	{"text", wire.Fields{Topic: "pi/3/led", Payload: []byte("on"), QoS: 1, Epoch: "k3f9c2", Seq: 6}},
	{"empty", wire.Fields{Topic: "pi/3/wake", Epoch: "k3f9c2", Seq: 7}},
	{"spaced", wire.Fields{Topic: "pi/3/battery", Payload: []byte(" 21.50\n"), Epoch: "k3f9c2", Seq: 8}},
	{"lines", wire.Fields{Topic: "pi/3/status", Payload: []byte("{\n\t\"a\": 1\r\n}"), Epoch: "k3f9c2", Seq: 9}},
	{"control", wire.Fields{Topic: "pi/3/log", Payload: []byte("a\x00\b\x1b\"\\/\x7f<&>"), Epoch: "k3f9c2", Seq: 10}},
	{"unicode", wire.Fields{Topic: "küche/🌡", Payload: []byte("21 °C\u2028\ufffd🌡"), Epoch: "k3f9c2", Seq: 11}},
	{"binary", wire.Fields{Topic: "pi/3/frame", Payload: []byte("\xde\xad\xbe\xef"), Epoch: "k3f9c2", Seq: 12}},
	{"not_json", wire.Fields{Topic: "pi/3/battery", Payload: []byte("021.50"), Epoch: "k3f9c2", Seq: 13}},
	{"retained", wire.Fields{Topic: "pi/3/mode", Payload: []byte("eco"), QoS: 1, Retain: true}},
	{"value", wire.Fields{Topic: "tele/3/POWER", Payload: []byte("ON"), Value: []byte("true"), QoS: 1, Epoch: "k3f9c2", Seq: 14}},
	{"value_null", wire.Fields{Topic: "pi/3/imu", Payload: []byte("\xc0"), Value: []byte("null"), Epoch: "k3f9c2", Seq: 15}},
	{"value_object", wire.Fields{Topic: "pi/3/imu", Payload: []byte("\x82\xa1b\x01\xa1a\xa2\"\n"), Value: []byte(`{"b":1,"a":"\"\n"}`), QoS: 1, Retain: true}},
	{"decode_error", wire.Fields{Topic: "pi/3/imu", Payload: []byte("\x92\x01"), DecodeError: `The payload "ends" too early.`, QoS: 1, Epoch: "k3f9c2", Seq: 16}},
	{"topic_escaped", wire.Fields{Topic: `a"b\c`, Payload: []byte("1"), Epoch: "k3f9c2", Seq: 18446744073709551615}},
}

func TestGoldenMessages(t *testing.T) {
	written := map[string]bool{}
	for _, g := range golden {
		f := g.Fields
		f.Time = when
		got, _ := wire.AppendMessage(nil, &f)
		got = append(got, '\n')
		file := filepath.Join("testdata", "message_"+g.name+".json")
		written[file] = true
		if os.Getenv("UPDATE_GOLDEN") == "1" {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got\n%swant\n%s", g.name, got, want)
		}
	}
	files, err := filepath.Glob("testdata/message_*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !written[file] {
			t.Errorf("%s belongs to no message", file)
		}
	}
}

func TestPayloadEncoding(t *testing.T) {
	for payload, want := range map[string]string{
		"21.50": "json", "0": "json", "-0.0": "json", "1e999": "json", "true": "json", "null": "json", `""`: "json", `"on"`: "json", "{}": "json",
		"[ 1,\t2 ]": "json", `{"a":1,"a":2}`: "json", "\"\u2028\"": "json",
		"": "text", "on": "text", "NaN": "text", "false": "json", "-": "text", "1-2": "text", "nul": "text", "trueish": "text", `"a": 1`: "text", `"`: "text", "{]": "text", "[}": "text", "+1": "text", "01": "text", ".5": "text", "tru": "text", "{": "text", "'a'": "text",
		" 1": "text", "1 ": "text", "1\n": "text", "\t1": "text", "{\n}": "text", "{\r}": "text", "[1]\r": "text", "1 2": "text",
		"\x00": "text", "\u2028": "text", "\ufeff1": "text",
		"\xff": "base64", "on\xc0\x80": "base64", "\"\xed\xa0\x80\"": "base64",
	} {
		if got := wire.PayloadEncoding([]byte(payload)); got != want {
			t.Errorf("%q: got %s, want %s", payload, got, want)
		}
	}
}

func TestEverySingleByteRoundTrips(t *testing.T) {
	for b := range 256 {
		payload := []byte{byte(b)}
		checkMessage(t, &wire.Fields{Topic: "a", Payload: payload, Time: when, Epoch: "e", Seq: 1})
		checkMessage(t, &wire.Fields{Topic: "a", Payload: append([]byte("x"), payload...), Time: when})
		checkMessage(t, &wire.Fields{Topic: "a", Payload: []byte{'"', byte(b), '"'}, Time: when})
	}
}

func TestNumbersStayVerbatim(t *testing.T) {
	for _, payload := range []string{"21.50", "0", "-0", "1E+2", "100000000000000000000000.000", "0.1000000000000000055511151231257827"} {
		body, l := wire.AppendMessage(nil, &wire.Fields{Topic: "a", Payload: []byte(payload), Time: when})
		if got := string(body[l.Payload:l.PayloadEnd]); got != payload {
			t.Errorf("got %s, want %s", got, payload)
		}
	}
}

// errorer is what a test and a fuzz run of a property have in common.
type errorer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// checkMessage holds everything that is promised about the encoding of f.
func checkMessage(t errorer, f *wire.Fields) {
	t.Helper()
	const before = "before "
	whole, l := wire.AppendMessage([]byte(before), f)
	if !strings.HasPrefix(string(whole), before) {
		t.Fatalf("got %q, want it behind %q", whole, before)
	}
	body := whole[len(before):]
	if bytes.ContainsAny(body, "\n\r") {
		t.Errorf("got %q, want one line", body)
	}
	m := parse(t, body)
	want := wire.Message{
		Type: "message", Topic: f.Topic, Encoding: wire.PayloadEncoding(f.Payload), QoS: f.QoS, Retain: f.Retain,
		Time: f.Time.UTC().Truncate(time.Microsecond), Payload: m.Payload,
		Value: f.Value, DecodeError: f.DecodeError,
	}
	if len(f.Value) > 0 {
		want.DecodeError = "" // there is a value or a reason why there is none
	}
	if f.Epoch != "" {
		want.Cursor = string(wire.AppendCursor(nil, f.Epoch, f.Seq))
	}
	if p := f.Properties; p != nil {
		want.ContentType, want.ResponseTopic, want.Correlation = p.ContentType, p.ResponseTopic, p.Correlation
		if p.Expires {
			want.Expiry = fmt.Sprintf("%ds", p.Expiry)
		}
		for _, u := range p.User {
			if want.UserProperties == nil {
				want.UserProperties = map[string]wire.Strings{}
			}
			want.UserProperties[u.Name] = append(want.UserProperties[u.Name], u.Value)
		}
	}
	sameMessage(t, m, &want)
	payload, err := m.Bytes()
	if err != nil || !bytes.Equal(payload, f.Payload) {
		t.Errorf("got payload %q %v, want %q", payload, err, f.Payload)
	}
	checkLayout(t, body, l, f)
	cut := append(bytes.Clone(body[:l.Cut]), '}')
	want.Cursor = ""
	sameMessage(t, parse(t, cut), &want)
}

func checkLayout(t errorer, body []byte, l wire.Layout, f *wire.Fields) {
	t.Helper()
	if l.Encoding != wire.PayloadEncoding(f.Payload) {
		t.Errorf("got layout with encoding %s, want %s", l.Encoding, wire.PayloadEncoding(f.Payload))
	}
	embedded := body[l.Payload:l.PayloadEnd]
	if l.Encoding == wire.EncodingJSON && !bytes.Equal(embedded, f.Payload) {
		t.Errorf("got %q embedded, want %q verbatim", embedded, f.Payload)
	}
	if got, err := wire.DecodePayload(embedded, l.Encoding); err != nil || !bytes.Equal(got, f.Payload) {
		t.Errorf("the layout's payload decodes to %q %v, want %q", got, err, f.Payload)
	}
	retain := "false,"
	if f.Retain {
		retain = "true,"
	}
	if !bytes.HasPrefix(body[l.Retain:], []byte(retain)) {
		t.Errorf("got %q at the layout's retain, want %s", body[l.Retain:], retain)
	}
	if l.Properties > l.Cut || body[l.Properties-1] != '"' || l.Properties < l.Cut && body[l.Properties] != ',' {
		t.Errorf("got %q at the layout's properties", body[l.Properties:])
	}
	tail := "}"
	if f.Epoch != "" {
		tail = `,"cursor":"` + string(wire.AppendCursor(nil, f.Epoch, f.Seq)) + `"}`
	}
	if got := string(body[l.Cut:]); got != tail {
		t.Errorf("got %q behind the cut, want %q", got, tail)
	}
	middle := `,"encoding":"` + l.Encoding + `"`
	if len(f.Value) > 0 {
		middle += `,"value":` + string(f.Value)
	} else if f.DecodeError != "" {
		middle += `,"decode_error":` + string(wire.AppendString(nil, f.DecodeError))
	}
	if got := string(body[l.PayloadEnd:]); !strings.HasPrefix(got, middle+`,"qos":`) {
		t.Errorf("got %q behind the payload, want %q and then the QoS", got, middle)
	}
}

// parse reads a message as a client does, and refuses fields that a client
// does not know.
func parse(t errorer, body []byte) *wire.Message {
	t.Helper()
	var m wire.Message
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil || int(dec.InputOffset()) != len(body) {
		t.Fatalf("not one JSON object: %v: %.200q", err, body)
	}
	return &m
}

func sameMessage(t errorer, got, want *wire.Message) {
	t.Helper()
	if got.Type != want.Type || got.Topic != want.Topic || !bytes.Equal(got.Payload, want.Payload) || got.Encoding != want.Encoding ||
		!bytes.Equal(got.Value, want.Value) || got.DecodeError != want.DecodeError || got.QoS != want.QoS || got.Retain != want.Retain || !got.Time.Equal(want.Time) || got.Cursor != want.Cursor || got.Skipped != want.Skipped ||
		got.ContentType != want.ContentType || got.Expiry != want.Expiry || got.ResponseTopic != want.ResponseTopic ||
		!bytes.Equal(got.Correlation, want.Correlation) || !reflect.DeepEqual(got.UserProperties, want.UserProperties) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTimeIsUTCWithMicroseconds(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{when, "2026-11-23T02:40:59.123456Z"},
		{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "2026-01-02T03:04:05.000000Z"},
		{time.Date(2026, 1, 2, 3, 4, 5, 999_999_999, time.UTC), "2026-01-02T03:04:05.999999Z"},
	} {
		if got := string(wire.AppendTime(nil, c.at)); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestDecodePayloadRefuses(t *testing.T) {
	for _, c := range []struct{ payload, encoding string }{
		{`1`, "text"}, {`{}`, "base64"}, {`"?"`, "base64"}, {`"3q2+7w"`, "base64"}, {`"3q2-7w=="`, "base64"}, {`"3q2+7x=="`, "base64"},
		{`"a"`, "hex"}, {`"a"`, ""}, {`"a`, "text"}, {``, "text"},
	} {
		if got, err := wire.DecodePayload([]byte(c.payload), c.encoding); err == nil {
			t.Errorf("%s as %q: got %q, want an error", c.payload, c.encoding, got)
		}
	}
}

func TestAppendMessageAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 1024)
	for i, payload := range []string{"21.50", `{"a":[1,2]}`, "on\n", "\xff", "1 of 2", "12.5 C", "not yet", "true!", `"a" and b`, "[info] up", "{} and more"} {
		f := wire.Fields{Topic: "pi/3/battery", Payload: []byte(payload), Time: when, Epoch: "k3f9c2", Seq: 1}
		if i == 4 {
			f.Properties = &wire.Properties{ContentType: "a/b", Expires: true, Correlation: []byte("c"), User: []wire.UserProperty{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}}}
		}
		if i == 2 {
			f.Value = []byte("true")
		} else if i == 3 {
			f.DecodeError = "The payload ends too early."
		}
		if got := testing.AllocsPerRun(100, func() { _, _ = wire.AppendMessage(buf, &f) }); got != 0 {
			t.Errorf("%q: got %v allocations, want none", payload, got)
		}
	}
}

func TestPublishResultIsWhatEncodingJSONWrites(t *testing.T) {
	for _, r := range []wire.PublishResult{
		{Topic: "a", QoS: 1, Delivery: "acknowledged", TookMS: 0.812}, {Topic: "caf\u00e9/\"\\\x01", Delivery: "sent", TookMS: 0}, {Topic: "<&>", QoS: 2, Delivery: "acknowledged", TookMS: 5000.123},
		{Topic: "a", QoS: 1, Delivery: "acknowledged", Subscribers: wire.SubscribersNone, TookMS: 1},
	} {
		var got wire.PublishResult
		b := wire.AppendPublishResult(nil, &r)
		if err := json.Unmarshal(b, &got); err != nil || got != r {
			t.Errorf("got %s %v, want %+v", b, err, r)
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	for name, payload := range map[string]string{"json": `{"battery":21.50,"state":"ok"}`, "text": strings.Repeat("x", 100), "base64": strings.Repeat("\xff", 100)} {
		f := wire.Fields{Topic: "pi/3/status", Payload: []byte(payload), QoS: 1, Time: time.Unix(1700000000, 0), Epoch: "k3f9c2m4q8z1", Seq: 1042}
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = wire.AppendMessage(buf[:0], &f)
			}
		})
	}
}
