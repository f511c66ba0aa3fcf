package hub

import (
	"bytes"
	"github.com/vulturepi/gateway/internal/hub/message"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// decoder knows three topics.
func decoder(topic string, payload []byte) ([]byte, string) {
	switch {
	case strings.HasSuffix(topic, "/good"):
		return append([]byte(`{"was":`), append(payload, '}')...), ""
	case strings.HasSuffix(topic, "/bad"):
		return nil, "The payload is bad."
	case strings.HasSuffix(topic, "/broken"):
		panic("secret " + string(payload))
	}
	return nil, ""
}

// wantDecoded checks what messages say about their values.
func wantDecoded(t *testing.T, what string, objects ...[]byte) {
	t.Helper()
	for _, m := range parse(t, bytes.Join(objects, []byte("\n"))) {
		wantValue(t, what, m)
	}
}

func wantValue(t *testing.T, what string, m frame) {
	t.Helper()
	value, problem := "", ""
	switch {
	case strings.HasSuffix(m.Topic, "/good"):
		value = `{"was":` + string(m.Payload) + `}`
	case strings.HasSuffix(m.Topic, "/bad"):
		problem = "The payload is bad."
	case strings.HasSuffix(m.Topic, "/broken"):
		problem = problemPanic
	}
	if string(m.Value) != value || m.DecodeError != problem || len(m.Payload) == 0 {
		t.Errorf("%s: got %+v, want value %q, decode_error %q", what, m, value, problem)
	}
}

var decodedTopics = []string{"a/good", "a/bad", "a/broken", "a/other"}

// Live, in the history, as a snapshot and as a retained copy a message says
// the same about its value, and it is decoded where it is made.
func TestValueStandsInEveryCopy(t *testing.T) {
	b := newBroker()
	b.retained = func(string) ([]Inbound, error) {
		return []Inbound{live("r/good", "1"), live("r/bad", "2"), live("r/broken", "3"), live("r/other", "4"), live("a/good", "5")}, nil
	}
	var log bytes.Buffer
	h := setup(t, b, Options{HistoryBytes: 1 << 20, Decode: decoder, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, topic := range decodedTopics {
		h.Ingest(live(topic, "21.50"))
		h.Ingest(Inbound{Topic: "k" + topic, Payload: []byte("7"), Retain: true}) // told of once, and remembered
	}
	objects := h.History("#", nil, 100, nil).Objects
	if len(objects) != 4 {
		t.Fatalf("history: got %d objects, want 4", len(objects))
	}
	wantDecoded(t, "history", objects...)
	c, tap := attach(t, h)
	req := ok("#")
	req.Snapshot = true
	c.Subscribe(t.Context(), req)
	h.Ingest(live("l/good", "9"))
	h.Ingest(live("l/broken", "9"))
	for _, f := range tap.wait(t, count(1+12+1+2)) { // an ack, the snapshot, its end, two live ones
		if f.Type == "message" {
			wantValue(t, "stream", f)
		}
	}
	if got := log.String(); strings.Contains(got, "secret") || !strings.Contains(got, "topic=a/broken") {
		t.Errorf("log: got %q, want the topic and nothing of the payload", got)
	}
}

// A copy that becomes retained on its way keeps its value.
func TestValueOutlivesRetain(t *testing.T) {
	h := setup(t, newBroker(), Options{Decode: decoder})
	for _, topic := range decodedTopics {
		in := live(topic, "1")
		m := h.encode(in, time.Now())
		m.Stamp("e", 1)
		r := m.AsRetained()
		wantDecoded(t, "retained", r.JSON)
		wantDecoded(t, "copy", r.WithoutCursor().JSON)
		wantDecoded(t, "throttled", m.Body(message.Form{Skipped: 3}, "e"))
		if !bytes.Contains(r.JSON, []byte(`"retain":true`)) || !bytes.Contains(m.JSON, []byte(`"retain":false`)) {
			t.Errorf("got %s of %s", r.JSON, m.JSON)
		}
		if value, encoding := m.Payload(); string(value) != "1" || encoding != "json" || m.Empty() {
			t.Errorf("Payload: got %s, %s", value, encoding)
		}
	}
}

// Without a decoder a message costs what it did.
func TestNoDecoderCostsNothing(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	in := live("a/good", "21.50")
	now := time.Now()
	if got := testing.AllocsPerRun(100, func() { h.encode(in, now).Stamp("e", 1) }); got > 2 {
		t.Errorf("got %v allocations, want 2: the message and its bytes", got)
	}
}
