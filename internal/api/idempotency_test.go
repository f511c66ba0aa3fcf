package api

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// keyed is a request with an Idempotency-Key.
func keyed(method, target, body, key string, headers ...string) string {
	return request(method, target, body, append(headers, "Idempotency-Key: "+key)...)
}

func TestRepeatedKeyPublishesOnce(t *testing.T) {
	g := startRig(t)
	const json, ndjson = "Content-Type: application/json", "Content-Type: application/x-ndjson"
	for i, row := range []struct {
		name, method, target, body string
		headers                    []string
		status                     int
	}{
		{"publish", "POST", "/publish", `{"topic":"a","payload":1}`, []string{json}, 200},
		{"POST", "POST", "/topics/a", "on", nil, 200},
		{"QoS 0", "POST", "/topics/a?qos=0", "on", nil, 202},
		{"PUT", "PUT", "/topics/a", "on", []string{"Content-Length: 2"}, 200},
		{"DELETE", "DELETE", "/topics/a", "", nil, 200},
		{"array", "POST", "/publish/batch", `[{"topic":"a","payload":1},{"topic":"+","payload":1}]`, []string{json}, 207},
		{"stream", "POST", "/publish/batch", `{"topic":"a","payload":1}`, []string{ndjson}, 200},
		{"request", "POST", "/request/a?reply=b&timeout=10ms", "on", nil, 504},
	} {
		t.Run(row.name, func(t *testing.T) {
			key := fmt.Sprint("key ", i)
			var first string
			for n := range 3 {
				a := exchange(t, g.public, keyed(row.method, row.target, row.body, key, row.headers...))
				body, _, _ := strings.Cut(string(a.body), `,"request_id"`)
				if n == 0 {
					first = body
				}
				if a.status != row.status || body != first {
					t.Errorf("time %d: got %d %s, want %d %s", n, a.status, body, row.status, first)
				}
				if replayed := a.header.Get("Idempotency-Replayed") == "true"; replayed != (n > 0) && row.name != "stream" {
					t.Errorf("time %d: got Idempotency-Replayed %t", n, replayed)
				}
			}
			g.wantPublishes(t, i+1)
		})
	}
	if keys, replays, _ := g.server.idempotency.stats(); keys != 8 || replays != 16 {
		t.Errorf("got %d keys and %d replays, want 8 and 16", keys, replays)
	}
}

func TestKeyBelongsToOneRequest(t *testing.T) {
	g := startRig(t)
	const jsonType = "Content-Type: application/json"
	exchange(t, g.public, keyed("POST", "/topics/a", "on", "k"))
	for _, other := range []string{
		keyed("POST", "/topics/a", "off", "k"), keyed("POST", "/topics/b", "on", "k"), keyed("POST", "/topics/a?qos=2", "on", "k"),
		keyed("PUT", "/topics/a", "on", "k", "Content-Length: 2"), keyed("POST", "/publish", `{"topic":"a","payload":"on"}`, "k", jsonType),
		keyed("DELETE", "/topics/a", "", "k"),
	} {
		exchange(t, g.public, other).wantProblem(t, 422, "idempotency_mismatch")
	}
	g.wantPublishes(t, 1)
	exchange(t, g.public, keyed("POST", "/topics/a", "off", "K"))
	g.wantPublishes(t, 2)
}

// What was refused has used no key.
func TestRefusedRequestLeavesItsKeyFree(t *testing.T) {
	g := startRig(t)
	exchange(t, g.public, keyed("POST", "/topics/+", "on", "k")).wantProblem(t, 422, "topic_wildcard")
	exchange(t, g.public, keyed("POST", "/topics/a", "on", "k"))
	g.wantPublishes(t, 1)
}

func TestKeyMustBePrintable(t *testing.T) {
	g := startRig(t)
	for _, key := range []string{"", strings.Repeat("k", 129), "caf\u00e9", "k\r\nIdempotency-Key: k"} {
		for _, target := range []string{"/topics/a", "/publish/batch"} {
			exchange(t, g.public, keyed("POST", target, "[]", key, "Content-Type: application/json")).wantProblem(t, 400, "invalid_idempotency_key")
		}
	}
	g.wantPublishes(t, 0)
	exchange(t, g.public, keyed("POST", "/topics/a", "on", strings.Repeat("~", 128)))
	g.wantPublishes(t, 1)
}

// slowBroker holds every publish until it is let go, with an outcome.
type slowBroker struct {
	memoryBroker
	outcome chan error
}

// held takes the next outcome that is given.
type held struct {
	err  error
	done chan struct{}
}

func (h *held) Outcome() error {
	select {
	case <-h.done:
		return h.err
	default:
		return ErrUnknown
	}
}

func (h *held) Unheard() bool { return false }

func (h *held) Done() <-chan struct{} { return h.done }

func (b *slowBroker) Publish(m Outbound) (Pending, error) {
	_, err := b.memoryBroker.Publish(m)
	h := &held{done: make(chan struct{})}
	go func() {
		h.err = <-b.outcome
		close(h.done)
	}()
	return h, err
}

func TestKeyInProgressIsAConflict(t *testing.T) {
	b := &slowBroker{outcome: make(chan error)}
	g := startRig(t, func(o *Options) { o.Publisher = b })
	req := keyed("POST", "/topics/a", "on", "k")
	for _, row := range []struct {
		outcome error
		status  int
		kept    bool
	}{{ErrNotSent, 503, false}, {ErrOverloaded, 503, false}, {ErrUnknown, 504, true}} {
		first := make(chan *reply, 1)
		c := connect(t, g.public)
		before := len(b.publishes())
		go func() { first <- exchangeOn(t, c, req) }()
		eventuallyTrue(t, "the first is published", func() bool { return len(b.publishes()) > before })
		a := exchange(t, g.public, req)
		if p := a.wantProblem(t, 409, "idempotency_in_progress"); !p.Retryable || a.header.Get("Retry-After") == "" {
			t.Errorf("got retryable %t and Retry-After %q", p.Retryable, a.header.Get("Retry-After"))
		}
		b.outcome <- row.outcome
		if a := <-first; a.status != row.status {
			t.Errorf("%v: got %d, want %d", row.outcome, a.status, row.status)
		}
		if row.kept {
			exchange(t, g.public, req).wantProblem(t, row.status, "outcome_unknown")
		}
		if got := len(b.publishes()); got != before+1 {
			t.Errorf("%v: got %d publishes, want one more than %d", row.outcome, got, before)
		}
	}
}

func TestConcurrentDuplicatesPublishOnce(t *testing.T) {
	g := startRig(t)
	var all sync.WaitGroup
	for n := range 200 {
		c := connect(t, g.public)
		all.Go(func() {
			key := fmt.Sprint("k", n%10)
			for {
				a := exchangeOn(t, c, keyed("POST", "/topics/a/"+key, "on", key))
				if a.status == 200 {
					return
				}
				if a.status != 409 {
					t.Errorf("got %d %s, want 200 or 409", a.status, a.body)
					return
				}
			}
		})
	}
	all.Wait()
	g.wantPublishes(t, 10)
}

func TestKeysAreForgottenAfterFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newOnceStore(1 << 20)
		hash := [32]byte{1}
		answered := func(key string) {
			e, first, bad := store.begin(onceKey{key: key, line: -1}, hash, 300)
			if e == nil {
				t.Fatalf("%s is taken: %v %v", key, first, bad)
			}
			store.end(e, &answer{status: 200})
		}
		answered("a")
		time.Sleep(4 * time.Minute) // no wait: the clock of the bubble
		answered("b")
		time.Sleep(time.Minute)
		if _, first, _ := store.begin(onceKey{key: "a", line: -1}, hash, 300); first == nil {
			t.Error("a is forgotten within five minutes")
		}
		time.Sleep(time.Millisecond)
		answered("a")
		if _, first, _ := store.begin(onceKey{key: "b", line: -1}, hash, 300); first == nil {
			t.Error("b is forgotten within five minutes")
		}
		time.Sleep(5*time.Minute + time.Millisecond)
		if keys, _, _ := store.stats(); keys != 0 || store.bytes != 0 || store.oldest != nil {
			t.Errorf("got %d keys and %d bytes, want none", keys, store.bytes)
		}
	})
}

// A store that forgot to make room would let a repetition publish again.
func TestFullStoreTakesNoNewKeys(t *testing.T) {
	store := newOnceStore(4096)
	begin := func(n int) (*onceEntry, *answer, *wire.Problem) {
		return store.begin(onceKey{key: fmt.Sprint(n), line: -1}, [32]byte{}, 300)
	}
	kept := 0
	for ; ; kept++ {
		e, _, bad := begin(kept)
		if bad != nil {
			if bad.Code != "idempotency_full" || !bad.Retryable {
				t.Errorf("got %+v, want idempotency_full", bad)
			}
			break
		}
		store.end(e, &answer{status: 200})
	}
	if kept < 2 || store.bytes > store.limit {
		t.Errorf("got %d keys and %d bytes with a limit of %d", kept, store.bytes, store.limit)
	}
	if _, first, _ := begin(0); first == nil {
		t.Error("the first key is forgotten")
	}
}

// A stream with a key is bounded, and has no holes.
func TestKeyedStreamEndsWhereThereIsNoRoom(t *testing.T) {
	g := startRig(t)
	stream := func(lines int, key string) []string {
		body := strings.Repeat(`{"topic":"a","payload":1,"qos":0}`+"\n", lines)
		a := exchange(t, g.public, request("POST", "/publish/batch", body, "Content-Type: application/x-ndjson", "Idempotency-Key: "+key))
		return results(t, string(a.body))
	}
	if got := stream(maxBatch+5, "long"); len(got) != maxBatch+1 || got[maxBatch] != fmt.Sprint(maxBatch, " 413 batch_too_large") {
		t.Errorf("got %d results, the last %s, want %d and batch_too_large", len(got), got[len(got)-1], maxBatch+1)
	}
	g.wantPublishes(t, maxBatch)
	g.server.idempotency.limit = g.server.idempotency.bytes + entryOverhead + len("full") + answerRoom
	if got := stream(5, "full"); len(got) != 2 || got[1] != "1 503 idempotency_full" {
		t.Errorf("got %v, want one line and idempotency_full", got)
	}
	a := exchange(t, g.public, keyed("POST", "/topics/a", "on", "another"))
	a.wantProblem(t, 503, "idempotency_full")
	if got := a.header.Get("Retry-After"); got != "60" {
		t.Errorf("got Retry-After %q, want 60", got)
	}
}

// Whoever lost the connection while waiting for a reply comes back for it.
func TestKeyedRequestGoesOnWithoutItsClient(t *testing.T) {
	g := startRig(t)
	req := keyed("POST", "/request/a?reply=b&timeout=20s", "x", "k")
	gone := connect(t, g.public)
	_, _ = io.WriteString(gone, req)
	eventuallyTrue(t, "it waits", func() bool { return g.server.waiting.Load() == 1 })
	_ = gone.Close()
	exchange(t, g.public, req).wantProblem(t, 409, "idempotency_in_progress")
	g.ingest("b", "done")
	eventuallyTrue(t, "it has its reply", func() bool { return g.server.waiting.Load() == 0 })
	var a *reply
	eventuallyTrue(t, "the answer is there", func() bool { a = exchange(t, g.public, req); return a.status != 409 })
	if a.status != 200 || !strings.Contains(string(a.body), `"payload":"done"`) || a.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("got %d %s, want the reply", a.status, a.body)
	}
	g.wantPublishes(t, 1)
}
