package device

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

func TestFeedGivesTheNewest(t *testing.T) {
	g := start(t)
	g.connect("old", "1.1.1.1:1")
	all, live := g.Feed(true), g.Feed(false)
	take := func(f *Feed) (got []string, more <-chan struct{}) {
		for more == nil {
			var some []Change
			some, more = f.Next()
			for _, c := range some {
				switch {
				case c.Device != nil:
					d, _ := c.Device.Show(nil)
					got = append(got, d.ID+" "+string(d.State))
				case c.Complete:
					got = append(got, "complete")
				}
			}
		}
		return got, more
	}
	same := func(f *Feed, want ...string) <-chan struct{} {
		t.Helper()
		got, more := take(f)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q, want %q", got, want)
		}
		return more
	}
	same(all, "old online", "complete")
	more := same(live)
	g.connect("a", "1.1.1.1:1")
	g.Line("1: Client a disconnected.")
	g.connect("b", "1.1.1.1:1")
	<-more
	same(live, "a offline", "b online")
	same(all, "a offline", "b online")
	g.Down()
	same(live, "a unknown", "b unknown", "old unknown")
}

// A change wakes those who may read it, and costs the others nothing.
func TestAChangeWakesItsReadersOnly(t *testing.T) {
	g := start(t, patterns(t, "fleet/{id}/#"), quiet(t, "fleet/+/beat=1s"))
	const n = 100
	feeds := make([]*Feed, n)
	woken := func(f *Feed) bool { return len(f.more) > 0 }
	rest := func(f *Feed) {
		t.Helper()
		for more := (<-chan struct{})(nil); more == nil; {
			_, more = f.Next()
		}
		for woken(f) {
			<-f.more
		}
	}
	for i := range feeds {
		feeds[i] = g.Feed(false)
		feeds[i].Only([]string{fmt.Sprintf("fleet/%d/#", i)}, false)
	}
	all := g.Feed(false)
	for _, f := range append(feeds, all) {
		rest(f)
	}
	only := func(want ...int) {
		t.Helper()
		var got []int
		for i, f := range feeds {
			if woken(f) {
				got = append(got, i)
				rest(f)
			} else if len(f.next) > 0 {
				t.Errorf("%d has noted %v", i, f.next)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || !woken(all) {
			t.Errorf("got %v woken, who reads all %v, want %v and true", got, woken(all), want)
		}
		rest(all)
	}
	g.Message("fleet/7/x", nil, false)
	only(7)
	g.connect("7", "10.0.0.1:1")
	only(7)
	g.connect("8", "10.0.0.1:1") // is on no topic yet
	only()
	g.Message("fleet/8/beat", nil, false)
	only(8)
	g.fallSilent(g.now.Add(2 * time.Second))
	only(8)
	feeds[8].Close()
	g.Message("fleet/8/beat", nil, false)
	only()
	feeds[9].Only([]string{"fleet/9/#", "fleet/8/#"}, false)
	if some, _ := feeds[9].Next(); len(some) == 0 || some[0].Device.ID != "7" && some[0].Device.ID != "8" {
		t.Errorf("got %+v, want what had been of no interest", some)
	}
	rest(feeds[9])
	g.Line("1: Client 8 disconnected.")
	only(9)
	for _, f := range append(feeds, all) {
		f.Close()
	}
	if g.readers.index.Len() != 0 || len(g.readers.those) != 0 || len(g.readers.all) != 0 {
		t.Error("feeds that are closed are still known")
	}
}

// Whenever it looks, and however much it has missed, a reader who has seen all
// that there was to see knows what is there.
func TestAFeedLeavesNothingOut(t *testing.T) {
	g := start(t, patterns(t, tenants))
	random := rand.New(rand.NewPCG(1, 2))
	readers := map[*Feed]func(string) bool{}
	knows := map[*Feed]map[string]State{}
	for filter, may := range map[string]func(string) bool{"a/#": below("a/"), "b/#": below("b/"), "": nil} {
		f := g.Feed(true)
		f.Only([]string{filter}, may == nil)
		readers[f], knows[f] = may, map[string]State{}
	}
	for step := range 3000 {
		g.now = g.now.Add(time.Millisecond)
		id := fmt.Sprint(random.IntN(400))
		payload := []byte([]string{"Online", "Offline", "x"}[random.IntN(3)])
		switch random.IntN(4) {
		case 0:
			g.connect(id, "10.0.0.1:1")
		case 1:
			g.Line("1: Client " + id + " disconnected.")
		default:
			g.Message([]string{"a/", "b/"}[random.IntN(2)]+id+"/LWT", payload, false)
		}
		if step%1000 == 999 {
			g.Lost(ReasonMessagesLost)
		}
		for f, may := range readers {
			if random.IntN(100) > 0 && step%1000 != 500 && step != 2999 {
				continue
			}
			for more := (<-chan struct{})(nil); more == nil; {
				var some []Change
				some, more = f.Next()
				for _, c := range some {
					if c.Device == nil {
						continue
					}
					if d, ok := c.Device.Show(may); ok {
						knows[f][d.ID] = d.State
					}
				}
			}
			want := map[string]State{}
			for more, after := true, ""; more; {
				var some []Facts
				some, more = g.Walk(after)
				for _, facts := range some {
					after = facts.ID
					if d, ok := facts.Show(may); ok {
						want[d.ID] = d.State
					}
				}
			}
			if !maps.Equal(knows[f], want) {
				t.Fatalf("step %d: the reader of %q and what is there differ:\n%v\n%v", step, f.filters, knows[f], want)
			}
		}
	}
}
