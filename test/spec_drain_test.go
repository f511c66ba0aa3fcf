package test

import (
	"io"
	"net/http"
	"testing"
)

// drain begins a stop of the gateway that cannot come to its end: a publish is
// under way until the function is called. When it returns, the gateway has
// ended.
func (p *played) drain(t *testing.T) (end func()) {
	t.Helper()
	reached, goOn, answered := make(chan struct{}), make(chan struct{}), make(chan struct{})
	p.listen(func(got publication) {
		if got.topic == "held" {
			close(reached)
			<-goOn
		}
	})
	go func() {
		defer close(answered)
		if a, err := p.tryPost(`{"topic":"held","payload":1}`); err != nil || a.status != 200 {
			t.Errorf("the publish that is under way: got %d %s %v, want 200", a.status, a.body, err)
		}
	}()
	<-reached
	p.stop()
	p.waitReady(http.StatusServiceUnavailable)
	return func() {
		close(goOn)
		<-answered
		_ = p.shutdown()
	}
}

// drainAnswers are those of a gateway that is going down. net/http answers
// nobody who asks after the listener is closed, so only who has sent a part of
// a request before can still get one, and after ten seconds nobody; on a machine
// where that is too short it is tried again.
func drainAnswers(t *testing.T, a *answers) {
	t.Helper()
	requests := withBodies()
	for attempt := 0; ; attempt++ {
		got := whileDraining(t, requests)
		if len(got) < len(requests) && attempt < 20 {
			continue
		}
		for key := range requests {
			if got[key].status != 503 {
				t.Errorf("%s, going down: got %d %s, want 503", key, got[key].status, got[key].body)
				continue
			}
			a.check(t, key, got[key])
		}
		return
	}
}

// whileDraining gives the answers to bodies that are whole when the gateway
// goes down already.
func whileDraining(t *testing.T, requests map[string]request) map[string]answer {
	t.Helper()
	p := play(t)
	conns := map[string]*rawConn{}
	for key, r := range requests {
		body := r.body
		r.body, r.header = "", with(r.header, "Expect", "100-continue")
		conns[key] = p.connect(t, r.text("localhost", len(body)))
		if a := conns[key].answer(); a.status != http.StatusContinue { // it reads the body now
			t.Errorf("%s: got %d, want 100", key, a.status)
		}
	}
	end := p.drain(t)
	got := map[string]answer{}
	for key, r := range requests {
		_, _ = io.WriteString(conns[key], r.body)
		if answer, err := conns[key].tryAnswer(); err == nil && answer.status != http.StatusRequestTimeout {
			got[key] = answer
		}
	}
	end()
	if sent := p.all(); len(sent) != 1 {
		t.Errorf("going down, but %+v was published, want what was under way", sent)
	}
	return got
}

// A publish that panicked is under way no more, so that a stop does not wait
// for it.
func TestPanicDoesNotHoldUpTheStop(t *testing.T) {
	t.Parallel()
	p := playWith(t, 64<<20, map[string]string{"GATEWAY_SHUTDOWN_TIMEOUT": "1h"})
	p.publisher.play(nil, nil, true)
	if a := p.post(`{"topic":"a","payload":1}`); a.status != 500 {
		t.Errorf("got %d %s, want 500", a.status, a.body)
	}
	p.stopped(t)
}
