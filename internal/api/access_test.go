package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

// guarded gives the rig an access file with one principal, with these lists in
// YAML. It returns the principal's key, and what changes the lists.
func guarded(t *testing.T, lists string, options ...func(*access.Options)) (key string, with func(*Options), change func(lists string)) {
	t.Helper()
	key = access.NewKey()
	file := filepath.Join(t.TempDir(), "access.yaml")
	write := func(lists string) {
		t.Helper()
		text := fmt.Sprintf("principals:\n  - {name: p, key_sha256: [%q], %s}\n", access.DigestOf(key), lists)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(lists)
	o := access.Options{Keys: true, File: file}
	for _, f := range options {
		f(&o)
	}
	callers, err := access.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(callers.Close)
	change = func(lists string) {
		t.Helper()
		write(lists)
		if err := callers.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return key, func(o *Options) { o.Access = callers }, change
}

// startGuarded is startRig with the access of guarded.
func startGuarded(t *testing.T, lists string) (g *rig, authorization string, change func(string)) {
	t.Helper()
	key, with, change := guarded(t, lists)
	g = startRig(t, with)
	g.stop = append(g.stop, func() error { g.server.Drain(); return nil }) // ends the watching of rights
	return g, "Authorization: Bearer " + key, change
}

// A value that was waited for goes to nobody whose right to it has ended
// meanwhile.
func TestRightsThatEndWhileOneWaitsCount(t *testing.T) {
	g, authorization, change := startGuarded(t, `subscribe: ["a/#"]`)
	got := make(chan *reply, 1)
	go func() {
		got <- exchange(t, g.public, request("GET", "/topics/a/secret", "", authorization, "Prefer: wait=60"))
	}()
	eventuallyTrue(t, "the request waits", func() bool { return g.server.streams.Load() == 1 })
	change(`subscribe: ["b/#"]`)
	g.hub.Ingest(hub.Inbound{Topic: "a/secret", Payload: []byte(canary)})
	a := <-got
	a.wantProblem(t, http.StatusForbidden, "filter_forbidden")
	if strings.Contains(string(a.body), canary) {
		t.Errorf("got %s", a.body)
	}
}

// A reply that is kept for an Idempotency-Key is not repeated to a principal who
// may not read it any more, and the answer does not name its topic.
func TestKeptReplyIsCheckedAgain(t *testing.T) {
	g, authorization, change := startGuarded(t, `publish: ["#"], subscribe: ["#"]`)
	ask := request("POST", "/request/a?reply=r/%23", "x", authorization, "Idempotency-Key: k")
	got := make(chan *reply, 1)
	go func() { got <- exchange(t, g.public, ask) }()
	eventuallyTrue(t, "the request waits", func() bool { return len(g.published()) == 1 })
	g.hub.Ingest(hub.Inbound{Topic: "r/" + canary, Payload: []byte("1")})
	if a := <-got; a.status != http.StatusOK {
		t.Fatalf("got %d %s, want 200", a.status, a.body)
	}
	change(`publish: ["#"], subscribe: ["#"], deny: ["r/` + canary + `"]`)
	a := exchange(t, g.public, ask)
	a.wantProblem(t, http.StatusForbidden, "filter_forbidden")
	if strings.Contains(string(a.body), canary) {
		t.Errorf("got %s, want no word of the reply", a.body)
	}
}

// A batch that goes on when rights have changed has the new ones.
func TestRightsOfABatchStreamFollow(t *testing.T) {
	key, with, change := guarded(t, `publish: ["a/#"]`)
	g := startRig(t, with)
	g.stop = append(g.stop, func() error { g.server.Drain(); return nil })
	p, err := g.server.access.Login(access.Credentials{Token: key})
	if err != nil {
		t.Fatal(err)
	}
	l := g.server.lasting(&caller{principal: p})
	object := []byte(`{"topic":"a/x","payload":1}`)
	if item := g.server.batchItem(object, l); item.problem != nil {
		t.Fatalf("before: got %v", item.problem)
	}
	change(`publish: ["b/#"]`)
	if item := g.server.batchItem(object, l); item.problem == nil || item.problem.Code != "topic_forbidden" {
		t.Errorf("after a change: got %v, want topic_forbidden", item.problem)
	}
	change(`publish: ["a/#"], expires: ` + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	if item := g.server.batchItem(object, l); item.problem == nil || item.problem.Code != "unauthenticated" {
		t.Errorf("expired: got %v, want unauthenticated", item.problem)
	}
}

// What expires does so by the wall clock, which may be set while a stream is open:
// forwards past the end of its time, and backwards.
func TestExpiryFollowsTheClockThatIsSet(t *testing.T) {
	var step atomic.Int64
	key, with, _ := guarded(t, `subscribe: ["a"], expires: `+time.Now().Add(2*time.Hour).UTC().Format(time.RFC3339), func(o *access.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(step.Load())) }
	})
	g := startRig(t, with, func(o *Options) { o.Timing.Expiry = time.Millisecond })
	g.stop = append(g.stop, func() error { g.server.Drain(); return nil })
	s := g.dial(t, "/ws?topic=a", "Authorization: Bearer "+key)
	s.until("ack")
	step.Store(-int64(time.Hour))
	g.hub.Ingest(hub.Inbound{Topic: "a", Payload: []byte("1")})
	s.until("message")
	step.Store(int64(3 * time.Hour))
	if code, _ := s.closed(); code != int(wire.CloseExpired) {
		t.Errorf("got close code %d, want %d", code, wire.CloseExpired)
	}
}

// hesitant is a broker side that confirms a subscription only when it is told to.
type hesitant struct {
	passing
	asked, confirm chan struct{}
}

func (b *hesitant) Want(context.Context, string) error {
	b.asked <- struct{}{}
	<-b.confirm
	return nil
}

// A filter that was granted and comes into force when it is not granted any
// more, does not stay.
func TestRightsThatEndWhileAFilterIsOnItsWayCount(t *testing.T) {
	key, with, change := guarded(t, `subscribe: ["a/#"]`)
	broker := &hesitant{asked: make(chan struct{}, 10), confirm: make(chan struct{}, 10)}
	broker.hub = hub.New(hub.Options{Upstream: broker, Linger: time.Millisecond})
	broker.hub.BrokerUp(false)
	t.Cleanup(broker.hub.Close)
	g := startRig(t, with, func(o *Options) { o.Hub = broker.hub })
	g.stop = append(g.stop, func() error { g.server.Drain(); broker.hub.Shutdown(context.Background()); return nil })
	c := connect(t, g.public)
	head := "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer " + key + "\r\n\r\n"
	frame := func(text string) string { return string([]byte{0x81, byte(0x80 | len(text)), 0, 0, 0, 0}) + text }
	if _, err := io.WriteString(c, head+frame(`{"op":"subscribe","id":1,"topics":["a/#"]}`)); err != nil {
		t.Fatal(err)
	}
	<-broker.asked
	generation, _ := g.server.access.Generation()
	change(`subscribe: ["b/#"]`)
	eventuallyTrue(t, "the stream has been looked at", func() bool {
		g.server.guests.mu.Lock()
		defer g.server.guests.mu.Unlock()
		for guest := range g.server.guests.all.All() {
			guest.mu.Lock() // so that the look is over
			defer guest.mu.Unlock()
			return guest.generation.Load() > generation
		}
		return false
	})
	broker.confirm <- struct{}{}
	read, said := bufio.NewReader(c), ""
	for !strings.Contains(said, "filter_forbidden") {
		b, err := read.ReadByte()
		if err != nil {
			t.Fatalf("the connection ended: %v; it said %.2000q", err, said)
		}
		said += string(b)
	}
	if n := broker.hub.Stats().Filters; n != 0 {
		t.Errorf("got %d filters in force, want none", n)
	}
}
