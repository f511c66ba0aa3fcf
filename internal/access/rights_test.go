package access

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func compile(t testing.TB, name string, grants ...Grants) *Rights {
	t.Helper()
	r, err := Compile(name, grants...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func dashboard(t testing.TB) *Rights {
	return compile(t, "dashboard", Grants{
		Publish:   []string{"fleet/+/cmd/#", "own/{principal}/#"},
		Retain:    []string{"fleet/+/cmd/config"},
		Subscribe: []string{"fleet/#", "sensors/+"},
		Deny:      []string{"fleet/+/secret/#"},
	})
}

func TestExplainNamesTheRule(t *testing.T) {
	r := dashboard(t)
	operator := compile(t, "root", Grants{Operator: true, Deny: []string{"$SYS/broker/log/#"}})
	narrow := r.Narrow([]string{"fleet/3/#"})
	for _, c := range []struct {
		rights  *Rights
		action  Action
		what    string
		allowed bool
		rule    string
	}{
		{r, ActionPublish, "fleet/3/cmd/led", true, "publish fleet/+/cmd/#"},
		{r, ActionPublish, "own/dashboard/x", true, "publish own/dashboard/#"},
		{r, ActionPublish, "own/other/x", false, "no publish filter grants it"},
		{r, ActionPublish, "fleet/3/secret/x", false, "deny fleet/+/secret/#"},
		{r, ActionPublish, "$SYS/x", false, "nobody may publish to topics that start with $"},
		{r, ActionPublish, "$CONTROL/dynamic-security/v1", false, "nobody may publish to topics that start with $"},
		{r, ActionPublish, "", false, "it is empty"},
		{r, ActionRetain, "fleet/3/cmd/config", true, "retain fleet/+/cmd/config"},
		{r, ActionRetain, "fleet/3/cmd/led", false, "no retain filter grants it"},
		{r, ActionRetain, "other", false, "no publish filter grants it"},
		{r, ActionSubscribe, "fleet/#", true, "subscribe fleet/#"}, // overlaps a deny, which MayReceive keeps back
		{r, ActionSubscribe, "fleet/3/secret/#", false, "deny fleet/+/secret/#"},
		{r, ActionSubscribe, "fleet/+/secret/a/b", false, "deny fleet/+/secret/#"},
		{r, ActionSubscribe, "fleet/+/+/x", true, "subscribe fleet/#"},
		{r, ActionSubscribe, "sensors/+", true, "subscribe sensors/+"},
		{r, ActionSubscribe, "sensors/#", false, "no subscribe filter grants it"},
		{r, ActionSubscribe, "#", false, "no subscribe filter grants it"},
		{r, ActionSubscribe, "+/3/temperature", false, "no subscribe filter grants it"},
		{r, ActionSubscribe, "$SYS/#", false, "$SYS is for operators"},
		{r, ActionSubscribe, "$share/g/fleet/#", false, "nobody may read topics that start with $, but for $SYS"},
		{r, ActionSubscribe, "$queue/fleet", false, "nobody may read topics that start with $, but for $SYS"},
		{r, ActionSubscribe, "", false, "it is empty"},
		{r, "devour", "fleet/3", false, "there is no such action"},
		{operator, ActionSubscribe, "$SYS/#", true, "operator"},
		{operator, ActionSubscribe, "$SYS", true, "operator"},
		{operator, ActionSubscribe, "$SYS/broker/log/N", false, "deny $SYS/broker/log/#"},
		{operator, ActionSubscribe, "$SYSTEM/#", false, "nobody may read topics that start with $, but for $SYS"},
		{operator, ActionSubscribe, "a", false, "no subscribe filter grants it"},
		{operator, ActionPublish, "$SYS/x", false, "nobody may publish to topics that start with $"},
		{narrow, ActionSubscribe, "fleet/3/x", true, "subscribe fleet/#"},
		{narrow, ActionSubscribe, "fleet/4/x", false, "the ticket is for other topics"},
		{narrow, ActionSubscribe, "fleet/3/secret/x", false, "deny fleet/+/secret/#"},
		{narrow, ActionPublish, "fleet/4/cmd/x", false, "the ticket is for other topics"},
	} {
		if allowed, rule := c.rights.Explain(c.action, c.what); allowed != c.allowed || rule != c.rule {
			t.Errorf("Explain(%s, %q): got %t by %q, want %t by %q", c.action, c.what, allowed, rule, c.allowed, c.rule)
		}
	}
}

func TestMayReceiveKeepsDeniedMessagesBack(t *testing.T) {
	r := dashboard(t)
	operator := compile(t, "root", Grants{Operator: true, Deny: []string{"$SYS/broker/log/#"}})
	for _, c := range []struct {
		rights *Rights
		name   string
		want   bool
	}{
		{r, "fleet/3/temperature", true},
		{r, "fleet", true},
		{r, "fleet/3/secret", false},
		{r, "fleet/3/secret/key", false},
		{r, "fleet//secret/key", false},
		{r, "sensors/", true},
		{r, "sensors/a/b", false},
		{r, "Fleet/3", false},
		{r, "$SYS/broker/uptime", false},
		{r, "", false},
		{operator, "$SYS/broker/uptime", true},
		{operator, "$SYS/broker/log/N", false},
		{operator, "$SYSTEM/x", false},
		{operator, "$share/g/a", false},
		{operator, "fleet/3", false},
		{Everything(), "a", true},
		{Everything(), "/", true},
		{Everything(), "$SYS/x", false},
		{new(Rights), "a", false},
	} {
		if got := c.rights.MayReceive(c.name); got != c.want {
			t.Errorf("MayReceive(%q) of %+v: got %t, want %t", c.name, c.rights, got, c.want)
		}
	}
}

func TestNoRightsGrantNothing(t *testing.T) {
	for _, r := range []*Rights{new(Rights), compile(t, "pi-3"), Everything().Narrow(nil), Everything().Narrow([]string{})} {
		if !r.Empty() {
			t.Errorf("Empty of %+v: got false, want true", r)
		}
		for _, s := range []string{"a", "#", "+", "", "/", "$SYS/#", "$SYS"} {
			if r.MayPublish(s) || r.MayRetain(s) || r.MaySubscribe(s) || r.MayReceive(s) || r.Operator() || r.ReadsEverything() {
				t.Errorf("%+v grants something about %q", r, s)
			}
		}
	}
	if Everything().Empty() {
		t.Error("Empty of Everything: got true, want false")
	}
}

func TestReadsEverythingNeedsAllTopicsAndNoDeny(t *testing.T) {
	for _, c := range []struct {
		subscribe, deny, within string
		reads, suffice          bool
	}{
		{"#", "", "", true, true},
		{"+/#", "", "", true, true},
		{"a/#", "", "", false, true},
		{"#", "a", "", false, false},
		{"#", "", "a/#", false, true},
		{"#", "", "#", true, true},
	} {
		r := compile(t, "x", Grants{Subscribe: split(c.subscribe), Deny: split(c.deny)})
		if c.within != "" {
			r = r.Narrow(split(c.within))
		}
		if r.ReadsEverything() != c.reads || r.FiltersSuffice() != c.suffice {
			t.Errorf("%+v: got %t, %t; want %t, %t", c, r.ReadsEverything(), r.FiltersSuffice(), c.reads, c.suffice)
		}
	}
}

func split(s string) []string { return strings.Fields(s) }

func TestNarrowTwiceGrantsNoMoreThanOnce(t *testing.T) {
	w := newWorld()
	rapid.Check(t, func(t *rapid.T) {
		filters := rapid.SliceOfN(rapid.SampledFrom(w.filters[:len(w.filters)-8]), 0, 4)
		once := Everything().Narrow(filters.Draw(t, "first"))
		twice := once.Narrow(filters.Draw(t, "second"))
		for _, name := range w.names {
			if twice.MayReceive(name) && !once.MayReceive(name) || twice.MayPublish(name) && !once.MayPublish(name) {
				t.Fatalf("%q is granted by %+v and not by %+v", name, twice, once)
			}
		}
	})
}

func TestPrincipalStandsForOneLevel(t *testing.T) {
	g := Grants{Publish: []string{"fleet/{principal}/#"}, Deny: []string{"{principal}/+"}}
	r := compile(t, "pi.3@home", g)
	if got, want := r.Grants().Publish, []string{"fleet/pi.3@home/#"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if r.MayPublish("fleet/pi.4@home/x") || !r.MayPublish("fleet/pi.3@home/x") {
		t.Error("the level is not the caller's name alone")
	}
	if got, want := g.Publish[0], "fleet/{principal}/#"; got != want {
		t.Errorf("the grants after Compile: got %q, want %q", got, want)
	}
}

func TestNamesAreOneLevelWithoutWildcards(t *testing.T) {
	for _, name := range []string{"a", "pi-3", "a.b_c@d-E9", "...", ".a", strings.Repeat("x", 64)} {
		if !CheckName(name) {
			t.Errorf("CheckName(%q): got false, want true", name)
		}
	}
	for _, name := range []string{
		"", ".", "..", "+", "#", "a/#", "a/b", "/", "a b", "a\x00", "a\n", "$SYS", "{principal}", "ä", "a*", "a%2fb", "\xff",
		strings.Repeat("x", 65),
	} {
		if CheckName(name) {
			t.Errorf("CheckName(%q): got true, want false", name)
		}
	}
}

func TestGrantsAreChecked(t *testing.T) {
	for _, c := range []struct {
		list         list
		filter, want string
		named        bool
	}{
		{listSubscribe, "a/{principal}/#", "", true},
		{listSubscribe, "{principal}", "", true},
		{listSubscribe, "{principal}", "the caller has none", false},
		{listSubscribe, "a/pi-{principal}", "a level of its own", true},
		{listSubscribe, "a/{principal}{principal}", "a level of its own", true},
		{listSubscribe, "a/{princpal}", "must be {principal}", true},
		{listSubscribe, "", "empty", true},
		{listSubscribe, "a/#/b", "# must be the last", true},
		{listSubscribe, "a+", "+ must be a level", true},
		{listSubscribe, "a\x00", "control character", true},
		{listSubscribe, "a\xff", "UTF-8", true},
		{listSubscribe, "$SYS/#", "operator: true", true},
		{listSubscribe, "$share/g/a", "operator: true", true},
		{listPublish, "$SYS/#", "nobody may publish", true},
		{listRetain, "$x", "nobody may publish", true},
		{listDeny, "$SYS/broker/log/#", "", true},
		{listDeny, "$share/g/a", "reserved", true},
		{listDeny, "#", "", true},
		{listSubscribe, "+/+/+/+/+/+/+/+/+", "", true},
		{listSubscribe, strings.Repeat("a/", 200) + "a", "levels", true},
		{listSubscribe, strings.Repeat("a", 4097), "bytes long", true},
		{listSubscribe, strings.Repeat("a", 4096-65) + "/{principal}", "", true},
		{listSubscribe, strings.Repeat("a", 4096-64) + "/{principal}", "bytes long", true}, // with the longest name
	} {
		got := ""
		if err := c.list.check(c.filter, c.named); err != nil {
			got = err.Error()
		}
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s %q: got %q, want %q", c.list, c.filter, got, c.want)
		}
	}
}

func TestListsAreBounded(t *testing.T) {
	many := make([]string, MaxFilters)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	compile(t, "x", Grants{Subscribe: many}, Grants{Subscribe: many}) // the same again adds nothing
	if _, err := Compile("x", Grants{Subscribe: many}, Grants{Subscribe: []string{"one more"}}); err == nil {
		t.Error("Compile of too many filters: got no error")
	}
	g := Grants{Deny: append(many, "one more")}
	if err := g.check(true); err == nil {
		t.Error("check of too many filters: got no error")
	}
}

// TestClassIsTheLists: equal lists are one class, in whatever order and from wherever they come, and others never are.
func TestClassIsTheLists(t *testing.T) {
	a := compile(t, "x", Grants{Subscribe: []string{"a", "b", "a"}})
	for _, same := range []*Rights{
		compile(t, "y", Grants{Subscribe: []string{"b", "a"}}),
		compile(t, "a", Grants{Subscribe: []string{"{principal}"}}, Grants{Subscribe: []string{"b"}}),
	} {
		if same.Class() != a.Class() {
			t.Errorf("%+v and %+v: got two classes, want one", same, a)
		}
	}
	all := []*Rights{
		a,
		compile(t, "x", Grants{Subscribe: []string{"ab"}}),
		compile(t, "x", Grants{Subscribe: []string{"a", "bc"}}),
		compile(t, "x", Grants{Subscribe: []string{"ab", "c"}}),
		compile(t, "x", Grants{Subscribe: []string{"a"}, Deny: []string{"b"}}),
		compile(t, "x", Grants{Publish: []string{"a", "b"}}),
		compile(t, "x", Grants{Retain: []string{"a", "b"}}),
		compile(t, "x", Grants{Deny: []string{"a", "b"}}),
		compile(t, "x", Grants{Subscribe: []string{"a", "b"}, Operator: true}),
		compile(t, "x", Grants{Operator: true}),
		compile(t, "x"),
		a.Narrow([]string{"a"}),
		a.Narrow([]string{"b"}),
		a.Narrow(nil),
	}
	for i, x := range all {
		for _, y := range all[:i] {
			if x.Class() == y.Class() {
				t.Errorf("%+v and %+v: got one class, want two", x, y)
			}
		}
	}
}

func TestGrantsAreCopies(t *testing.T) {
	r := compile(t, "x", Grants{Subscribe: []string{"a"}, Deny: []string{"b"}})
	r.Grants().Subscribe[0], r.Grants().Deny[0] = "#", "c"
	if !r.MayReceive("a") || r.MayReceive("b") || r.MayReceive("x") {
		t.Error("rights changed with a copy of their lists")
	}
	if got, want := r.Narrow([]string{"a"}).Grants().Subscribe, []string{"a"}; !slices.Equal(got, want) {
		t.Errorf("narrowed: got %q, want %q", got, want)
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	cache := NewCache()
	for _, n := range []int{1, 4, 256} {
		r := rightsWith(n)
		for what, do := range map[string]func(){
			"MayReceive":           func() { r.MayReceive(benchTopic) },
			"MayReceive of denied": func() { r.MayReceive("fleet/pi-3/secret/x") },
			"MayReceive of others": func() { r.MayReceive("other") },
			"Cache":                func() { cache.MayReceive(r, benchTopic) },
			"FiltersSuffice":       func() { r.FiltersSuffice() },
			"Class":                func() { r.Class() },
			"the form of a token":  func() { _ = isToken(benchTopic) },
			"the form of a key":    func() { _ = isSecret(benchTopic, keyPrefix) },
		} {
			if got := testing.AllocsPerRun(100, do); got != 0 {
				t.Errorf("%s with %d filters: got %v allocations, want 0", what, n, got)
			}
		}
	}
}

// TestCacheAgreesAtEveryCollision gives the cache more questions than it has room for.
func TestCacheAgreesAtEveryCollision(t *testing.T) {
	cache := NewCache()
	a, b := rightsWith(8), rightsWith(9)
	for round := range 3 {
		for i := range 2 * cacheSlots {
			name := fmt.Sprintf("fleet/%03d/%d", i%12, i)
			for _, r := range []*Rights{a, b} {
				if got, want := cache.MayReceive(r, name), r.MayReceive(name); got != want {
					t.Fatalf("round %d, %q: got %t, want %t", round, name, got, want)
				}
			}
		}
	}
}
