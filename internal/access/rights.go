package access

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unique"

	"github.com/vulturepi/gateway/internal/topic"
)

// Rights are what one caller may do. They never change: other rights are another value. The zero value grants nothing.
//
// Names and filters are taken as checked by package topic. Other strings are safe to ask about, and mean nothing.
type Rights struct {
	publish, retain, subscribe, deny []string // sorted, without repeats
	operator                         bool
	narrowed                         bool
	within                           []string // if narrowed, nothing outside of these filters is granted
	class                            Class

	reads, denies, inside matcher // of subscribe, deny and within, for every message
}

// Class is the identity of rights: two callers have the same class if and only if their lists are the same. It is
// comparable and one word long, so it can be the key of a map.
type Class struct {
	sum unique.Handle[[sha256.Size]byte]
}

// Compile adds up what is granted to the caller of that name ("" for a caller without one). Deny lists add up as well:
// what one of them denies, no other place grants. It fails if a list would have more than [MaxFilters] filters.
func Compile(name string, grants ...Grants) (*Rights, error) {
	var sum Grants
	for _, g := range grants {
		for _, l := range lists {
			for _, filter := range *l.of(&g) {
				*l.of(&sum) = append(*l.of(&sum), expand(filter, name))
			}
		}
		sum.Operator = sum.Operator || g.Operator
	}
	for _, l := range lists {
		filters := l.of(&sum)
		slices.Sort(*filters)
		*filters = slices.Compact(*filters)
		if len(*filters) > MaxFilters {
			return nil, fmt.Errorf("the %s filters add up to more than %d", l, MaxFilters)
		}
	}
	r := &Rights{publish: sum.Publish, retain: sum.Retain, subscribe: sum.Subscribe, deny: sum.Deny, operator: sum.Operator}
	r.finish()
	return r, nil
}

// Everything grants every topic that does not start with "$": the rights of everybody where nobody is asked.
func Everything() *Rights {
	all := []string{"#"}
	r := &Rights{publish: all, retain: all, subscribe: all}
	r.finish()
	return r
}

// Narrow returns rights that grant of r what lies inside one of topics, which are filters; of none, nothing.
// Narrowed rights are no operator's, but for $SYS filters among topics.
func (r *Rights) Narrow(topics []string) *Rights {
	narrow := *r
	narrow.narrowed = true
	narrow.within = slices.Compact(slices.Sorted(slices.Values(topics)))
	if r.narrowed { // what is inside both is inside what r grants and inside one of topics that r covers
		narrow.within = slices.DeleteFunc(narrow.within, func(f string) bool { return !coveredBy(r.within, f) })
	}
	narrow.inside = newMatcher(narrow.within)
	narrow.classify()
	return &narrow
}

// finish gets the lists ready for use.
func (r *Rights) finish() {
	r.classify()
	r.reads, r.denies = newMatcher(r.subscribe), newMatcher(r.deny)
}

// classify sets the class: a digest of all that the decisions depend on. Each list is preceded by its length, and each
// filter by its own, so no two different rights are written the same way.
func (r *Rights) classify() {
	h := sha256.New()
	number := func(n int) {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(n))
		h.Write(b[:])
	}
	for _, filters := range [...][]string{r.publish, r.retain, r.subscribe, r.deny, r.within} {
		number(len(filters))
		for _, f := range filters {
			number(len(f))
			h.Write([]byte(f))
		}
	}
	for _, flag := range [...]bool{r.operator, r.narrowed} {
		if flag {
			number(1)
		} else {
			number(0)
		}
	}
	r.class = Class{unique.Make([sha256.Size]byte(h.Sum(nil)))}
}

// Class returns the identity of the rights, to share decisions among all who have the same.
func (r *Rights) Class() Class { return r.class }

// Grants returns copies of the lists, expanded and sorted. Narrowed rights have what they were narrowed to as their
// subscribe list.
func (r *Rights) Grants() Grants {
	g := Grants{
		Publish: slices.Clone(r.publish), Retain: slices.Clone(r.retain),
		Subscribe: slices.Clone(r.subscribe), Deny: slices.Clone(r.deny), Operator: r.Operator(),
	}
	if r.narrowed {
		g.Subscribe = slices.Clone(r.within)
	}
	return g
}

// Operator reports whether the caller may use what is for operators only, beside $SYS filters: those are for
// MaySubscribe.
func (r *Rights) Operator() bool { return r.operator && !r.narrowed }

// Empty reports whether nothing at all is granted.
func (r *Rights) Empty() bool {
	return len(r.publish) == 0 && len(r.subscribe) == 0 && !r.operator || r.narrowed && len(r.within) == 0
}

// MayPublish reports whether the caller may publish to the topic. Topics that start with "$" are never granted.
func (r *Rights) MayPublish(name string) bool { return r.decidePublish(name).allowed }

// MayRetain reports whether the caller may publish to the topic with retain, or clear it: both its publish and its
// retain list must grant it.
func (r *Rights) MayRetain(name string) bool { return r.decideRetain(name).allowed }

// MaySubscribe reports whether the caller may read what filter matches. The filter must lie inside one granted filter,
// and not inside one denied. It may overlap denied ones; so messages need MayReceive, unless FiltersSuffice.
// Filters below $SYS are for operators, and other filters that start with "$" for nobody.
func (r *Rights) MaySubscribe(filter string) bool { return r.decideSubscribe(filter).allowed }

// MayReceive reports whether the caller may be given a message of the topic. It allocates nothing.
func (r *Rights) MayReceive(name string) bool {
	switch {
	case name == "" || r.denies.matches(name) || r.narrowed && !r.inside.matches(name):
		return false
	case name[0] == '$':
		return r.operator && topic.Match(systemFilter, name)
	}
	return r.reads.matches(name)
}

// ReadsEverything reports whether MayReceive is true of every topic that does not start with "$". Those that do come
// only through a $SYS filter, and MaySubscribe decides on that.
func (r *Rights) ReadsEverything() bool {
	return len(r.deny) == 0 && coveredBy(r.subscribe, "#") && (!r.narrowed || coveredBy(r.within, "#"))
}

// FiltersSuffice reports whether MayReceive is true of every topic that a filter matches which MaySubscribe grants:
// nothing is denied, so no message of an accepted filter needs a check.
func (r *Rights) FiltersSuffice() bool { return len(r.deny) == 0 }

const systemFilter = "$SYS/#"

// matching returns the index of the first filter that matches name, or -1.
func matching(filters []string, name string) int {
	for i := range filters {
		if topic.Match(filters[i], name) {
			return i
		}
	}
	return -1
}

func coveredBy(filters []string, filter string) bool { return covering(filters, filter) >= 0 }

// covering returns the index of the first filter that covers filter, or -1.
func covering(filters []string, filter string) int {
	return slices.IndexFunc(filters, func(f string) bool { return topic.Covers(f, filter) })
}

// matcher says whether any of a list of filters matches a name. A tree takes equally long for any number of filters, and
// a list less time while it is short.
type matcher struct {
	short []string
	tree  topic.Trie[struct{}]
}

const shortList = 6

func newMatcher(filters []string) (m matcher) {
	if len(filters) <= shortList {
		return matcher{short: filters}
	}
	for _, f := range filters {
		m.tree.Add(f, struct{}{})
	}
	return m
}

func (m *matcher) matches(name string) bool {
	return matching(m.short, name) >= 0 || m.tree.Matches(name)
}

// system reports whether a name or filter is the broker's own, with "$" in front.
func system(s string) bool { return strings.HasPrefix(s, "$") }
