package api

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

// Payloads that wait for the broker count as long as they do.
func TestPayloadsInFlightAreBounded(t *testing.T) {
	b := &slowBroker{outcome: make(chan error)}
	g := startRig(t, func(o *Options) { o.BodiesBytes, o.Publisher = 1<<20, b })
	s := g.dial(t, "/ws")
	const n = 10
	for i := range n {
		s.text(fmt.Sprintf(`{"op":"publish","id":%d,"topic":"a","payload":"%s"}`, i, part))
	}
	refused := 0
	for len(b.publishes())+refused < n {
		s.nextError(wire.CodeOverloaded)
		refused++
	}
	if refused == n || refused < n/2 {
		t.Errorf("got %d of %d refused, want some, and those for which there is no room", refused, n)
	}
	for range n - refused {
		b.outcome <- nil
		if f := s.next(); f["type"] != wire.TypePublished {
			t.Errorf("got %v, want it published", f)
		}
	}
	eventuallyTrue(t, "everything is given back", func() bool { return g.server.bodies.bytes() == 0 })
}

// Whatever becomes of a request, what it held is given back.
func TestBytesAreGivenBackOnEveryPath(t *testing.T) {
	g, _ := startDevice(t)
	g.ingest("a", "1")
	const json, ndjson = "Content-Type: application/json", "Content-Type: application/x-ndjson"
	array := "[" + strings.Repeat(valid+",", 20) + `{"topic":"#","payload":1}]`
	long := strings.Repeat("x", 300<<10)
	for _, raw := range []string{
		publishRequest(valid), publishRequest("{"), publishRequest(`{"topic":"#","payload":1}`), publishRequest(`{"topic":"a","payload":"` + long + `"}`),
		publishRequest(strings.Repeat(" ", 3<<20)), request("POST", "/topics/a", "on"), request("POST", "/topics/a", long), request("PUT", "/topics/a", ""),
		request("DELETE", "/topics/a", ""), request("DELETE", "/topics/a", "x"), keyed("POST", "/topics/a", "on", "k1"), keyed("POST", "/topics/a", "on", "k1"),
		keyed("POST", "/topics/a", "off", "k1"), request("POST", "/publish/batch", array, json), request("POST", "/publish/batch", "[", json),
		request("POST", "/publish/batch", "[]", json), keyed("POST", "/publish/batch", array, "k2", json), keyed("POST", "/publish/batch", array, "k2", json),
		request("POST", "/publish/batch", valid+"\n{\n"+`{"topic":"a","payload":"`+long+`"}`, ndjson), request("POST", "/publish/batch", strings.Repeat("x", 3<<20), ndjson),
		keyed("POST", "/publish/batch", valid+"\n"+valid, "k3", ndjson), keyed("POST", "/publish/batch", valid+"\n"+valid, "k3", ndjson),
		request("POST", "/request/cmnd/x/POWER?reply=stat/x/POWER", "x"), request("POST", "/request/a?reply=never&timeout=10ms", "x"), request("POST", "/request/a", "x"),
		keyed("POST", "/request/cmnd/x/POWER?reply=stat/x/POWER", "x", "k4"), keyed("POST", "/request/cmnd/x/POWER?reply=stat/x/POWER", "x", "k4"),
		request("GET", "/topics/a", ""), request("GET", "/topics/a", "", "Accept: image/png"), request("GET", "/topics/never", ""), request("GET", "/topics", ""),
		request("GET", "/topics?filter=elsewhere/a", ""), request("GET", "/history?filter=a", ""), request("HEAD", "/topics", ""),
	} {
		exchange(t, g.public, raw)
	}
	for _, begin := range unfinished { // whose clients go away
		c := connect(t, g.public)
		_, _ = io.WriteString(c, begin("x"))
		_ = c.Close()
	}
	s := g.dial(t, "/ws")
	for _, op := range []string{
		`{"op":"publish","topic":"a","payload":"` + part + `"}`, `{"op":"publish","topic":"#","payload":1}`, "{",
		`{"op":"request","topic":"cmnd/x/POWER","payload":1,"reply":"stat/x/POWER"}`, `{"op":"request","topic":"a","payload":1,"reply":"b","timeout":"10ms"}`,
	} {
		s.text(op)
		s.next()
	}
	_ = s.conn.Close()
	eventuallyTrue(t, "everything is given back", func() bool {
		return g.server.bodies.bytes() == 0 && g.server.answers.bytes() == 0 && g.server.waiting.Load() == 0 && g.server.streams.Load() == 0
	})
}

// Clients that ask for lists and read none of them keep neither the places nor
// all of the room.
func TestListsAreMadeWhileOthersAreNotRead(t *testing.T) {
	const limit = 4 << 20
	g := startRig(t, func(o *Options) { o.AnswersBytes, o.Timing.Room = limit, 20*time.Millisecond })
	payload := strings.Repeat("x", 100_000)
	for i := range 20 {
		g.ingest(fmt.Sprintf("big/%d", i), payload)
	}
	g.ingest("small", "1")
	public := g.listen(g.server.Public(), 8<<10)
	for range maxLists + 6 {
		_, _ = io.WriteString(deaf(t, public), request("GET", "/topics?filter=big/%23", ""))
	}
	eventuallyTrue(t, "there is no more room", func() bool { return g.server.answers.bytes() > limit/4 })
	a := g.get("/topics?filter=big/%23")
	a.wantProblem(t, http.StatusServiceUnavailable, wire.CodeOverloaded)
	if a.header.Get("Retry-After") == "" {
		t.Error("got no Retry-After, want one")
	}
	if a := g.get("/topics?filter=small"); a.status != http.StatusOK {
		t.Errorf("got %d %s for a small list, want 200", a.status, a.body)
	}
	if a := g.get("/topics/small"); a.status != http.StatusOK {
		t.Errorf("got %d %s for a value, want 200", a.status, a.body)
	}
	if n := g.server.answers.bytes(); n > limit {
		t.Errorf("got %d bytes being written, want at most %d", n, limit)
	}
}

func TestListsThatAreBeingMadeAreBounded(t *testing.T) {
	g := startRig(t, func(o *Options) { o.Timing.Room = 20 * time.Millisecond })
	for range maxLists {
		g.server.lists <- struct{}{}
	}
	for _, path := range []string{"/topics", "/history?filter=a"} {
		a := g.get(path)
		a.wantProblem(t, http.StatusServiceUnavailable, wire.CodeOverloaded)
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s: got no Retry-After, want one", path)
		}
	}
	<-g.server.lists
	if a := g.get("/topics"); a.status != http.StatusOK {
		t.Errorf("got %d with a place free, want 200", a.status)
	}
}

// Requests whose clients are gone wait on, but not in the place of all others.
func TestOrphanedRequestsAreBounded(t *testing.T) {
	g := startRig(t)
	const n = maxOrphaned + 10
	var all []net.Conn
	for i := range n {
		c := connect(t, g.public)
		_, _ = io.WriteString(c, keyed("POST", "/request/a?reply=b&timeout=1m", "x", fmt.Sprint("k", i)))
		all = append(all, c)
	}
	eventuallyTrue(t, "all wait", func() bool { return g.server.waiting.Load() == n })
	for _, c := range all {
		_ = c.Close()
	}
	eventuallyTrue(t, "as many wait as may", func() bool { return g.server.waiting.Load() == maxOrphaned })
	gone := 0
	for i := range n {
		switch a := exchange(t, g.public, keyed("POST", "/request/a?reply=b&timeout=1m", "x", fmt.Sprint("k", i))); a.status {
		case http.StatusConflict: // goes on
		case http.StatusGatewayTimeout: // what is known is told, and nothing sent again
			a.wantProblem(t, http.StatusGatewayTimeout, wire.CodeNoReply)
			gone++
		default:
			t.Errorf("got %d %s, want 409 or 504", a.status, a.body)
		}
	}
	if gone != n-maxOrphaned {
		t.Errorf("got %d answers, want those of the %d that wait no more", gone, n-maxOrphaned)
	}
	g.wantPublishes(t, n)
	g.ingest("b", "done")
	eventuallyTrue(t, "nobody waits", func() bool { return g.server.waiting.Load() == 0 && g.server.orphaned.Load() == 0 })
}

// Batches that come at once do not take more of the store than it has.
func TestKeyedBatchesStayWithinTheStore(t *testing.T) {
	const limit = 1 << 20
	b := &slowBroker{outcome: make(chan error)}
	g := startRig(t, func(o *Options) { o.Publisher, o.IdempotencyBytes = b, limit })
	store := g.server.idempotency
	size := func() int {
		store.mu.Lock()
		defer store.mu.Unlock()
		return store.bytes
	}
	const objects = 400
	array := "[" + strings.Repeat(valid+",", objects-1) + valid + "]"
	answers := make(chan *reply, 24)
	var sent sync.WaitGroup
	for i := range cap(answers) {
		sent.Go(func() {
			answers <- exchange(t, g.public, keyed("POST", "/publish/batch", array, fmt.Sprint("k", i), "Content-Type: application/json"))
		})
	}
	refused := 0
	for range cap(answers) - limit/(objects*resultRoom) {
		(<-answers).wantProblem(t, http.StatusServiceUnavailable, wire.CodeIdempotencyFull)
		refused++
		if n := size(); n > limit {
			t.Errorf("got %d bytes in the store, want at most %d", n, limit)
		}
	}
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case b.outcome <- nil:
			case <-stop:
				return
			}
		}
	}()
	sent.Wait()
	close(stop)
	for range cap(answers) - refused {
		switch a := <-answers; a.status {
		case http.StatusOK:
		case http.StatusServiceUnavailable:
			refused++
		default:
			t.Errorf("got %d %.100s, want 200 or 503", a.status, a.body)
		}
	}
	if got, want := len(b.publishes()), (cap(answers)-refused)*objects; got != want {
		t.Errorf("got %d publishes, want %d: nothing of what is refused", got, want)
	}
	if n := size(); n > limit || n < (cap(answers)-refused)*objects*50 {
		t.Errorf("got %d bytes for %d answers, want what they take", n, cap(answers)-refused)
	}
}

// A reply that is too large to be kept is answered once; whoever asks again is
// told so, and nothing is published again.
func TestReplyThatCannotBeKeptIsTold(t *testing.T) {
	g := startRig(t, func(o *Options) { o.IdempotencyBytes = 64 << 10 })
	req := keyed("POST", "/request/a?reply=b&timeout=1m", "x", "k")
	first := make(chan *reply, 1)
	c := connect(t, g.public)
	go func() { first <- exchangeOn(t, c, req) }()
	eventuallyTrue(t, "it waits", func() bool { return g.server.waiting.Load() == 1 })
	g.hub.Ingest(hub.Inbound{Topic: "b", Payload: []byte(part)})
	if a := <-first; a.status != http.StatusOK || len(a.body) < len(part) {
		t.Errorf("got %d and %d bytes, want the reply", a.status, len(a.body))
	}
	exchange(t, g.public, req).wantProblem(t, http.StatusGatewayTimeout, wire.CodeOutcomeUnknown)
	g.wantPublishes(t, 1)
	if n := g.server.idempotency.bytes; n > 64<<10 {
		t.Errorf("got %d bytes in the store, want at most its limit", n)
	}
}

// A result takes no more room than was taken for it.
func TestResultOfAnObjectIsBounded(t *testing.T) {
	g := startRig(t)
	var fields []string
	for i := range 16 {
		fields = append(fields, fmt.Sprintf(`"\u0001%d":0`, i))
	}
	object := "{" + strings.Join(fields, ",") + "}"
	a := exchange(t, g.public, request("POST", "/publish/batch", "["+object+","+valid+`,{"x":1}]`, "Content-Type: application/json"))
	lines := strings.Split(string(a.body), ",\n")
	if len(lines) != 3 || len(lines[0]) > resultRoom+len(object) || !strings.Contains(lines[0], `"code":"unknown_field"`) {
		t.Fatalf("got %s, want three results, the first without its errors", a.body)
	}
	if !strings.Contains(lines[2], `"pointer":"/x"`) {
		t.Errorf("got %s, want the field that is wrong", lines[2])
	}
}

// What is held, and what may be, is in the metrics.
func TestMetricsHaveWhatIsHeld(t *testing.T) {
	g := startRig(t, func(o *Options) { o.BodiesBytes, o.AnswersBytes, o.Timing.Progress = 1<<20, 2<<20, patience })
	_, _ = io.WriteString(connect(t, g.public), unfinished["a payload"](part))
	g.server.answers.take(0, 1000)
	eventuallyTrue(t, "the body has come", func() bool { return g.server.bodies.bytes() >= int64(len(part)) })
	metrics := func() string { return string(exchange(t, g.admin, request("GET", "/metrics", "")).body) }
	eventuallyTrue(t, "gateway_bodies_bytes", func() bool { // it still grows
		return strings.Contains(metrics(), fmt.Sprintf("\ngateway_bodies_bytes %d\n", g.server.bodies.bytes()))
	})
	got := metrics()
	for _, want := range []string{
		"\ngateway_bodies_limit_bytes 1.048576e+06\n",
		"\ngateway_answers_bytes 1000\n", "\ngateway_answers_limit_bytes 2.097152e+06\n", "\ngateway_requests_orphaned 0\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got no line %q in the metrics", want)
		}
	}
}
