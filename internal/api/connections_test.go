package api

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A connection over HTTP/2 waits, too, when it has no stream; one that carries a
// request is not closed, however old it is.
func TestHTTP2ConnectionsMakeRoom(t *testing.T) {
	connections := newConnections(0, slog.New(slog.DiscardHandler), time.Minute)
	connections.limit = 3
	held, release := make(chan struct{}, 1), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			held <- struct{}{}
			<-release
		}
	}))
	server.EnableHTTP2 = true
	server.Config.ConnState = connections.turn
	server.StartTLS()
	defer server.Close()
	get := func(path string) (status chan int) {
		transport := server.Client().Transport.(*http.Transport).Clone()
		t.Cleanup(transport.CloseIdleConnections)
		status = make(chan int, 1)
		go func() {
			res, err := (&http.Client{Transport: transport}).Get(server.URL + path)
			if err != nil || res.ProtoMajor != 2 {
				t.Errorf("GET %s: %v, %v", path, res, err)
				status <- 0
				return
			}
			_ = res.Body.Close()
			status <- res.StatusCode
		}()
		return status
	}
	old := get("/held")
	<-held
	waiting := func() (n int) {
		connections.mu.Lock()
		defer connections.mu.Unlock()
		for range connections.waiting.All() {
			n++
		}
		return n
	}
	for i := range 5 {
		status := get("/")
		if got := <-status; got != http.StatusOK {
			t.Fatalf("got %d, want 200", got)
		}
		eventuallyTrue(t, "it waits for the next request", func() bool { return waiting() == min(i+1, 2) })
	}
	if open, closed := connections.stats(); open > 3 || closed != 3 {
		t.Errorf("%d connections are open and %d were closed, want 3 and 3", open, closed)
	}
	close(release)
	if got := <-old; got != http.StatusOK {
		t.Errorf("the request that was under way got %d, want 200", got)
	}
}

// A connection over TLS is closed at once: to take leave would wait for who does
// not read.
func TestTLSConnectionIsClosedWithoutAWord(t *testing.T) {
	some := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	defer some.Close()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	server := tls.Server(ours, &tls.Config{Certificates: some.TLS.Certificates, MaxVersion: tls.VersionTLS12})
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	client := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	go end(server)
	_ = theirs.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := theirs.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		t.Errorf("got %d bytes and %v, want the end alone", n, err)
	}
}
