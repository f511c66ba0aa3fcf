package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/wire"
)

// what is what an error says.
func what(err error) string {
	var e *client.Error
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%d %s retryable=%t unknown=%t", e.Status, e.Code, e.Retryable, errors.Is(err, client.ErrUnknownOutcome))
}

func wants(t *testing.T, name string, err error, want string) {
	t.Helper()
	if got := what(err); got != want {
		t.Errorf("%s: got %s (%v), want %s", name, got, err, want)
	}
}

func TestPayloadsArriveByteForByte(t *testing.T) {
	c := dial(t, shared, client.Options{})
	sub := c.Subscribe(t.Context(), []string{"bytes/#"})
	r := read(t, sub)
	for i, tc := range []struct {
		payload any
		want    string
	}{
		{"on", "on"}, {"21.50", "21.50"}, {[]byte{255, 0, 254}, "\xff\x00\xfe"}, {[]byte(nil), ""}, {"<a&b>\u2028\n", "<a&b>\u2028\n"}, {"\"quoted\"", "\"quoted\""},
		{21.5, "21.5"}, {true, "true"}, {map[string]any{"a": []any{1, "<x>", nil}}, `{"a":[1,"<x>",null]}`}, {wire.Code("named"), `"named"`},
	} {
		topic := fmt.Sprintf("bytes/%d", i)
		o, err := c.Publish(t.Context(), topic, tc.payload)
		if err != nil || o.Status != 200 || o.QoS != 1 || o.Took <= 0 {
			t.Fatalf("%v: got %+v, %v; want 200 at QoS 1", tc.payload, o, err)
		}
		r.waitLive(i + 1)
		live, _ := r.live()
		if m := live[i]; m.Topic != topic || string(m.Payload) != tc.want || m.Time.IsZero() {
			t.Errorf("%v: got %q on %s, want %q", tc.payload, m.Payload, m.Topic, tc.want)
		}
		if m, err := c.Get(t.Context(), topic); err != nil || string(m.Payload) != tc.want {
			t.Errorf("Get %s: got %v, %v; want %q", topic, m, err, tc.want)
		}
	}
	if o, err := c.Publish(t.Context(), "bytes/sent", "x", client.QoS(0)); err != nil || o.Status != 202 || o.QoS != 0 {
		t.Errorf("QoS 0: got %+v, %v; want 202", o, err)
	}
}

func TestPropertiesGoBothWays(t *testing.T) {
	c := dial(t, shared, client.Options{})
	r := read(t, c.Subscribe(t.Context(), []string{"props"}))
	_, err := c.Publish(t.Context(), "props", "x", client.ContentType("text/plain"), client.Expiry(time.Hour), client.ResponseTopic("props/answer"),
		client.Correlation([]byte{0, 255}), client.UserProperty("unit", "V"), client.UserProperty("tag", "a"), client.UserProperty("tag", "b"))
	if err != nil {
		t.Fatal(err)
	}
	r.waitLive(1)
	live, _ := r.live()
	m := live[0]
	got := fmt.Sprint(m.ContentType, m.Expiry, m.ResponseTopic, m.Correlation, m.UserProperties)
	if want := "text/plain1h0m0sprops/answer[0 255] map[tag:[a b] unit:[V]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRetainedIsReadAndCleared(t *testing.T) {
	c := dial(t, shared, client.Options{})
	if _, err := c.Publish(t.Context(), "kept//ü ?#"[:9], "1", client.Retain()); err != nil {
		t.Fatal(err)
	}
	if m, err := c.Get(t.Context(), "kept//ü ?"[:9]); err != nil || string(m.Payload) != "1" {
		t.Errorf("Get: got %v, %v; want 1", m, err)
	}
	if _, err := c.Publish(t.Context(), "kept/x", "", client.Retain()); what(err) != "422 would_clear_retained retryable=false unknown=false" {
		t.Errorf("empty and retained: got %v", what(err))
	}
	if o, err := c.Clear(t.Context(), "kept//ü ?"[:9]); err != nil || o.Status != 200 {
		t.Errorf("Clear: got %+v, %v", o, err)
	}
	_, err := c.Get(t.Context(), "kept//ü ?"[:9])
	wants(t, "Get of what was cleared", err, "404 topic_not_seen retryable=false unknown=false")
	if !errors.Is(err, client.ErrNoValue) {
		t.Errorf("got %v, want ErrNoValue", err)
	}
}

func TestRequestReturnsTheReply(t *testing.T) {
	c := dial(t, shared, client.Options{})
	device := c.Subscribe(t.Context(), []string{"cmnd/plug"})
	go func() {
		for event, err := range device.Events() {
			if m, ok := event.(*client.Message); ok && err == nil {
				_, _ = c.Publish(context.Background(), "stat/plug", "is "+string(m.Payload))
			}
		}
	}()
	m, err := c.Request(t.Context(), "cmnd/plug", "on", "stat/+", client.Within(time.Minute), client.Expect("is on"), client.QoS(1))
	if err != nil || m.Topic != "stat/plug" || string(m.Payload) != "is on" {
		t.Errorf("got %v, %v; want the reply", m, err)
	}
	_, err = c.Request(t.Context(), "cmnd/nobody", "on", "stat/nobody", client.Within(10*time.Millisecond))
	wants(t, "nobody", err, "504 no_reply retryable=false unknown=false")
	_, err = c.Request(t.Context(), "cmnd/nobody", "on", "stat/nobody", client.Retain())
	wants(t, "retain", err, "0 invalid_parameter retryable=false unknown=false")
	_, err = c.Publish(t.Context(), "cmnd/nobody", "on", client.Within(time.Second))
	wants(t, "within", err, "0 invalid_parameter retryable=false unknown=false")
}

func TestKeyPublishesOnce(t *testing.T) {
	key := client.Key(unique("k"))
	c := dial(t, shared, client.Options{})
	r := read(t, c.Subscribe(t.Context(), []string{"keyed"}))
	for i := range 3 {
		o, err := c.Publish(t.Context(), "keyed", "x", key)
		if err != nil || o.Replayed != (i > 0) {
			t.Fatalf("%d: got %+v, %v", i, o, err)
		}
	}
	_, err := c.Publish(t.Context(), "keyed", "y", key)
	wants(t, "another body", err, "422 idempotency_mismatch retryable=false unknown=false")
	_, _ = c.Publish(t.Context(), "keyed", "last")
	r.waitLive(2)
	if live, _ := r.live(); len(live) != 2 || string(live[1].Payload) != "last" {
		t.Errorf("got %d messages, want the first and the last", len(live))
	}
}

func TestRefusalsAreTyped(t *testing.T) {
	c := dial(t, shared, client.Options{})
	publish := func(topic string, payload any, o ...client.Option) error {
		_, err := c.Publish(t.Context(), topic, payload, o...)
		return err
	}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"wildcard":  {publish("a/+", "x"), "422 topic_wildcard retryable=false unknown=false"},
		"reserved":  {publish("$SYS/x", "x"), "403 topic_reserved retryable=false unknown=false"},
		"too large": {publish("a", strings.Repeat("x", 300_000)), "413 payload_too_large retryable=false unknown=false"},
		"QoS 3":     {publish("a", "x", client.QoS(3)), "422 invalid_qos retryable=false unknown=false"},
		"nothing":   {publish("a", nil), "0 payload_required retryable=false unknown=false"},
		"no JSON":   {publish("a", make(chan int)), "0 invalid_payload retryable=false unknown=false"},
		"no UTF-8":  {publish("a\xff", "x"), "0 invalid_utf8 retryable=false unknown=false"},
	} {
		wants(t, name, tc.err, tc.want)
	}
	var e *client.Error
	if err := publish("a", "x", client.QoS(3)); !errors.As(err, &e) || len(e.Errors) != 1 || e.Errors[0].Pointer != "/qos" || e.RequestID == "" || e.Detail == "" {
		t.Errorf("got %+v, want the field and the request's id", e)
	}
}

// asking is a gateway that asks who its clients are, and the key of one.
func asking(t *testing.T) (*gateway, string) {
	t.Helper()
	const key = "gwk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	file := t.TempDir() + "/access.yaml"
	writeFile(t, file, fmt.Sprintf("principals:\n  - name: robot\n    key_sha256: [%q]\n    subscribe: [\"mine/#\"]\n    publish: [\"mine/#\"]\n", sha256Hex(key)))
	return start(t, map[string]string{"GATEWAY_AUTH": "keys", "GATEWAY_ACCESS_FILE": file}), key
}

func TestCredentials(t *testing.T) {
	g, key := asking(t)
	_, err := client.Dial(t.Context(), "http://"+g.addr, client.Options{Token: "gwk_wrong"})
	wants(t, "a bad key", err, "401 unauthenticated retryable=false unknown=false")
	stranger := dial(t, g.addr, client.Options{})
	for _, err := range stranger.Subscribe(t.Context(), []string{"mine/#"}).Events() {
		wants(t, "no key", err, "401 unauthenticated retryable=false unknown=false")
	}

	var asked atomic.Int32
	c := dial(t, g.addr, client.Options{NewToken: func(context.Context) (string, error) { asked.Add(1); return key, nil }})
	_, err = c.Publish(t.Context(), "yours", "x")
	wants(t, "somebody else's topic", err, "403 topic_forbidden retryable=false unknown=false")
	sub := c.Subscribe(t.Context(), []string{"yours/#", "mine/#", "mine/+/#/x"})
	r := read(t, sub)
	if _, err := c.Publish(t.Context(), "mine/a", "0"); err != nil {
		t.Fatal(err)
	}
	r.waitLive(1)
	_, errs := r.all()
	if len(errs) != 2 {
		t.Fatalf("got %v, want two filters refused, and the other in force", errs)
	}
	var e *client.Error
	if !errors.As(errs[0], &e) || e.Filter != "yours/#" {
		t.Errorf("got %v, want yours/#", errs[0])
	}
	wants(t, "the first filter", errs[0], "403 filter_forbidden retryable=false unknown=false")
	wants(t, "the third filter", errs[1], "422 filter_syntax retryable=false unknown=false")
	if asked.Load() < 4 {
		t.Errorf("a token was asked for %d times, want for each request and connection", asked.Load())
	}
}

// A stand-in for the gateway, which answers what a test wants, and counts.
func standIn(t *testing.T, publish http.HandlerFunc) (*client.Client, *atomic.Int32) {
	t.Helper()
	var count atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/auth/whoami" {
			_, _ = w.Write([]byte(`{}`))
			return
		}
		count.Add(1)
		_, _ = io.Copy(io.Discard, r.Body) // only then the end of the connection is seen
		publish(w, r)
	}))
	t.Cleanup(s.Close)
	return dial(t, s.URL, client.Options{MaxWait: time.Millisecond}), &count
}

func problem(w http.ResponseWriter, status int, code wire.Code, retryable bool) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"code":%q,"status":%d,"retryable":%t,"detail":"d"}`, code, status, retryable)
}

// Only what was certainly not sent is tried again.
func TestOutcomesAreBelievedFromTheGatewayOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    string
		key     bool
	}{
		"unknown":            {func(w http.ResponseWriter, _ *http.Request) { problem(w, 504, "outcome_unknown", false) }, "504 outcome_unknown retryable=false unknown=true", false},
		"failed":             {func(w http.ResponseWriter, _ *http.Request) { problem(w, 500, "internal_error", false) }, "500 internal_error retryable=false unknown=true", false},
		"broken":             {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "0 outcome_unknown retryable=false unknown=true", false},
		"broken, with a key": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "0 outcome_unknown retryable=false unknown=true", true},
		"a proxy's 503": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
		}, "503 foreign_answer retryable=false unknown=true", false},
		"a proxy's page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("please log in"))
		}, "200 foreign_answer retryable=false unknown=true", false},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "302 foreign_answer retryable=false unknown=false", false},
		"refused":    {func(w http.ResponseWriter, _ *http.Request) { problem(w, 422, "broker_refused", false) }, "422 broker_refused retryable=false unknown=false", false},
	} {
		t.Run(name, func(t *testing.T) {
			c, count := standIn(t, tc.handler)
			var options []client.Option
			if tc.key {
				options = append(options, client.Key("k"))
			}
			_, err := c.Publish(t.Context(), "a", "x", options...)
			wants(t, name, err, tc.want)
			if count.Load() != 1 {
				t.Errorf("%d requests were made, want 1", count.Load())
			}
		})
	}
}

// An answer that came, and cannot be understood, is no lost connection: the same
// would come again.
func TestValueThatCannotBeReadIsForeign(t *testing.T) {
	c, count := standIn(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"topic":"a"`)) })
	_, err := c.Get(t.Context(), "a")
	wants(t, "half an object", err, "0 foreign_answer retryable=false unknown=false")
	if count.Load() != 1 {
		t.Errorf("%d requests were made, want 1", count.Load())
	}
}

func TestWhatWasNotSentIsTriedAgain(t *testing.T) {
	var n atomic.Int32
	c, count := standIn(t, func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) {
		case 1:
			problem(w, 503, "broker_unavailable", true)
		case 2:
			problem(w, 429, "rate_limited", true)
		default:
			_, _ = w.Write([]byte(`{"topic":"a","qos":1,"delivery":"acknowledged","subscribers":"none","took_ms":1}`))
		}
	})
	o, err := c.Publish(t.Context(), "a", "x")
	if err != nil || count.Load() != 3 || !o.NoSubscribers {
		t.Errorf("got %+v, %v behind %d requests, want success with the third", o, err, count.Load())
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	c, count := standIn(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		problem(w, 429, "rate_limited", true)
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := c.Publish(ctx, "a", "x")
	var e *client.Error
	if !errors.As(err, &e) || e.RetryAfter != time.Hour || !e.Retryable || count.Load() != 1 {
		t.Errorf("got %v behind %d requests, want the refusal at once: an hour is too long", err, count.Load())
	}
}

func TestWhereNobodyListens(t *testing.T) {
	addr := freeAddr(t)
	_, err := client.Dial(t.Context(), "http://"+addr, client.Options{})
	wants(t, "Dial", err, "0 not_connected retryable=true unknown=false")
	for _, bad := range []string{"", "localhost:8080", "mqtt://localhost", "http://user:pass@localhost", "http://localhost/?x", ":"} {
		_, err := client.Dial(t.Context(), bad, client.Options{})
		wants(t, bad, err, "0 invalid_address retryable=false unknown=false")
	}
}

// The client is stopped while an answer is awaited.
func TestCloseBreaksOffWhatIsUnderWay(t *testing.T) {
	arrived := make(chan struct{})
	c, _ := standIn(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	done := make(chan error)
	go func() {
		_, err := c.Publish(context.Background(), "a", "x")
		done <- err
	}()
	<-arrived
	c.Close()
	err := <-done
	wants(t, "under way", err, "0 outcome_unknown retryable=false unknown=true")
	if !errors.Is(err, client.ErrClosed) {
		t.Errorf("got %v, want ErrClosed in it", err)
	}
	_, err = c.Publish(t.Context(), "a", "x")
	wants(t, "afterwards", err, "0 closed retryable=false unknown=false")
	for _, err := range c.Subscribe(t.Context(), []string{"#"}).Events() {
		wants(t, "a subscription", err, "0 closed retryable=false unknown=false")
	}
}

// The caller's time is over while an answer is awaited.
func TestContextEndsAPublish(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := standIn(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := c.Publish(ctx, "a", "x")
	wants(t, "under way", err, "0 outcome_unknown retryable=false unknown=true")
	_, err = c.Publish(ctx, "a", "x")
	wants(t, "afterwards", err, "0 not_connected retryable=true unknown=false")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error in it", err)
	}
}
