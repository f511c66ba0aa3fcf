package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

// responder answers publishes on a topic, as devices do that know nothing of
// requests. It is the broker side of a rig.
type responder struct {
	memoryBroker
	hub     *hub.Hub
	answers map[string][]string // topic of a publish -> "topic payload" of what follows
}

func (d *responder) Publish(m Outbound) (Pending, error) {
	p, err := d.memoryBroker.Publish(m)
	d.hub.Ingest(hub.Inbound{Topic: m.Topic, Payload: m.Payload, QoS: 1}) // the gateway sees its own
	for _, a := range d.answers[m.Topic] {
		name, payload, _ := strings.Cut(a, " ")
		d.hub.Ingest(hub.Inbound{Topic: name, Payload: []byte(payload), QoS: 1})
	}
	return p, err
}

func startDevice(t *testing.T) (*rig, *responder) {
	d := &responder{answers: map[string][]string{
		"cmnd/x/POWER": {"tele/x/STATE busy", "stat/x/RESULT {\"POWER\":\"ON\"}", "stat/x/POWER ON", "stat/x/POWER OFF"},
	}}
	g := startRig(t, func(o *Options) { o.Publisher, d.hub = d, o.Hub })
	return g, d
}

func TestRequestAnswersWithTheFirstReply(t *testing.T) {
	g, _ := startDevice(t)
	g.ingest("stat/x/POWER", "OLD") // came before, so it is no answer
	for _, row := range []struct{ query, topic, payload string }{
		{"reply=stat/x/POWER", "stat/x/POWER", `"ON"`},
		{"reply=stat/x/%2B", "stat/x/RESULT", `{"POWER":"ON"}`},
		{"reply=%23", "tele/x/STATE", `"busy"`},
		{"reply=%2B/x/POWER", "stat/x/POWER", `"ON"`},
		{"reply=cmnd/x/POWER", "cmnd/x/POWER", `"toggle"`},
		{"reply=stat/x/POWER&expect=OFF&qos=2&timeout=1m", "stat/x/POWER", `"OFF"`},
		{"reply=stat/%23&expect=%7B%22POWER%22:%22ON%22%7D", "stat/x/RESULT", `{"POWER":"ON"}`},
	} {
		a := exchange(t, g.public, request("POST", "/request/cmnd/x/POWER?"+row.query, "toggle"))
		want := fmt.Sprintf(`{"type":"message","topic":%q,"payload":%s,`, row.topic, row.payload)
		if a.status != 200 || !strings.HasPrefix(string(a.body), want) || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %d %s, want %s…", row.query, a.status, a.body, want)
		}
	}
}

func TestRequestRefuses(t *testing.T) {
	g, d := startDevice(t)
	for _, row := range []struct {
		target   string
		status   int
		code     wire.Code
		pointers string
	}{
		{"/request/a", 422, "filter_required", "/reply"},
		{"/request/?reply=", 422, "topic_required", "/topic /reply"},
		{"/request/a?reply=b%23", 422, "filter_syntax", "/reply"},
		{"/request/a?reply=$SYS/%23", 403, "filter_reserved", "/reply"},
		{"/request/a?reply=$share/g/b", 403, "filter_reserved", "/reply"},
		{"/request/a?reply=elsewhere/b", 422, "filter_not_covered", "/reply"},
		{"/request/a?reply=refused/b", 403, "filter_refused", "/reply"},
		{"/request/a?reply=b&timeout=5", 400, "invalid_parameter", "/timeout"},
		{"/request/a?reply=b&timeout=61s", 400, "invalid_parameter", "/timeout"},
		{"/request/a?reply=b&timeout=9ms", 400, "invalid_parameter", "/timeout"},
		{"/request/+?reply=b&timeout=0s&qos=7", 400, "invalid_parameter", "/timeout /topic /qos"},
		{"/request/a?reply=b&reply=c", 400, "invalid_parameter", "/reply"},
		{"/request/a?reply=b&retain=true", 400, "unknown_parameter", "/retain"},
		{"/request", 404, "not_found", ""},
	} {
		p := exchange(t, g.public, request("POST", row.target, "x")).wantProblem(t, row.status, row.code)
		var pointers []string
		for _, e := range p.Errors {
			pointers = append(pointers, e.Pointer)
		}
		if got := strings.Join(pointers, " "); got != row.pointers {
			t.Errorf("%s: got pointers %q, want %q", row.target, got, row.pointers)
		}
	}
	exchange(t, g.public, request("GET", "/request/a?reply=b", "")).wantProblem(t, 405, "method_not_allowed")
	if got := d.publishes(); len(got) != 0 {
		t.Errorf("published %q, want nothing", got)
	}
	exchange(t, g.public, request("POST", "/request/a?reply=b&timeout=20ms", "x")).wantProblem(t, 504, "no_reply")
	exchange(t, g.public, request("POST", "/request/cmnd/x/POWER?reply=stat/x/POWER&expect=on&timeout=20ms", "x")).wantProblem(t, 504, "no_reply")
}

// What is known of the publish decides, as long as no reply says more.
func TestRequestTellsWhatBecameOfThePublish(t *testing.T) {
	b := &slowBroker{outcome: make(chan error, 1)}
	g := startRig(t, func(o *Options) { o.Publisher = b })
	ask := func(timeout string) chan *reply {
		done, n := make(chan *reply, 1), len(b.publishes())
		c := connect(t, g.public)
		go func() { done <- exchangeOn(t, c, request("POST", "/request/a?reply=b&timeout="+timeout, "x")) }()
		eventuallyTrue(t, "it is published", func() bool { return len(b.publishes()) > n })
		return done
	}
	not := ask("1m")
	b.outcome <- ErrNotSent
	(<-not).wantProblem(t, 503, "broker_unavailable")
	lost := ask("100ms")
	b.outcome <- ErrUnknown
	(<-lost).wantProblem(t, 504, "outcome_unknown")
	(<-ask("20ms")).wantProblem(t, 504, "outcome_unknown") // the broker has not answered yet
	b.outcome <- nil
	// The device's reply proves more than the broker's acknowledgement.
	early := ask("1m")
	g.ingest("b", "done")
	if a := <-early; a.status != 200 {
		t.Errorf("a reply before the acknowledgement: got %d %s, want 200", a.status, a.body)
	}
	b.outcome <- nil
	stopped := ask("1m")
	b.outcome <- nil
	g.server.Drain()
	if a := <-stopped; a.status != 504 {
		t.Errorf("when the gateway stops: got %d %s, want 504", a.status, a.body)
	}
	exchange(t, g.public, request("POST", "/request/a?reply=b", "x")).wantProblem(t, 503, "shutting_down")
}

func TestWaitingRequestsAreBoundedAndForgotten(t *testing.T) {
	watched, hub := forgetful(t)
	g := startRig(t, hub)
	s := g.dial(t, "/ws")
	gone := connect(t, g.public)
	fmt.Fprint(gone, request("POST", "/request/a?reply=b&timeout=1m", "x"))
	s.text(`{"op":"request","topic":"a","payload":"x","reply":"b","timeout":"1m"}`)
	eventuallyTrue(t, "two wait", func() bool { return g.server.waiting.Load() == 2 })
	g.server.waiting.Add(maxWaiting - 2)
	a := exchange(t, g.public, request("POST", "/request/a?reply=b", "x"))
	if p := a.wantProblem(t, 429, "too_many_requests"); !p.Retryable || a.header.Get("Retry-After") == "" {
		t.Errorf("got retryable %t, Retry-After %q", p.Retryable, a.header.Get("Retry-After"))
	}
	s.text(`{"op":"request","topic":"a","payload":"x","reply":"b"}`)
	s.nextError("too_many_requests")
	g.server.waiting.Add(2 - maxWaiting)
	g.wantPublishes(t, 2)
	_ = gone.Close()
	_ = s.conn.Close()
	eventuallyTrue(t, "nobody waits", func() bool { return g.server.waiting.Load() == 0 })
	watched.watchesNothing(t)
}

func TestRequestOpAnswersLikeTheRoute(t *testing.T) {
	g, _ := startDevice(t)
	s := g.dial(t, "/ws")
	for id, row := range []struct{ op, answer string }{
		{`"topic":"cmnd/x/POWER","payload":"toggle","reply":"stat/x/POWER"`, `"ON"`},
		{`"topic":"cmnd/x/POWER","payload":"toggle","reply":"stat/x/POWER","expect":"OFF"`, `"OFF"`},
		{`"topic":"cmnd/x/POWER","payload":"dA==","encoding":"base64","qos":2,"reply":"stat/#","expect":{"POWER":"ON"},"timeout":"10s"`, `{"POWER":"ON"}`},
	} {
		s.text(fmt.Sprintf(`{"op":"request","id":%d,%s}`, id, row.op))
		f := s.until("reply")
		m, _ := f["message"].(map[string]any)
		if f["id"] != float64(id) || f["status"] != 200.0 || m["type"] != "message" || fmt.Sprint(m["payload"]) != strings.Trim(row.answer, `"`) && row.answer[0] == '"' {
			t.Errorf("%s: got %v, want %s", row.op, f, row.answer)
		}
	}
	for _, row := range []struct {
		op   string
		code wire.Code
	}{
		{`"topic":"a","payload":1`, "filter_required"}, {`"topic":"a","payload":1,"reply":1`, "invalid_parameter"}, {`"topic":"a","payload":1,"reply":"b","timeout":5`, "invalid_parameter"},
		{`"topic":"a","reply":"b"`, "payload_required"}, {`"topic":"+","payload":1,"reply":"b"`, "topic_wildcard"}, {`"topic":"a","payload":1,"reply":"elsewhere/b"`, "filter_not_covered"},
		{`"topic":"a","payload":1,"reply":"b","timeout":"10ms"`, "no_reply"}, {`"topic":"a","payload":1,"reply":"b","retain":true`, "unknown_field"},
		{`"topics":["a"],"payload":1,"reply":"b"`, "unknown_field"}, {`"topic":"a","payload":1,"reply":"b","since":"x-1"`, "unknown_field"},
	} {
		s.text(`{"op":"request",` + row.op + `}`)
		s.nextError(row.code)
	}
	s.text(`{"op":"publish","topic":"a","payload":1,"reply":"b"}`)
	s.nextError("unknown_field")
}
