package api

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
)

// sink is a ResponseWriter that keeps nothing.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header              { return s.header }
func (s *sink) Write(p []byte) (int, error)      { return len(p), nil }
func (s *sink) WriteHeader(int)                  {}
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) Flush()                           {}

// lightBroker takes everything and remembers nothing.
type lightBroker struct{ memoryBroker }

func (*lightBroker) Publish(Outbound) (Pending, error) { return done{}, nil }

func benchServer(b *testing.B) *Server {
	h := hub.New(hub.Options{Upstream: &memoryBroker{}})
	b.Cleanup(h.Close)
	return New(Options{
		Hub: h, Publisher: &lightBroker{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Health: func() Health { return Health{Publish: true, Subscribe: true} }, BrokerStats: func() BrokerStats { return BrokerStats{} },
		MaxPayload: 256 << 10, QueueBytes: 1 << 20, MaxConnections: 10, PublishTimeout: time.Second,
	})
}

// BenchmarkPublishHandler is a POST /publish without net/http's own part.
func BenchmarkPublishHandler(b *testing.B) {
	handler := benchServer(b).Public()
	body := []byte(`{"topic":"bench/12","payload":"` + strings.Repeat("0123456789", 10) + `","qos":1}`)
	reader := bytes.NewReader(body)
	r, _ := http.NewRequest(http.MethodPost, "/publish", nil)
	r.RequestURI, r.Host, r.RemoteAddr, r.ContentLength = "/publish", "127.0.0.1:8080", "127.0.0.1:1", int64(len(body))
	r.Header.Set("Content-Type", "application/json")
	r.Body = io.NopCloser(reader)
	w := &sink{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		clear(w.header)
		handler.ServeHTTP(w, r)
	}
}

// BenchmarkBatchLine is one line of a stream, from its bytes to its result.
func BenchmarkBatchLine(b *testing.B) {
	s := benchServer(b)
	line := []byte(`{"topic":"bench/12","payload":"` + strings.Repeat("0123456789", 10) + `","qos":1}`)
	by := s.lasting(&caller{principal: s.access.Anonymous(), requestID: "r"})
	b.ReportAllocs()
	s.pipeline(func() (batchItem, bool) { return s.batchItem(line, by), b.Loop() }, func([]byte, *batchResult, bool) bool { return true })
}
