package device

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Nobody has to look for silence to come.
func TestSilenceComesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, quiet(t, "a/+=30s"), func(o *Options) { o.Now = time.Now })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); g.Run(ctx, kept{}) }()
		g.Message("a/1", nil, false)
		time.Sleep(20 * time.Second) // of the test's own clock
		g.Message("a/2", nil, false)
		for want := range 3 {
			synctest.Wait()
			if got := g.Stats().Quiet[0].Silent; got != want {
				t.Errorf("got %d silent, want %d", got, want)
			}
			time.Sleep(15 * time.Second)
		}
		cancel()
		<-done
	})
}

func TestTopicsFallSilentAndComeBack(t *testing.T) {
	g := start(t, quiet(t, "fleet/+/heartbeat=30s,doors/#=1h"))
	feed := g.Feed(true)
	feed.Next()
	feed.Next()
	told := func(want ...Silence) {
		t.Helper()
		var got []Silence
		for {
			some, more := feed.Next()
			for _, c := range some {
				if c.Silence != nil {
					got = append(got, *c.Silence)
				}
			}
			if more != nil {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	heard := g.now
	g.Message("fleet/1/heartbeat", nil, false)
	g.Message("fleet/2/heartbeat", nil, true) // a copy proves no life
	g.Message("doors/1", nil, false)
	next, _ := g.fallSilent(g.now)
	if next != 30*time.Second {
		t.Errorf("got %s, want to look again in 30s", next)
	}
	g.now = g.now.Add(31 * time.Second)
	g.fallSilent(g.now)
	told(Silence{"fleet/1/heartbeat", true, heard})
	if got := g.Stats().Quiet; got[0].Silent != 1 || got[0].Newest != heard || got[1].Silent != 0 {
		t.Errorf("got %+v, want one that is silent", got)
	}
	g.Message("fleet/1/heartbeat", nil, false)
	told(Silence{"fleet/1/heartbeat", false, g.now})
	if got := g.Stats().Quiet; got[0].Silent != 0 || g.topics.gone.First() != nil {
		t.Errorf("got %+v, want none that is silent", got)
	}

	// While nothing can arrive, nothing becomes silent; then it has its time.
	g.Down()
	g.now = g.now.Add(2 * time.Hour)
	g.fallSilent(g.now)
	told()
	g.Up()
	if next, _ := g.fallSilent(g.now); next != 30*time.Second {
		t.Errorf("got %s, want 30s from now on", next)
	}
	told()
}

// When the states of devices become unknown, topics stay as they are: each
// change of theirs is told once, also one that the reader has not come to.
func TestSilenceIsToldOnceWhenTheBrokerIsLost(t *testing.T) {
	g := start(t, quiet(t, "hb/+=30s"))
	feed := g.Feed(false)
	var told []string
	read := func() {
		for more := (<-chan struct{})(nil); more == nil; {
			var some []Change
			some, more = feed.Next()
			for _, c := range some {
				if c.Silence != nil {
					told = append(told, fmt.Sprint(c.Silence.Topic, " ", c.Silence.Silent))
				}
			}
		}
	}
	g.Message("hb/a", nil, false)
	g.now = g.now.Add(31 * time.Second)
	g.fallSilent(g.now)
	read()
	g.Lost(ReasonBrokerLost)
	read()
	g.Message("hb/a", nil, false)
	g.Lost(ReasonBrokerLost)
	read()
	if got, want := fmt.Sprint(told), "[hb/a true hb/a false]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTopicsAreBounded(t *testing.T) {
	g := start(t, quiet(t, "#=30s"), func(o *Options) { o.Topics = 3 })
	for i := range 5 {
		g.now = g.now.Add(time.Second)
		g.Message(fmt.Sprint(i), nil, false)
		if i == 2 {
			g.fallSilent(g.now.Add(29 * time.Second)) // the first two
		}
	}
	if _, ok := g.topics.byName["0"]; ok || len(g.topics.byName) != 3 || g.topics.quiet[0].silent != 0 {
		t.Errorf("got %d topics, %d silent, want the three newest", len(g.topics.byName), g.topics.quiet[0].silent)
	}
}

// Much at once is done in parts.
func TestSilenceComesInParts(t *testing.T) {
	g := start(t, quiet(t, "#=30s"))
	for i := range 3 * silenceSteps {
		g.Message(fmt.Sprint(i), nil, false)
	}
	rounds := 1
	for _, more := g.fallSilent(g.now.Add(time.Minute)); more; _, more = g.fallSilent(g.now.Add(time.Minute)) {
		rounds++
	}
	if got := g.Stats().Quiet[0].Silent; got != 3*silenceSteps || rounds < 3 {
		t.Errorf("got %d silent in %d rounds, want all in 3 at least", got, rounds)
	}
}
