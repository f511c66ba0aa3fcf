package api

import "testing"

// When more clients come back at once than can be served at once, the rest is
// sent away with a time to come again, and every place is given back.
func TestJoinersBeyondTheLimitAreSentAway(t *testing.T) {
	s := &Server{opts: Options{MaxConnections: 2 * maxJoining}}
	for i := range maxJoining {
		if p := s.admit(); p != nil {
			t.Fatalf("joiner %d: %v", i, p)
		}
	}
	if p := s.admit(); p == nil || p.Code != "too_many_connections" || p.Status != 503 {
		t.Fatalf("got %v, want too_many_connections", p)
	}
	s.joined()
	if p := s.admit(); p != nil {
		t.Fatalf("a place was free: %v", p)
	}
	for range maxJoining {
		s.joined()
	}
	for range maxJoining + 1 {
		s.release()
	}
	if s.joining.Load() != 0 || s.streams.Load() != 0 {
		t.Errorf("%d joining, %d streams, want none", s.joining.Load(), s.streams.Load())
	}
}
