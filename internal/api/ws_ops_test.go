package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/wire"
)

func TestMalformedOpsAreAnswered(t *testing.T) {
	g := startRig(t)
	rows := []struct {
		op   string
		code wire.Code
	}{
		{"", "empty_body"}, {" ", "empty_body"}, {canary, "invalid_json"}, {"{", "invalid_json"}, {"[]", "not_an_object"}, {"null", "not_an_object"}, {`"ping"`, "not_an_object"},
		{"{}", "invalid_op"}, {`{"op":""}`, "invalid_op"}, {`{"op":null}`, "invalid_op"}, {`{"op":1}`, "invalid_op"}, {`{"op":["ping"]}`, "invalid_op"},
		{`{"op":"PING"}`, "invalid_op"}, {`{"op":"` + canary + `"}`, "invalid_op"}, {`{"id":1}`, "invalid_op"}, {`{"op":"ping","op":"ping"}`, "duplicate_key"},
		{`{"OP":"ping"}`, "unknown_field"}, {`{"op":"ping","x":1}`, "unknown_field"}, {`{"op":"ping"}{"op":"ping"}`, "trailing_data"}, {`{"op":"ping"}` + canary, "trailing_data"},
		{`{"op":"ping","topics":["a"]}`, "unknown_field"}, {`{"op":"ping","topic":"a"}`, "unknown_field"}, {`{"op":"subscribe","topics":["a"],"qos":1}`, "unknown_field"},
		{`{"op":"publish","topics":["a"],"payload":1}`, "unknown_field"}, {`{"op":"ping","id":` + strings.Repeat("[", 100) + `}`, "too_deep"}, {`{"op":"ping","id":"\ud800"}`, "invalid_unicode"},
		{`{"op":"ping","id":null}`, "invalid_id"}, {`{"op":"ping","id":true}`, "invalid_id"}, {`{"op":"ping","id":{}}`, "invalid_id"}, {`{"op":"ping","id":[1]}`, "invalid_id"},
		{`{"op":"ping","id":"` + strings.Repeat("x", 65) + `"}`, "invalid_id"}, {`{"op":"ping","id":` + strings.Repeat("1", 65) + `}`, "invalid_id"},
		{`{"op":"subscribe"}`, "invalid_topics"}, {`{"op":"subscribe","topics":[]}`, "invalid_topics"}, {`{"op":"subscribe","topics":"a"}`, "invalid_topics"},
		{`{"op":"subscribe","topics":null}`, "invalid_topics"}, {`{"op":"subscribe","topics":[1]}`, "invalid_topics"}, {`{"op":"subscribe","topics":["a",null]}`, "invalid_topics"},
		{`{"op":"unsubscribe","topics":{"a":1}}`, "invalid_topics"}, {`{"op":"unsubscribe","topics":[["a"]]}`, "invalid_topics"},
	}
	for _, row := range rows {
		t.Run(fmt.Sprintf("%.40s", row.op), func(t *testing.T) {
			s := g.dial(t, "/ws")
			s.text(row.op)
			s.nextError(row.code)
			s.text(`{"op":"ping","id":7}`)
			if f := s.next(); f["type"] != "pong" || f["id"] != 7.0 {
				t.Errorf("got %v, want the pong: the connection lives", f)
			}
		})
	}
	g.wantPublishes(t, 0)
	g.cleanLog(t)
}

func TestIDsComeBackAsTheyWere(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws")
	for _, id := range []string{"0", "-1", "1.50", "1e400", `""`, `"a"`, `"\u0000\n"`, `"` + strings.Repeat("x", 64) + `"`, `"é😀"`, strings.Repeat("9", 64)} {
		s.text(`{"op":"ping","id":` + id + `}`)
		_, payload, err := s.frame()
		if want := `{"type":"pong","id":` + id + `}`; string(payload) != want || err != nil {
			t.Errorf("got %s %v, want %s", payload, err, want)
		}
	}
}

func TestTenMalformedFramesCloseTheConnection(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws")
	for range 9 {
		s.text(canary)
		s.nextError("invalid_json")
	}
	s.text(`{"op":"ping"}`)
	if f := s.next(); f["type"] != "pong" {
		t.Errorf("got %v, want a pong: nine are forgiven", f)
	}
	// A publish that is refused is an answer, not a malformed frame.
	for range 20 {
		s.text(`{"op":"publish","topic":"a/+","payload":1}`)
		s.nextError("topic_wildcard")
	}
	s.text("{")
	s.nextError("invalid_json")
	if code, _ := s.closed(); code != int(wire.CloseMalformed) {
		t.Errorf("got close code %d, want %d", code, int(wire.CloseMalformed))
	}
	g.cleanLog(t)
}

// An answer may repeat the question once, but a frame must not make the
// gateway write many times its size.
func TestAnswersToOpsAreNotLargerThanNeeded(t *testing.T) {
	const names = 60_000
	for name, op := range map[string]string{
		"subscribe to many":        `{"op":"subscribe","topics":["+a"` + strings.Repeat(`,""`, names) + `]}`,
		"unsubscribe from many":    `{"op":"unsubscribe","topics":["+a"` + strings.Repeat(`,""`, names) + `]}`,
		"unsubscribe, all valid":   `{"op":"unsubscribe","topics":["a"` + strings.Repeat(`,"a"`, names) + `]}`,
		"fields that do not exist": `{"op":"ping"` + fields(25_000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			g := startRig(t)
			s := g.dial(t, "/ws")
			s.text(op)
			_, payload, err := s.frame()
			if err != nil || len(payload) > len(op) {
				t.Errorf("got an answer of %d bytes %v to a frame of %d, want no more", len(payload), err, len(op))
			}
			s.text(`{"op":"ping","id":1}`)
			if first, p, err := s.frame(); string(p) != `{"type":"pong","id":1}` {
				t.Errorf("got frame %#x %.100q %v, want the pong", first, p, err)
			}
		})
	}
}

func fields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%05d":1`, i)
	}
	return b.String()
}

// brokenBroker panics at the first publish.
type brokenBroker struct {
	memoryBroker
	publishes int
}

func (b *brokenBroker) Publish(m Outbound) (Pending, error) {
	if b.publishes++; b.publishes == 1 {
		panic("out of order")
	}
	return b.memoryBroker.Publish(m)
}

func TestPanicOfTheBrokerSideEndsOnePublish(t *testing.T) {
	g := startRig(t, func(o *Options) { o.Publisher = &brokenBroker{} })
	s := g.dial(t, "/ws")
	s.text(`{"op":"publish","id":1,"topic":"a","payload":1}`)
	s.nextError(wire.CodeInternalError)
	if lines := strings.Join(g.log.lines(), ""); !strings.Contains(lines, "out of order") {
		t.Errorf("got the log %s, want the panic in it", lines)
	}
	s.text(`{"op":"publish","id":2,"topic":"a","payload":1}`)
	if f := s.next(); f["type"] != wire.TypePublished {
		t.Errorf("got %v, want the next one published", f)
	}
	g.server.Quiesce(t.Context()) // nothing is left in flight
}
