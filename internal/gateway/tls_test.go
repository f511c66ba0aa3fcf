package gateway

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/vulturepi/gateway/internal/certificate"
)

// made are certificates that have been read from a directory.
func made(t *testing.T) (c *certificates, dir string) {
	t.Helper()
	dir = t.TempDir()
	files, err := certificate.Make(dir, []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	c = &certificates{certFile: files.Cert, keyFile: files.Key}
	if _, err := c.read(); err != nil {
		t.Fatal(err)
	}
	return c, dir
}

// A watcher that has lost changes says so and waits until it is heard. The files
// are read then, and later changes are noticed as before.
func TestLostChangesOfCertificatesAreReadAgain(t *testing.T) {
	c, dir := made(t)
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

// A pipe in place of a certificate holds up neither the reading nor the end.
func TestPipeInPlaceOfACertificateIsNotWaitedFor(t *testing.T) {
	c, _ := made(t)
	if err := os.Remove(c.certFile); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(c.certFile, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := c.read()
		read <- err
	}()
	select {
	case err := <-read:
		if err == nil {
			t.Error("got no error, want the pipe refused")
		}
	case <-time.After(patience):
		t.Error("it is waited for")
	}
}

// Whatever else changes in the folder of the certificates, what is wrong with
// them is said once, and again to who asks.
func TestBadCertificatesAreToldOnce(t *testing.T) {
	dir := t.TempDir()
	c := &certificates{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem")}
	var told strings.Builder
	log := NewLog("text", "info", &told)
	for range 3 {
		c.again(log.Logger, false)
	}
	for _, path := range []string{c.certFile, c.keyFile} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		c.again(log.Logger, false)
	}
	c.again(log.Logger, true)
	log.Close()
	for want, times := range map[string]int{"GATEWAY_TLS_CERT_FILE: the file cannot be read": 1, "GATEWAY_TLS_KEY_FILE: it is not the key": 2} {
		if n := strings.Count(told.String(), want); n != times {
			t.Errorf("%q is said %d times, want %d:\n%s", want, n, times, told.String())
		}
	}
}
