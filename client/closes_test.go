package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/wire"
)

// streams is a stand-in for the gateway whose WebSockets end as a test wants.
func streams(t *testing.T, ws http.HandlerFunc, change ...func(*client.Options)) (*client.Client, *atomic.Int32) {
	t.Helper()
	var count atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			count.Add(1)
			ws(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{}`))
	}))
	t.Cleanup(s.Close)
	o := client.Options{MaxWait: time.Millisecond}
	for _, f := range change {
		f(&o)
	}
	return dial(t, s.URL, o), &count
}

// The close code says whether it is worth another connection.
func TestCloseCodes(t *testing.T) {
	for code, want := range map[wire.CloseCode]string{
		wire.CloseCredentials: "401 unauthenticated retryable=false unknown=false",
		wire.CloseUnknown:     "401 unauthenticated retryable=false unknown=false",
		wire.CloseRights:      "403 filter_forbidden retryable=false unknown=false",
		wire.CloseMalformed:   "0 not_connected retryable=false unknown=false",
		wire.CloseTooBig:      "0 not_connected retryable=false unknown=false",
		wire.CloseGoingAway:   "again",
		wire.CloseOverloaded:  "again",
		wire.CloseExpired:     "again",
		wire.CloseSlow:        "again",
		wire.CloseRate:        "again",
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			var accepted atomic.Int32
			c, count := streams(t, func(w http.ResponseWriter, r *http.Request) {
				conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.CloseNow()
				_, _, _ = conn.Read(r.Context())
				_ = conn.Write(r.Context(), websocket.MessageText, []byte(fmt.Sprintf(
					`{"type":"ack","id":%d,"results":[{"topic":"a","ok":true}],"cursor":"e-%d"}`, min(2*accepted.Load()+1, 3), accepted.Add(1))))
				_ = conn.Close(websocket.StatusCode(code), "as the test wants")
			})
			r := read(t, c.Subscribe(t.Context(), []string{"a"}))
			if want == "again" {
				eventually(t, "it comes back", func() bool { return count.Load() > 2 })
				if _, errs := r.all(); len(errs) > 0 {
					t.Errorf("got %v, want no error", errs)
				}
				return
			}
			<-r.done
			_, errs := r.all()
			if len(errs) != 1 || count.Load() != 1 {
				t.Fatalf("got %v behind %d connections, want one error", errs, count.Load())
			}
			wants(t, "the end", errs[0], want)
		})
	}
}

// A handshake that is refused by something else is worth another one, unless it
// would end in the same way.
func TestForeignHandshakes(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusBadGateway: "again", http.StatusTooManyRequests: "again",
		http.StatusNotFound: "404 foreign_answer retryable=false unknown=false", http.StatusFound: "302 foreign_answer retryable=false unknown=false",
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			c, count := streams(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
			r := read(t, c.Subscribe(t.Context(), []string{"a"}))
			if want == "again" {
				eventually(t, "it comes back", func() bool { return count.Load() > 2 })
				return
			}
			<-r.done
			_, errs := r.all()
			if len(errs) != 1 {
				t.Fatalf("got %v, want one error", errs)
			}
			wants(t, "the end", errs[0], want)
		})
	}
}

// What the gateway cannot do at the moment is tried again: a filter that the
// broker has not confirmed, too.
func TestFilterThatCannotBeAtTheMoment(t *testing.T) {
	c, count := streams(t, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		_, _, _ = conn.Read(r.Context())
		_ = conn.Write(r.Context(), websocket.MessageText, []byte(`{"type":"ack","id":1,"results":[{"topic":"a","ok":true},{"topic":"b","ok":false,"status":503,"code":"busy","detail":"a code of a later gateway","retryable":true}],"cursor":"e-1"}`))
		_, _, _ = conn.Read(r.Context())
		_, _, _ = conn.Read(r.Context())
	})
	sub := c.Subscribe(t.Context(), []string{"a", "b"})
	r := read(t, sub)
	eventually(t, "it comes back", func() bool { return count.Load() > 2 })
	if _, errs := r.all(); len(errs) > 0 || sub.Cursor() != "" {
		t.Errorf("got %v at %q, want no error, and no place yet", errs, sub.Cursor())
	}
}

// A gateway that lives and does not answer is waited for as long as is said.
func TestSubscribeAndPublisherWaitNotForever(t *testing.T) {
	c, _ := streams(t, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		ctx, cancel := context.WithCancel(r.Context())
		go func() {
			defer cancel()
			for err := error(nil); err == nil; {
				_, _, err = conn.Read(ctx)
			}
		}()
		for err == nil { // signs of life, and no answer
			err = conn.Ping(ctx)
		}
	}, func(o *client.Options) { o.Timeout, o.RetryFor = 300*time.Millisecond, -1 })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c.Subscribe(ctx, []string{"a"}).Close()
	if ctx.Err() != nil {
		t.Error("Subscribe: it waited for as long as it was let")
	}
	var e *client.Error
	many := c.NewPublisher(ctx)
	defer many.Close()
	many.Publish("a", "1", func(_ client.Outcome, err error) {
		if !errors.As(err, &e) || e.Code != client.CodeNotConnected || ctx.Err() != nil {
			t.Errorf("Publish: got %v, want that nothing was sent", err)
		}
	})
	many.Wait()
}
