package access

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// naiveMatch is the rule of MQTT 3.1.1, 4.7, said as plainly as possible.
func naiveMatch(filter, name string) bool {
	levels := strings.Split(filter, "/")
	if strings.HasPrefix(name, "$") && (levels[0] == "#" || levels[0] == "+") {
		return false
	}
	return naiveLevels(levels, strings.Split(name, "/"))
}

func naiveLevels(filter, name []string) bool {
	switch {
	case len(filter) == 1 && filter[0] == "#":
		return true
	case len(filter) == 0 || len(name) == 0:
		return len(filter) == len(name)
	case filter[0] == "+" || filter[0] == name[0]:
		return naiveLevels(filter[1:], name[1:])
	}
	return false
}

// paths returns every path of one to depth levels.
func paths(levels []string, depth int) []string {
	all, last := []string(nil), []string{""}
	for d := range depth {
		var next []string
		for _, head := range last {
			for _, level := range levels {
				if d > 0 {
					level = head + "/" + level
				}
				next = append(next, level)
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

// world is a small alphabet's filters and names. The names tell any two of the filters apart if anything does: they have
// a level, z, that no filter has, and go one level deeper.
type world struct {
	names   []string
	filters []string
	matches [][]bool // by filter, by name
	matched [][]int  // the names, by filter
}

func newWorld() *world {
	w := &world{}
	for _, name := range paths([]string{"", "a", "b", "z"}, 4) {
		if name != "" {
			w.names = append(w.names, name)
		}
	}
	w.names = append(w.names, paths([]string{"$SYS", "$x"}, 1)...)
	w.names = append(w.names, "$SYS/a", "$SYS/z", "$SYS/a/b", "$x/a")
	plain := slices.DeleteFunc(paths([]string{"", "a", "b", "+"}, 3), func(s string) bool { return s == "" })
	w.filters = append(slices.Clone(plain), "#")
	for _, p := range plain {
		if strings.Count(p, "/") < 2 {
			w.filters = append(w.filters, p+"/#")
		}
	}
	w.filters = append(w.filters, "$SYS", "$SYS/#", "$SYS/a", "$SYS/+", "$SYS/a/#", "$x/a", "$x/#", "$share/g/a")
	for _, f := range w.filters {
		row, names := make([]bool, len(w.names)), []int(nil)
		for i, name := range w.names {
			if row[i] = naiveMatch(f, name); row[i] {
				names = append(names, i)
			}
		}
		w.matches, w.matched = append(w.matches, row), append(w.matched, names)
	}
	return w
}

// lies reports whether all that filter f matches is matched by filter g.
func (w *world) lies(f, g int) bool {
	for i, is := range w.matches[f] {
		if is && !w.matches[g][i] {
			return false
		}
	}
	return true
}

// listed has the lists of Rights, as indexes of the world's filters.
type listed struct {
	publish, retain, subscribe, deny, within []int
	operator, narrowed                       bool
}

// some draws up to n filters that may stand in a list.
func (w *world) some(r *rand.Rand, l list, n int) (drawn []int) {
	for range r.IntN(n + 1) {
		if f := r.IntN(len(w.filters)); l.check(w.filters[f], true) == nil {
			drawn = append(drawn, f)
		}
	}
	return drawn
}

func (w *world) draw(r *rand.Rand, n int) (listed, *Rights) {
	x := listed{
		publish: w.some(r, listPublish, n), retain: w.some(r, listRetain, n), subscribe: w.some(r, listSubscribe, n),
		deny: w.some(r, listDeny, n/2), operator: r.IntN(4) == 0, narrowed: r.IntN(5) == 0,
	}
	rights, err := Compile("pi-3", Grants{
		Publish: w.text(x.publish), Retain: w.text(x.retain), Subscribe: w.text(x.subscribe), Deny: w.text(x.deny), Operator: x.operator,
	})
	if err != nil {
		panic(err)
	}
	if x.narrowed {
		x.within = w.some(r, listDeny, n) // which may have $SYS among them
		rights = rights.Narrow(w.text(x.within))
	}
	return x, rights
}

func (w *world) text(filters []int) (text []string) {
	for _, f := range filters {
		text = append(text, w.filters[f])
	}
	return text
}

func (w *world) any(filters []int, name int) bool {
	return slices.ContainsFunc(filters, func(f int) bool { return w.matches[f][name] })
}

// mayReceive is the rule for messages, by the lists alone.
func (w *world) mayReceive(x listed, name int) bool {
	if w.any(x.deny, name) || x.narrowed && !w.any(x.within, name) {
		return false
	}
	if strings.HasPrefix(w.names[name], "$") {
		return x.operator && (w.names[name] == "$SYS" || strings.HasPrefix(w.names[name], "$SYS/"))
	}
	return w.any(x.subscribe, name)
}

func (w *world) mayPublish(x listed, name int) bool {
	return !strings.HasPrefix(w.names[name], "$") && !w.any(x.deny, name) && w.any(x.publish, name) &&
		(!x.narrowed || w.any(x.within, name))
}

// maySubscribe is the rule for filters: all that it matches is matched by one granted, and by no one denied.
func (w *world) maySubscribe(x listed, f int) bool {
	lies := func(g int) bool { return w.lies(f, g) }
	granted := slices.ContainsFunc(x.subscribe, lies)
	if first, _, _ := strings.Cut(w.filters[f], "/"); strings.HasPrefix(first, "$") {
		granted = x.operator && first == "$SYS"
	}
	return granted && !slices.ContainsFunc(x.deny, lies) && (!x.narrowed || slices.ContainsFunc(x.within, lies))
}

func TestDeliveredIsAllowed(t *testing.T) {
	w, r := newWorld(), rand.New(rand.NewPCG(1, 2))
	delivered, denied, cache := 0, 0, NewCache()
	for range 2000 {
		x, rights := w.draw(r, 2+r.IntN(12))
		for range 500 {
			f, n := r.IntN(len(w.filters)), r.IntN(len(w.names))
			if matched := w.matched[f]; len(matched) > 0 && r.IntN(2) == 0 {
				n = matched[r.IntN(len(matched))]
			}
			filter, name := w.filters[f], w.names[n]
			may, receive := rights.MaySubscribe(filter), rights.MayReceive(name)
			if want := w.mayReceive(x, n); receive != want {
				t.Fatalf("MayReceive(%q) of %+v: got %t, want %t", name, rights, receive, want)
			}
			if got := cache.MayReceive(rights, name); got != receive {
				t.Fatalf("Cache.MayReceive(%q) of %+v: got %t, want %t", name, rights, got, receive)
			}
			if may && w.matches[f][n] {
				delivered++
				if !receive {
					denied++
					if rights.FiltersSuffice() || rights.ReadsEverything() {
						t.Fatalf("%q by the filter %q is kept back from %+v, though no message is to be checked", name, filter, rights)
					}
				}
			}
			if rights.ReadsEverything() && !strings.HasPrefix(name, "$") && !receive {
				t.Fatalf("%+v reads everything, but not %q", rights, name)
			}
		}
	}
	if delivered < 50_000 || denied < 1000 {
		t.Errorf("got %d deliveries, %d of them kept back; the test is about at least 50000 and 1000", delivered, denied)
	}
}

func TestDecisionsAreExact(t *testing.T) {
	w, r := newWorld(), rand.New(rand.NewPCG(3, 4))
	for range 300 {
		x, rights := w.draw(r, 2+r.IntN(12))
		for f, filter := range w.filters {
			if got, want := rights.MaySubscribe(filter), w.maySubscribe(x, f); got != want {
				t.Fatalf("MaySubscribe(%q) of %+v: got %t, want %t", filter, rights, got, want)
			}
			if allowed, rule := rights.Explain(ActionSubscribe, filter); allowed != rights.MaySubscribe(filter) || rule == "" {
				t.Fatalf("Explain(subscribe, %q) of %+v: got %t by %q", filter, rights, allowed, rule)
			}
		}
		for n, name := range w.names {
			publish := w.mayPublish(x, n)
			if got := rights.MayPublish(name); got != publish {
				t.Fatalf("MayPublish(%q) of %+v: got %t, want %t", name, rights, got, publish)
			}
			if got, want := rights.MayRetain(name), publish && w.any(x.retain, n); got != want {
				t.Fatalf("MayRetain(%q) of %+v: got %t, want %t", name, rights, got, want)
			}
			for action, want := range map[Action]bool{ActionPublish: publish, ActionRetain: rights.MayRetain(name)} {
				if allowed, rule := rights.Explain(action, name); allowed != want || rule == "" {
					t.Fatalf("Explain(%s, %q) of %+v: got %t by %q, want %t", action, name, rights, allowed, rule, want)
				}
			}
		}
	}
}
