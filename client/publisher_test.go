package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/internal/brokertest"
)

// A Publisher keeps the order, tells every outcome once, and sends nothing
// twice, whatever the network does.
func TestPublisherKeepsTheOrderOverCuts(t *testing.T) {
	p := brokertest.StartProxy(t, strings.TrimPrefix(shared, "http://"))
	options, _ := behindProxy()
	c := dial(t, p.Addr(), options)
	source := dial(t, shared, client.Options{})
	r := read(t, source.Subscribe(t.Context(), []string{"piped"}))
	many := c.NewPublisher(t.Context())
	defer many.Close()
	const n = 300
	var outcomes [n]atomic.Int32
	var confirmed [n]atomic.Bool
	for i := range n {
		payload := any(fmt.Sprint(i))
		if i%100 == 50 { // larger than a frame, so it goes by itself
			payload = fmt.Sprint(i) + " " + strings.Repeat("\x00", 200_000)
		}
		many.Publish("piped", payload, func(o client.Outcome, err error) {
			outcomes[i].Add(1)
			confirmed[i].Store(err == nil && o.Status == 200)
			if err != nil && !errors.Is(err, client.ErrUnknownOutcome) {
				t.Errorf("message %d: got %v, want an unknown outcome", i, err)
			}
		})
		if i%70 == 69 { // with a few under way
			eventually(t, "most have an outcome", func() bool { return outcomes[i-10].Load() == 1 })
			p.Cut()
		}
	}
	many.Wait()
	least := 0
	for i := range n {
		if got := outcomes[i].Load(); got != 1 {
			t.Fatalf("message %d: got %d outcomes, want 1", i, got)
		}
		if confirmed[i].Load() {
			least++
		}
	}
	if _, err := source.Publish(t.Context(), "piped", "end"); err != nil {
		t.Fatal(err)
	}
	var got []string
	eventually(t, "the last message came", func() bool {
		live, _ := r.live()
		got = nil
		for _, m := range live {
			got = append(got, strings.Fields(string(m.Payload))[0])
		}
		return len(got) > 0 && got[len(got)-1] == "end"
	})
	last := -1
	for _, s := range got[:len(got)-1] {
		i := 0
		if _, err := fmt.Sscan(s, &i); err != nil || i <= last {
			t.Fatalf("got %s behind %d, want a rising number", s, last)
		}
		last = i
	}
	for i := range n {
		if confirmed[i].Load() && !slices.Contains(got, fmt.Sprint(i)) {
			t.Errorf("message %d was confirmed and has not come", i)
		}
	}
	if least < n/2 {
		t.Errorf("only %d of %d were confirmed: the cuts cost too much", least, n)
	}
}

func TestPublisherTellsRefusals(t *testing.T) {
	c := dial(t, shared, client.Options{})
	many := c.NewPublisher(t.Context())
	got := make(chan error, 4)
	done := func(_ client.Outcome, err error) { got <- err }
	many.Publish("a/#", "1", done)
	wants(t, "a wildcard", <-got, "422 topic_wildcard retryable=false unknown=false")
	many.Publish("a", "1", done, client.Key("k"))
	wants(t, "a key", <-got, "0 invalid_parameter retryable=false unknown=false")
	many.Publish("a", "1", done, client.QoS(2))
	if err := <-got; err != nil {
		t.Errorf("QoS 2: got %v", err)
	}
	many.Close()
	many.Publish("a", "1", done)
	if err := <-got; err == nil || errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("after Close: got %v, want that nothing was sent", err)
	}
}

func TestListsGoOnPageByPage(t *testing.T) {
	g := start(t, map[string]string{"GATEWAY_MAX_PAYLOAD_BYTES": "100000"})
	c := dial(t, g.addr, client.Options{})
	many := c.NewPublisher(t.Context())
	defer many.Close()
	for i := range 60 { // 4 MiB are one page
		many.Publish(fmt.Sprintf("list/%02d", i), strings.Repeat("x", 90_000), func(_ client.Outcome, err error) {
			if err != nil {
				t.Error(err)
			}
		}, client.Retain())
	}
	many.Wait()
	if _, err := c.Publish(t.Context(), "list/07", "newer"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the newer value is there", func() bool {
		m, err := c.Get(t.Context(), "list/07")
		return err == nil && string(m.Payload) == "newer"
	})
	large := brokertest.Dial(t, "mqtt://"+g.broker)
	large.Publish("list/99", make([]byte, 200_000), 1, true)
	topics, sizes, gaps := 0, 0, 0
	for event, err := range c.Topics(t.Context(), "list/#") {
		if err != nil {
			t.Fatal(err)
		}
		switch e := event.(type) {
		case *client.Message:
			topics, sizes = topics+1, sizes+len(e.Payload)
		case *client.Gap:
			gaps++
		}
	}
	if topics != 60 || sizes != 59*90_000+5 || gaps != 1 {
		t.Errorf("Topics: got %d of %d bytes and %d gaps, want 60, and one for what is too large", topics, sizes, gaps)
	}
	topics, sizes = 0, 0
	for event, err := range c.Retained(t.Context(), "list/#") {
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := event.(*client.Message); ok && m.Retain {
			topics, sizes = topics+1, sizes+len(m.Payload)
		}
	}
	if topics != 60 || sizes != 60*90_000 {
		t.Errorf("Retained: got %d of %d bytes, want 60 as the broker keeps them", topics, sizes)
	}
	for _, err := range c.Topics(t.Context(), "a/#/b") {
		wants(t, "a wrong filter", err, "422 filter_syntax retryable=false unknown=false")
	}
	for d, err := range c.Devices(t.Context(), "offline") {
		t.Errorf("got the device %v, %v; want none", d, err)
	}
	_, err := c.Device(t.Context(), "nobody/x")
	wants(t, "an unknown device", err, "404 device_not_seen retryable=false unknown=false")
}

// A list whose page leads to itself, as behind a proxy that drops the query, does
// not go on forever.
func TestListThatDoesNotGoOn(t *testing.T) {
	var lists atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/auth/whoami" {
			fmt.Fprint(w, "{}")
			return
		}
		if lists.Add(1) > 10 {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Link", `<?after=a>; rel="next"`)
		fmt.Fprint(w, `[{"id":"a"}]`)
	}))
	defer server.Close()
	c := dial(t, strings.TrimPrefix(server.URL, "http://"), client.Options{})
	n, end := 0, error(nil)
	for _, err := range c.Devices(t.Context(), "") {
		if n++; err != nil {
			n, end = n-1, err
		}
	}
	var e *client.Error
	if !errors.As(end, &e) || e.Code != client.CodeForeignAnswer || n != 2 || lists.Load() != 2 {
		t.Errorf("got %d devices of %d pages and %v, want 2 and foreign_answer", n, lists.Load(), end)
	}
}
