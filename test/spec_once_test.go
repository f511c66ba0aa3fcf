package test

import (
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/api"
)

// publishing has a request for each operation that publishes. The reply to the
// last one comes if a lamp is there; without, it is to be impatient.
func publishing() map[string]request {
	return map[string]request{
		"POST /publish":          post("publish", `{"topic":"a","payload":1}`),
		"POST /publish/batch":    arrayBatch("batch", `[{"topic":"a","payload":1}]`),
		"POST /topics/{topic}":   {name: "post", method: "POST", path: "/topics/a", body: "1"},
		"PUT /topics/{topic}":    {name: "put", method: "PUT", path: "/topics/a", body: "1"},
		"DELETE /topics/{topic}": {name: "delete", method: "DELETE", path: "/topics/a"},
		"POST /request/{topic}":  {name: "request", method: "POST", path: "/request/a?reply=b&timeout=1m", body: "1"},
	}
}

// impatient is r without the time to wait for a reply that does not come.
func impatient(r request) request {
	r.path = strings.Replace(r.path, "timeout=1m", "timeout=10ms", 1)
	return r
}

// keyed is r with an Idempotency-Key.
func keyed(r request, key string) request {
	r.header = with(r.header, "Idempotency-Key", key)
	return r
}

// another is r with a small difference.
func another(r request) request {
	switch {
	case strings.Contains(r.path, "?"):
		r.path += "&qos=2"
	case strings.HasPrefix(r.path, "/topics/"):
		r.path += "?qos=2"
	default:
		r.body = strings.Replace(r.body, "1", "2", 1)
	}
	return r
}

// onceAnswers are those to an Idempotency-Key.
func onceAnswers(t *testing.T, a *answers) {
	g := play(t)
	g.lamp("a", "b")
	for key, r := range publishing() {
		expect := func(r request, want int, replayed string) answer {
			t.Helper()
			got := g.do(r)
			if got.status != want || got.header.Get("Idempotency-Replayed") != replayed {
				t.Errorf("%s: got %d, replayed %q, want %d, %q: %s", key, got.status, got.header.Get("Idempotency-Replayed"), want, replayed, got.body)
			}
			a.check(t, key, got)
			return got
		}
		before := len(g.publisher.all())
		expect(keyed(r, strings.Repeat("k", 129)), 400, "")
		expect(keyed(r, ""), 400, "")
		first := expect(keyed(r, key), 200, "")
		again := expect(keyed(r, key), 200, "true")
		if string(first.body) != string(again.body) {
			t.Errorf("%s: got %s again, want %s", key, again.body, first.body)
		}
		expect(keyed(another(r), key), 422, "")
		if sent := len(g.publisher.all()) - before; sent != 1 {
			t.Errorf("%s: got %d messages published, want 1", key, sent)
		}
	}
	unknownAgain(t, a)
	inProgress(t, a)
	g = play(t, func(o *api.Options) { o.IdempotencyBytes = 2400 })
	g.lamp("a", "b")
	g.do(keyed(post("fills the memory", `{"topic":"a","payload":1}`), "first"))
	for key, r := range publishing() {
		got := g.do(keyed(r, key))
		if got.status != 503 {
			t.Errorf("%s, no room for keys: got %d %s, want 503", key, got.status, got.body)
		}
		a.check(t, key, got)
	}
	if sent := g.all(); len(sent) != 1 {
		t.Errorf("no room for keys, but %+v was published", sent)
	}
}

// unknownAgain: an outcome that is not known is answered again, because the
// message may have arrived.
func unknownAgain(t *testing.T, a *answers) {
	g := play(t)
	g.publisher.play(nil, api.ErrUnknown, false)
	for key, r := range publishing() {
		r = impatient(r)
		g.do(keyed(r, key))
		got := g.do(keyed(r, key))
		if got.header.Get("Idempotency-Replayed") != "true" || got.status != 504 && key != "POST /publish/batch" {
			t.Errorf("%s: got %d %v, want 504 once more", key, got.status, got.header)
		}
		a.check(t, key, got)
	}
	if sent := g.publisher.all(); len(sent) != len(publishing()) {
		t.Errorf("got %d messages published, want %d", len(sent), len(publishing()))
	}
}

// inProgress asks again before the first request has an answer.
func inProgress(t *testing.T, a *answers) {
	for key, r := range publishing() {
		r = impatient(r)
		g := play(t)
		reached, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
		g.publisher.listen(func(publication) {
			close(reached)
			<-goOn
		})
		go func() {
			defer close(done)
			_, _ = g.try(g.client, keyed(r, "k"))
		}()
		<-reached
		got := g.do(keyed(r, "k"))
		if got.status != 409 {
			t.Errorf("%s, the first one has no answer: got %d %s, want 409", key, got.status, got.body)
		}
		a.check(t, key, got)
		close(goOn)
		<-done
	}
}
