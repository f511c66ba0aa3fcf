package access

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// write puts a file there as a careful writer does.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

func tempFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.yaml")
	write(t, path, text)
	return path
}

func open(t testing.TB, o Options) *Authenticator {
	t.Helper()
	a, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// wantRefused checks that nobody learns more than that the credentials are wrong, but for the log.
func wantRefused(t testing.TB, p *Principal, err error) {
	t.Helper()
	if !errors.Is(err, ErrUnauthenticated) || p != nil {
		t.Fatalf("got %+v, %v; want %v", p, err, ErrUnauthenticated)
	}
	if got, want := err.Error(), ErrUnauthenticated.Error(); got != want {
		t.Errorf("the text of the refusal: got %q, want %q", got, want)
	}
	if via, reason := Reason(err); via == "" || reason == "" {
		t.Errorf("the reason for the log: got %q, %q; want both", via, reason)
	}
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after a minute: not yet %s", what)
		}
	}
}
