package topic

import (
	"slices"
	"strings"
)

// Names maps names to one value each and is walked with a filter: the mirror of [Trie], for the newest value on each
// topic. The zero value is empty and ready.
//
// A Names is not safe for concurrent use, except that any number of goroutines may read it while none calls Set or
// Delete.
type Names[V any] struct {
	byName map[string]*entry[V] // the leaves, so that Get, and Set on a name it has, are one look-up
	root   entry[V]
}

// entry is a name (a leaf, with a value) or what a group of names begins with (a branch, with kids). A branch's key is
// a level with its slash and a leaf's is the last level. So kids sorted by key are names sorted by bytes, "a", "a-b",
// "a/b", although "a/b" is below "a" and "a-b" beside it; levels without their slashes would come out in another order.
type entry[V any] struct {
	path string // a leaf's name; a branch's common beginning, up to and with a slash; "" is the root
	from int    // where its own key begins in path
	kids []*entry[V]
	v    V
}

func (e *entry[V]) key() string    { return e.path[e.from:] }
func (e *entry[V]) isBranch() bool { return len(e.kids) > 0 }

// Set gives name the value v, in place of the one it had.
// A name that is there costs one map look-up; a new one a binary search and an insertion at each level.
func (t *Names[V]) Set(name string, v V) {
	if e := t.byName[name]; e != nil {
		e.v = v
		return
	}
	if t.byName == nil {
		t.byName = make(map[string]*entry[V])
	}
	name = strings.Clone(name) // it may be cut from something larger
	e := &t.root
	for at := 0; ; {
		key, _ := segment(name[at:])
		i, found := e.find(key)
		if !found {
			e.kids = slices.Insert(e.kids, i, &entry[V]{path: name[:at+len(key)], from: at})
		}
		e = e.kids[i]
		if at += len(key); !strings.HasSuffix(key, "/") {
			break
		}
	}
	e.v = v
	t.byName[name] = e
}

// Get returns the value of name, and whether it has one.
func (t *Names[V]) Get(name string) (v V, ok bool) {
	if e := t.byName[name]; e != nil {
		return e.v, true
	}
	return v, false
}

// Delete forgets name. It is false if there was no such name.
func (t *Names[V]) Delete(name string) bool {
	if _, ok := t.byName[name]; !ok {
		return false
	}
	t.root.remove(name)
	if delete(t.byName, name); len(t.byName) == 0 {
		t.byName = nil // a map keeps its size
	}
	return true
}

// Len is the number of names.
func (t *Names[V]) Len() int { return len(t.byName) }

// Walk calls fn for each name that filter matches, sorted by the bytes of the name, until fn returns false.
// Fn must not call Set or Delete.
//
// The walk enters only what the filter can match: its levels that are no wildcards are looked up.
func (t *Names[V]) Walk(filter string, fn func(name string, v V) bool) {
	t.root.walk(filter, bound{}, fn)
}

// WalkAfter is Walk over the names greater than after, which need not be there (any more): to go on where a page
// ended, give the last name of that page.
func (t *Names[V]) WalkAfter(filter, after string, fn func(name string, v V) bool) {
	t.root.walk(filter, bound{after: after, on: true}, fn)
}

// bound is what is left of the name to start after, while the walk is on that name's own path.
type bound struct {
	after string
	on    bool
}

// walk visits what filter matches below e. It is false once fn has returned false.
func (e *entry[V]) walk(filter string, b bound, fn func(string, V) bool) bool {
	key, rest := segment(filter)
	switch {
	case key == "#":
		return e.scan(true, true, "#", b, fn)
	case key == "+":
		return e.scan(true, false, "", b, fn)
	case key == "+/":
		return e.scan(rest == "#", true, rest, b, fn) // "+/#" matches leaves too: "#" includes the level before it
	}
	if level, more := strings.CutSuffix(key, "/"); more && rest == "#" && !e.visit(level, "", b, fn) {
		return false
	}
	return e.visit(key, rest, b, fn)
}

// scan goes to the kids in order, with the filter that is left for the branches.
func (e *entry[V]) scan(leaves, branches bool, rest string, b bound, fn func(string, V) bool) bool {
	kids := e.kids
	if b.on {
		key, _ := segment(b.after)
		i, _ := e.find(key)
		kids = kids[i:]
	}
	for _, kid := range kids {
		if e.path == "" && reserved(kid.path) {
			continue
		}
		if kid.isBranch() && !branches || !kid.isBranch() && !leaves {
			continue
		}
		if !kid.enter(rest, b, fn) {
			return false
		}
	}
	return true
}

// visit goes to the one kid with that key, if it is there.
func (e *entry[V]) visit(key, rest string, b bound, fn func(string, V) bool) bool {
	if i, found := e.find(key); found {
		return e.kids[i].enter(rest, b, fn)
	}
	return true
}

// enter calls fn for a leaf and walks a branch, if they are beyond the bound of the level above.
func (e *entry[V]) enter(rest string, b bound, fn func(string, V) bool) bool {
	if b.on {
		key, after := segment(b.after)
		switch c := strings.Compare(e.key(), key); {
		case c < 0:
			return true
		case c > 0:
			b = bound{}
		case e.isBranch():
			b.after = after
		default:
			return true
		}
	}
	if e.isBranch() {
		return e.walk(rest, b, fn)
	}
	return fn(e.path, e.v)
}

// find returns where the kid with that key is, or would be.
func (e *entry[V]) find(key string) (i int, found bool) {
	return slices.BinarySearchFunc(e.kids, key, func(kid *entry[V], key string) int {
		return strings.Compare(kid.key(), key)
	})
}

// remove takes out the leaf that name leads to, which is there, and the branches that were there for it alone.
func (e *entry[V]) remove(name string) {
	key, rest := segment(name)
	i, _ := e.find(key)
	if kid := e.kids[i]; kid.isBranch() {
		kid.remove(rest)
		if kid.isBranch() {
			return
		}
	}
	e.kids = shrunk(slices.Delete(e.kids, i, i+1))
}

// segment cuts the first level with its slash off a name or filter; a last level has none.
func segment(s string) (key, rest string) {
	for i := 0; i < len(s); i++ {
		if s[i] == '/' {
			return s[:i+1], s[i+1:]
		}
	}
	return s, ""
}
