package mqtt

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come; far more than it takes.
const patience = 2 * time.Minute

// recorder is a Handler that keeps what it is given.
type recorder struct {
	mu       sync.Mutex
	messages []Message
	skipped  []Skipped
	rests    int
	hold     func(Message)
	changed  chan struct{}
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (r *recorder) record(what func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	what()
	close(r.changed)
	r.changed = make(chan struct{})
	return true
}

func (r *recorder) Message(m Message) bool {
	if r.hold != nil {
		r.hold(m)
	}
	return r.record(func() { r.messages = append(r.messages, m) })
}
func (r *recorder) Skipped(s Skipped) bool {
	return r.record(func() { r.skipped = append(r.skipped, s) })
}
func (r *recorder) Rest() { r.record(func() { r.rests++ }) }

// wait returns the messages when ok holds for them. It is called with the lock held.
func (r *recorder) wait(t testing.TB, what string, ok func() bool) []Message {
	t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		done, changed, messages := ok(), r.changed, r.messages
		r.mu.Unlock()
		if done {
			return messages
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s did not happen; %d messages", what, len(messages))
		}
	}
}

func (r *recorder) waitCount(t testing.TB, n int) []Message {
	t.Helper()
	return r.wait(t, "all messages", func() bool { return len(r.messages) >= n })
}

// dial connects for a test, and closes at its end.
func dial(t testing.TB, rawURL string, v Version, change ...func(*Config)) *Conn {
	t.Helper()
	c, err := tryDial(t, rawURL, v, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func tryDial(t testing.TB, rawURL string, v Version, change ...func(*Config)) (*Conn, error) {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Version: v, URL: u, ClientID: "test-" + strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())}
	for _, f := range change {
		f(&cfg)
	}
	return Dial(within(t), cfg)
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// outcome publishes and waits.
func outcome(t testing.TB, c *Conn, m Message) (ReasonCode, error) {
	t.Helper()
	p := NewPublication(m)
	c.Publish(p)
	select {
	case <-p.Done():
	case <-within(t).Done():
		t.Fatalf("no outcome for %s", m.Topic)
	}
	return p.Outcome()
}

// ended waits for the end of a connection, and returns why.
func ended(t testing.TB, c *Conn) error {
	t.Helper()
	select {
	case <-c.Done():
	case <-within(t).Done():
		t.Fatal("the connection did not end")
	}
	return c.Err()
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// bothVersions runs a test for each.
func bothVersions(t *testing.T, f func(t *testing.T, v Version)) {
	t.Helper()
	for _, v := range []Version{V311, V5} {
		t.Run("MQTT "+v.String(), func(t *testing.T) { f(t, v) })
	}
}

type owner func(*Publication)

func (o owner) Settled(p *Publication) { o(p) }
