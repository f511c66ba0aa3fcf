package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/wire"
)

// books are what was asked for and what was answered, to be compared with what
// an independent client of the broker has received.
type books struct {
	mu        sync.Mutex // guards all below
	attempted map[string]bool
	acked     map[string]bool
	statuses  map[string]int // by kind of request and status
}

func (b *books) attempt(ids ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		b.attempted[id] = true
	}
}

func (b *books) note(kind string, status int, acked ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.statuses[fmt.Sprint(kind, " ", status)]++
	for _, id := range acked {
		b.acked[id] = true
	}
}

// mixedRequest sends one request of a kind, again and again while the gateway
// says that it was not sent.
func (b *books) mixedRequest(g *gateway, client *http.Client, n int) error {
	ids := []string{fmt.Sprint(n, "-0"), fmt.Sprint(n, "-1"), fmt.Sprint(n, "-2")}
	object := func(id string) string { return fmt.Sprintf(`{"topic":"mix/%s","payload":%q}`, id, id) }
	kind, method, path, body, header := "", "POST", "", "", "Content-Type: application/json"
	switch n % 9 {
	case 0:
		kind, path, body = "publish", "/publish", object(ids[0])
	case 1:
		kind, path, body = "topic", "/topics/mix/"+ids[0], ids[0]
	case 2:
		kind, method, path, body = "put", "PUT", "/topics/mix/"+ids[0]+"?qos=2", ids[0]
	case 3:
		kind, path, body = "array", "/publish/batch", "["+object(ids[0])+","+object(ids[1])+`,{"topic":"+","payload":1},`+object(ids[2])+"]"
	case 4:
		kind, path, body, header = "stream", "/publish/batch", object(ids[0])+"\n{}\n"+object(ids[1])+"\n"+object(ids[2]), "Content-Type: application/x-ndjson"
	case 5:
		kind, path, body = "request", "/request/mix/"+ids[0]+"?timeout=5s&reply=mix/"+ids[0], ids[0]
	case 6:
		kind, path, body, header = "key", "/topics/mix/"+ids[0], ids[0], "Idempotency-Key: "+ids[0]
	case 7:
		kind, method, path = "value", "GET", "/topics/mix/"+ids[0]
	case 8:
		kind, method, path = "history", "GET", "/history?filter=mix/%23&limit=3&since=1m"
	}
	for {
		if method != "GET" {
			b.attempt(ids[0])
			if kind == "array" || kind == "stream" {
				b.attempt(ids...)
			}
		}
		a, err := g.try(client, requestOf(method, path, []byte(body), header))
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		if kind == "array" || kind == "stream" {
			b.note(kind, a.status, ackedOf(a, ids)...)
			return nil
		}
		if a.status != 503 && a.status != 409 {
			var acked []string
			if a.status == 200 && method != "GET" {
				acked = ids[:1]
			}
			b.note(kind, a.status, acked...)
			if kind != "key" || a.header.Get("Idempotency-Replayed") == "true" {
				return nil // a key is used twice
			}
		}
		<-time.After(10 * time.Millisecond) // the pause between two attempts
	}
}

// ackedOf are the ids among a batch's results that were answered 200.
func ackedOf(a answer, ids []string) (acked []string) {
	for line := range strings.Lines(a.body) {
		var res wire.BatchResult
		if json.Unmarshal([]byte(strings.Trim(strings.TrimSpace(line), "[],")), &res) == nil && res.Status == 200 && res.PublishResult != nil {
			acked = append(acked, strings.TrimPrefix(res.Topic, "mix/"))
		}
	}
	return acked
}

// Ten thousand requests of all kinds, hundreds at once, while the broker restarts: what
// was answered 200 has arrived, nothing else has than what was sent, and what
// was sent twice with one Idempotency-Key came once.
func TestTenThousandRequestsOfAllKindsOverRestarts(t *testing.T) {
	t.Parallel()
	requests := sized(10_000, 3000)
	const atOnce = 500
	broker := brokertest.Start(t, brokertest.Persistent())
	oracle := brokertest.Dial(t, broker.Addr(), brokertest.ClientID("oracle"), brokertest.PersistentSession(), brokertest.AutoReconnect())
	oracle.Subscribe("mix/#", 1)
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_LOG_LEVEL": "warn", "GATEWAY_PUBLISH_TIMEOUT": "2m"})
	s := g.dial("?topic=mix/%23")
	s.wait("ack", func(f frame) bool { return f.Type == "ack" })
	client := newClient(atOnce)
	t.Cleanup(client.CloseIdleConnections)

	b := &books{attempted: map[string]bool{}, acked: map[string]bool{}, statuses: map[string]int{}}
	var all sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for n := range requests {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			if err := b.mixedRequest(g, client, n); err != nil {
				t.Errorf("request %d: %v", n, err)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for range 3 {
		b.mu.Lock()
		n := len(b.acked)
		b.mu.Unlock()
		eventually(t, "publishes are acknowledged", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			select {
			case <-done:
				return true
			default:
				return len(b.acked) > n+50
			}
		})
		broker.Restart()
	}
	<-done
	t.Logf("%d acknowledged of %d; %v", len(b.acked), len(b.attempted), b.statuses)
	if len(b.acked) < requests/10 {
		t.Errorf("only %d were acknowledged", len(b.acked))
	}
	for status := range b.statuses {
		switch _, code, _ := strings.Cut(status, " "); {
		case code != "200" && code != "207" && code != "504" && status != "value 404":
			t.Errorf("got %d answers %s", b.statuses[status], status)
		}
	}
	checkBooks(t, b, oracle, s)
}

func checkBooks(t *testing.T, b *books, oracle *brokertest.Client, s *socket) {
	t.Helper()
	lost := ""
	received := map[string]bool{}
	eventually(t, "all that was answered 200 is received", func() bool {
		lost = ""
		for _, m := range oracle.Received() {
			received[string(m.Payload)] = true
		}
		for id := range b.acked {
			if !received[id] {
				lost = id
			}
		}
		return lost == ""
	})
	for id := range received {
		if !b.attempted[id] {
			t.Errorf("%q was received, and never sent", id)
		}
	}
	s.sync()
	times := map[string]int{}
	for _, m := range s.messages() {
		if m.Cursor != "" {
			times[m.Topic]++
		}
	}
	for topic, n := range times {
		if number, _, _ := strings.Cut(strings.TrimPrefix(topic, "mix/"), "-"); n > 1 && keyedRequest(number) {
			t.Errorf("%s was published %d times with one Idempotency-Key", topic, n)
		}
	}
}

func keyedRequest(number string) bool {
	var n int
	_, _ = fmt.Sscan(number, &n)
	return n%9 == 6
}
