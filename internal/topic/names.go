package topic

import (
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
	bytes  int64
}

// entry is a name (a leaf, with a value) or what a group of names begins with (a branch, with kids). A branch's key is
// a level with its slash and a leaf's is the last level. So kids sorted by key are names sorted by bytes, "a", "a-b",
// "a/b", although "a/b" is below "a" and "a-b" beside it; levels without their slashes would come out in another order.
type entry[V any] struct {
	path string // a leaf's name; a branch's own level with its slash; "" is the root
	from int    // where its key begins in path
	kids kids[V]
	v    V
}

func (e *entry[V]) key() string    { return e.path[e.from:] }
func (e *entry[V]) isBranch() bool { return !e.kids.empty() }

// What an entry takes in memory besides its path, roughly: itself and its place among the kids of its branch; a leaf has
// a place in the map, too.
const (
	branchBytes = 128
	leafBytes   = 144
)

func (e *entry[V]) bytes() int64 {
	if e.isBranch() {
		return int64(branchBytes + len(e.path))
	}
	return int64(leafBytes + len(e.path))
}

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
		branch := strings.HasSuffix(key, "/")
		where, found := e.kids.find(key)
		if !found {
			kid := &entry[V]{path: name, from: at}
			if branch { // a clone, so that a branch does not keep a name that has gone
				kid = &entry[V]{path: strings.Clone(key)}
				t.bytes += int64(branchBytes + len(key))
			}
			e.kids.insert(where, kid)
			e = kid
		} else {
			e = e.kids.get(where)
		}
		if at += len(key); !branch {
			break
		}
	}
	e.v = v
	t.byName[name] = e
	t.bytes += e.bytes()
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
	t.remove(&t.root, name)
	if delete(t.byName, name); len(t.byName) == 0 {
		t.byName = nil // a map keeps its size
	}
	return true
}

// Len is the number of names.
func (t *Names[V]) Len() int { return len(t.byName) }

// Bytes is the memory that the names take, roughly, without their values.
func (t *Names[V]) Bytes() int64 { return t.bytes }

// Walk calls fn for each name that filter matches, sorted by the bytes of the name, until fn returns false.
// Fn must not call Set or Delete.
//
// The walk enters only what the filter can match: its levels that are no wildcards are looked up.
func (t *Names[V]) Walk(filter string, fn func(name string, v V) bool) {
	w := walker[V]{looks: -1, fn: fn}
	w.walk(&t.root, filter, bound{})
}

// WalkAfter is Walk over the names greater than after, which need not be there (any more): to go on where a page
// ended, give the last name of that page.
func (t *Names[V]) WalkAfter(filter, after string, fn func(name string, v V) bool) {
	w := walker[V]{looks: -1, fn: fn}
	w.walk(&t.root, filter, bound{after: after, on: true})
}

// WalkSome is a part of a walk: it looks at no more than looks names and branches, matching or not, and returns the
// place to go on from, which is no name but serves as after; "" begins. Done means that nothing is left, or that fn
// returned false. Names may be set and deleted between the parts.
func (t *Names[V]) WalkSome(filter, after string, looks int, fn func(name string, v V) bool) (at string, done bool) {
	w := walker[V]{looks: max(looks, 1), fn: fn}
	w.walk(&t.root, filter, bound{after: after, on: after != ""})
	return w.at, w.at == ""
}

// walker is one walk, or a part of one.
type walker[V any] struct {
	looks int         // entries left to look at in this part; below 0: all
	trail []*entry[V] // the branches that the walk is in
	at    string      // where a part ended
	fn    func(string, V) bool
}

// bound is what is left of the name to start after, while the walk is on that name's own path.
type bound struct {
	after string
	on    bool
}

// walk visits what filter matches below e. It is false once the walk has ended early.
func (w *walker[V]) walk(e *entry[V], filter string, b bound) bool {
	key, rest := segment(filter)
	switch {
	case key == "#":
		return w.scan(e, true, true, "#", b)
	case key == "+":
		return w.scan(e, true, false, "", b)
	case key == "+/":
		return w.scan(e, rest == "#", true, rest, b) // "+/#" matches leaves too: "#" includes the level before it
	}
	if level, more := strings.CutSuffix(key, "/"); more && rest == "#" && !w.visit(e, level, "", b) {
		return false
	}
	return w.visit(e, key, rest, b)
}

// scan goes to the kids in order, with the filter that is left for the branches.
func (w *walker[V]) scan(e *entry[V], leaves, branches bool, rest string, b bound) bool {
	var first spot
	if b.on {
		key, _ := segment(b.after)
		first, _ = e.kids.find(key)
	}
	return e.kids.from(first, func(kid *entry[V]) bool {
		hidden := e.path == "" && reserved(kid.path)
		wanted := !hidden && (kid.isBranch() && branches || !kid.isBranch() && leaves)
		return w.enter(kid, rest, b, wanted)
	})
}

// visit goes to the one kid with that key, if it is there.
func (w *walker[V]) visit(e *entry[V], key, rest string, b bound) bool {
	if s, found := e.kids.find(key); found {
		return w.enter(e.kids.get(s), rest, b, true)
	}
	return true
}

// enter looks at an entry that is beyond the bound of the level above: it calls fn for a leaf and walks a branch, if
// they are wanted. An entry on the bound was looked at already.
func (w *walker[V]) enter(e *entry[V], rest string, b bound, wanted bool) bool {
	if b.on {
		key, after := segment(b.after)
		switch c := strings.Compare(e.key(), key); {
		case c > 0:
			b = bound{}
		case c == 0 && e.isBranch() && wanted:
			b.after = after
		default:
			return true
		}
	}
	if wanted && !e.isBranch() && !w.fn(e.path, e.v) {
		return false
	}
	if wanted && e.isBranch() {
		w.trail = append(w.trail, e)
		whole := w.walk(e, rest, b)
		w.trail = w.trail[:len(w.trail)-1]
		if !whole {
			return false
		}
	}
	return b.on || w.looked(e)
}

// beyond is greater than any level: "pi/" and beyond is behind everything below "pi".
const beyond = "\xff"

// looked counts an entry that is done with. It is false when that was the last one of this part.
func (w *walker[V]) looked(e *entry[V]) bool {
	if w.looks--; w.looks != 0 {
		return true
	}
	var at strings.Builder
	for _, branch := range w.trail {
		at.WriteString(branch.path)
	}
	at.WriteString(e.key())
	if e.isBranch() {
		at.WriteString(beyond)
	}
	if at.Len() == 0 { // the empty name, which MQTT does not have; "" would begin anew
		at.WriteByte(0)
	}
	w.at = at.String()
	return false
}

// remove takes out the leaf below e that name leads to, which is there, and the branches that were there for it alone.
func (t *Names[V]) remove(e *entry[V], name string) {
	key, rest := segment(name)
	s, _ := e.kids.find(key)
	kid := e.kids.get(s)
	if kid.isBranch() {
		t.remove(kid, rest)
		if kid.isBranch() {
			return
		}
		t.bytes -= int64(branchBytes + len(kid.path))
	} else {
		t.bytes -= kid.bytes()
	}
	e.kids.remove(s)
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
