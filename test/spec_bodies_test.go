package test

import (
	"io"
	"strings"
	"sync"
	"testing"
)

// withBodies are requests whose body counts, each with its operation.
func withBodies() map[string]request {
	all := publishing()
	delete(all, "DELETE /topics/{topic}")
	return all
}

// bodyAnswers are those to bodies that are too large, break off or do not come.
func bodyAnswers(t *testing.T, a *answers) {
	g := play(t)
	var slow sync.Mutex // guards got
	got := map[string]answer{}
	var all sync.WaitGroup
	for key, r := range withBodies() {
		c := g.connect(t, r.text("localhost", 1000))
		all.Go(func() {
			answer, err := c.tryAnswer()
			if err != nil {
				t.Errorf("%s, a body that does not come: %v", key, err)
			}
			slow.Lock()
			defer slow.Unlock()
			got[key] = answer
		})
	}
	for key, r := range withBodies() {
		if cut := g.cutShort(t, r); cut.status != 400 {
			t.Errorf("%s, a body that breaks off: got %d %s, want 400", key, cut.status, cut.body)
		} else {
			a.check(t, key, cut)
		}
		if strings.HasPrefix(r.path, "/publish") {
			continue // those have requests of their own that are too large
		}
		r.body = strings.Repeat("x", maxPayload+1)
		large := g.do(r)
		if large.status != 413 {
			t.Errorf("%s, a large body: got %d %s, want 413", key, large.status, large.body)
		}
		a.check(t, key, large)
	}
	all.Wait()
	for key, slow := range got {
		if slow.status != 408 {
			t.Errorf("%s, a body that does not come: got %d %s, want 408", key, slow.status, slow.body)
		}
		a.check(t, key, slow)
	}
}

// cutShort sends the beginning of a body, and says that nothing follows.
func (g *gateway) cutShort(t *testing.T, r request) answer {
	t.Helper()
	c := g.connect(t, "")
	if _, err := io.WriteString(c, r.text("localhost", 1000)); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	return c.answer()
}
