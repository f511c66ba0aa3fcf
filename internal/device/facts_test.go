package device

import (
	"strings"
	"testing"
	"time"
)

// below may read what begins like that.
func below(prefixes ...string) func(string) bool {
	return func(filter string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(filter, p) {
				return true
			}
		}
		return false
	}
}

// shows fails unless that reader is shown that.
func (g *rig) shows(id string, may func(string) bool, state State, reason Reason, source Source) Device {
	g.t.Helper()
	f, _ := g.Get(id)
	d, ok := f.Show(may)
	if !ok || d.State != state || d.Reason != reason || d.Source != source {
		g.t.Errorf("%s: got %+v %v, want %s because of %s, by %s", id, d, ok, state, reason, source)
	}
	return d
}

func (g *rig) hides(id string, may func(string) bool) {
	g.t.Helper()
	f, _ := g.Get(id)
	if d, ok := f.Show(may); ok {
		g.t.Errorf("%s: got %+v, want nothing", id, d)
	}
}

const tenants = "a/{id}/LWT=Online|Offline,b/{id}/LWT=Online|Offline,b/{id}/#"

// Who writes to a pattern says nothing to those who read another one, and who
// reads a pattern learns nothing of another, or of the log.
func TestPatternsTellOfTheirOwn(t *testing.T) {
	g := start(t, patterns(t, tenants))
	ofA, ofB := below("a/"), below("b/")
	g.connect("x", "10.0.0.1:1")
	g.hides("x", ofA)
	g.hides("x", below("a/", "b/")) // nothing but its client id is known
	g.Message("b/x/LWT", []byte("Online"), false)
	told := g.now
	g.hides("x", ofA)
	g.shows("x", ofB, Online, ReasonReported, SourceWill)
	g.now = g.now.Add(time.Second)
	g.Message("a/x/LWT", []byte("Offline"), false)
	if d := g.shows("x", ofB, Online, ReasonReported, SourceWill); d.Address != "" || d.LastSeen != told || d.Since != told {
		t.Errorf("got %+v, want what b tells alone", d)
	}
	if d := g.shows("x", ofA, Offline, ReasonReported, SourceWill); d.Address != "" || d.LastSeen != g.now {
		t.Errorf("got %+v, want what a tells alone", d)
	}
	g.Line("1: Client x disconnected.")
	g.shows("x", ofB, Online, ReasonReported, SourceWill)
}

// The log is for operators, and for those who may read the device on every pattern.
func TestTheLogIsForThoseWhoReadAllOfTheDevice(t *testing.T) {
	g := start(t, patterns(t, tenants))
	g.connect("x", "10.0.0.1:1")
	g.Message("b/x/temperature", []byte("20"), false)
	g.shows("x", below("b/"), Unknown, ReasonNotTold, SourceSeen)
	if d := g.shows("x", below("a/", "b/"), Online, ReasonConnected, SourceLog); d.Address != "10.0.0.1:1" {
		t.Errorf("got %+v, want the address", d)
	}
	g.shows("x", nil, Online, ReasonConnected, SourceLog)
}

// Of those that disagree the log counts, then the pattern that stands first.
func TestWhoStandsFirstIsOverruledByNobody(t *testing.T) {
	g := start(t, patterns(t, tenants))
	online := func(want int) {
		t.Helper()
		if got := g.Stats().States[Online]; got != want {
			t.Errorf("got %d online, want %d", got, want)
		}
	}
	g.Message("b/x/LWT", []byte("Online"), false)
	g.shows("x", nil, Online, ReasonReported, SourceWill)
	online(1)
	g.Message("a/x/LWT", []byte("Offline"), false)
	g.Message("b/x/LWT", []byte("Offline"), false)
	g.Message("b/x/LWT", []byte("Online"), false)
	g.shows("x", nil, Offline, ReasonReported, SourceWill)
	online(0)
	g.connect("x", "10.0.0.1:1")
	g.Message("a/x/LWT", []byte("Online"), false)
	g.Message("a/x/LWT", []byte("Offline"), false)
	g.shows("x", nil, Online, ReasonConnected, SourceLog)
	online(1)
	// Whom the log leaves unknown the patterns may know.
	g.Line("1: Client x disconnected, not authorised.")
	g.shows("x", nil, Offline, ReasonReported, SourceWill)
	g.Lost(ReasonMessagesLost)
	g.shows("x", nil, Unknown, ReasonNotAuthorised, SourceLog)
	g.shows("x", below("b/"), Unknown, ReasonMessagesLost, SourceWill)
	// What is told again counts, also where an earlier one has been silent since.
	g.Message("b/x/LWT", []byte("Online"), true)
	g.shows("x", nil, Online, ReasonReported, SourceWill)
	g.Message("a/x/LWT", []byte("Offline"), true)
	g.shows("x", nil, Offline, ReasonReported, SourceWill)
	online(0)
}

// A stream says nothing about when something happens that its reader may not know.
func TestAFeedHasNewsOfItsReadersFactsOnly(t *testing.T) {
	g := start(t, patterns(t, tenants))
	g.Message("a/x/LWT", []byte("Online"), false)
	g.Message("b/x/LWT", []byte("Online"), false)
	for _, narrow := range []bool{true, false} {
		f := g.Feed(false)
		defer f.Close()
		if narrow {
			f.Only([]string{"a/#"}, false)
		}
		news := func(want string) {
			t.Helper()
			got := ""
			for {
				some, more := f.Next()
				for _, c := range some {
					if d, ok := c.Device.Show(below("a/")); ok {
						got += d.ID + " " + string(d.State)
					}
				}
				if more != nil {
					break
				}
			}
			if got != want {
				t.Errorf("narrow %v: got %q, want %q", narrow, got, want)
			}
		}
		news("")
		g.connect("x", "10.0.0.1:1")
		g.Message("b/x/LWT", []byte("Offline"), false)
		g.Message("b/y/LWT", []byte("Offline"), false)
		news("")
		g.Message("a/x/LWT", []byte("Offline"), false)
		g.Message("b/x/LWT", []byte("Online"), false) // behind it, and not to hide it
		news("x offline")
		news("")
		g.Message("a/x/LWT", []byte("Online"), false)
		news("x online")
	}
}
