package gateway

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/vulturepi/gateway/internal/certificate"
)

// A watcher that has lost changes says so and waits until it is heard. The files
// are read then, and later changes are noticed as before.
func TestLostChangesOfCertificatesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	made, err := certificate.Make(dir, []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	c := &certificates{certFile: made.Cert, keyFile: made.Key}
	if _, err := c.read(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	events, failures := make(chan fsnotify.Event), make(chan error)
	var following sync.WaitGroup
	following.Go(func() { c.heed(ctx, slog.New(slog.DiscardHandler), events, failures, nil) })
	defer following.Wait()
	defer cancel()
	for _, tell := range []func(){
		func() { failures <- fsnotify.ErrEventOverflow },
		func() { events <- fsnotify.Event{} },
	} {
		old := c.current.Load()
		if _, err := certificate.Make(dir, []string{"localhost"}); err != nil {
			t.Fatal(err)
		}
		tell()
		eventually(t, "other certificates are in force", func() bool { return c.current.Load() != old })
	}
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
