package topic

import (
	"slices"
	"strings"
)

// Trie maps filters to values, many values to a filter: who has subscribed to what. The zero value is empty and ready.
//
// A Trie is not safe for concurrent use, except that any number of goroutines may call Match, Matches and Len while none calls
// Add or Remove.
type Trie[T comparable] struct {
	root  *node[T]
	pairs int
}

// node is one level of a filter. Most nodes have one child, so a map is made for the second.
type node[T comparable] struct {
	values []T      // of the filter that ends here
	plus   *node[T] // the level "+"
	hash   *node[T] // the last level "#"; has values only
	key    string   // the level of only
	only   *node[T] // the one child that is no wildcard; nil once there is many
	many   *children[T]
	width  int // how many nodes match visits from here on at most, this one too
}

// children are those of one node that are no wildcards.
type children[T comparable] struct {
	byLevel map[string]*node[T]
	widths  []widths // in no order
	widest  int
}

// widths is how many children have one width.
type widths struct{ width, children int }

// Add puts v under filter. It is false if v was there already.
// The cost is one step a level, and a look at each value that the filter already has.
func (t *Trie[T]) Add(filter string, v T) bool {
	if t.root == nil {
		t.root = new(node[T])
	}
	if !t.root.add(filter, v) {
		return false
	}
	t.pairs++
	return true
}

// Width is how many nodes Match visits at most, whatever the name: the more filters have "+" where others have a
// level's name, the more there are. It is what Covering takes, too.
func (t *Trie[T]) Width() int {
	if t.root == nil {
		return 0
	}
	return t.root.width
}

// Remove takes v from under filter. It is false if v was not there. What the pair alone needed is released.
// The cost is as for Add; the filter's other values may change their order.
func (t *Trie[T]) Remove(filter string, v T) bool {
	if t.root == nil || !t.root.remove(filter, v) {
		return false
	}
	t.pairs--
	if t.root.empty() {
		t.root = nil
	}
	return true
}

// Len is the number of pairs of a filter and a value.
func (t *Trie[T]) Len() int { return t.pairs }

// Match appends to dst, for each filter in the trie that matches name, the slice of that filter's values, in no
// particular order of the filters. A value that is there under several matching filters is in several slices.
//
// The slices belong to the trie: read them before the next Add or Remove, and do not write to them. Match allocates
// only what dst lacks.
func (t *Trie[T]) Match(dst [][]T, name string) [][]T {
	if t.root == nil {
		return dst
	}
	return t.root.match(dst, name, reserved(name))
}

// Matches reports whether any filter in the trie matches name. It stops at the first and allocates nothing.
func (t *Trie[T]) Matches(name string) bool {
	return t.root != nil && t.root.matches(name, reserved(name))
}

// matches is match that stops at the first.
func (n *node[T]) matches(name string, hidden bool) bool {
	if n.hash != nil && !hidden {
		return true
	}
	level, rest, more := cut(name)
	ends := func(c *node[T]) bool {
		if more {
			return c.matches(rest, false)
		}
		return len(c.values) > 0 || c.hash != nil
	}
	if c := n.child(level); c != nil && ends(c) {
		return true
	}
	return n.plus != nil && !hidden && ends(n.plus)
}

// match walks down with what is left of the name. Hidden is set at the first level of a name that wildcards there
// must not match.
func (n *node[T]) match(dst [][]T, name string, hidden bool) [][]T {
	if n.hash != nil && !hidden {
		dst = append(dst, n.hash.values)
	}
	level, rest, more := cut(name)
	if c := n.child(level); c != nil {
		dst = c.step(dst, rest, more)
	}
	if n.plus != nil && !hidden {
		dst = n.plus.step(dst, rest, more)
	}
	return dst
}

// step goes on below n, or ends there: with the filter that ends here too and the one that goes on with "#".
func (n *node[T]) step(dst [][]T, rest string, more bool) [][]T {
	if more {
		return n.match(dst, rest, false)
	}
	if len(n.values) > 0 {
		dst = append(dst, n.values)
	}
	if n.hash != nil {
		dst = append(dst, n.hash.values)
	}
	return dst
}

// Covering appends to dst, for each filter in the trie that covers filter (see [Covers]), the slice of that filter's
// values. What is said of the slices of Match holds here, too; so does the cost.
func (t *Trie[T]) Covering(dst [][]T, filter string) [][]T {
	if t.root == nil {
		return dst
	}
	if filter = shortest(filter); filter == "#" {
		filter = "+/#" // the same, and what covers it stands in either form
	}
	return t.root.covering(dst, filter, reserved(filter))
}

// Overlaps reports whether any filter in the trie overlaps this one (see [Overlaps]). Where a level of it is "+", the cost
// is that for each name that the trie has there, and of "#" that of one look.
func (t *Trie[T]) Overlaps(filter string) bool {
	_, found := overlapping(t.root, filter, reserved(filter), true)
	return found
}

// covering walks down as match does, except that a wildcard of filter is covered by the same or a wider one only.
func (n *node[T]) covering(dst [][]T, filter string, hidden bool) [][]T {
	if n.hash != nil && !hidden {
		dst = append(dst, n.hash.values)
	}
	level, rest, more := cut(filter)
	if level == "#" && !more {
		return dst
	}
	if c := n.child(level); c != nil {
		dst = c.coveringStep(dst, rest, more)
	}
	if n.plus != nil && !hidden {
		dst = n.plus.coveringStep(dst, rest, more)
	}
	return dst
}

func (n *node[T]) coveringStep(dst [][]T, rest string, more bool) [][]T {
	if more {
		return n.covering(dst, rest, false)
	}
	return n.step(dst, rest, false)
}

// overlapping finds a value in the trie whose filter overlaps this one; at the first level with the rule for "$".
func overlapping[T comparable](n *node[T], filter string, hidden, first bool) (v T, found bool) {
	if n == nil {
		return v, false
	}
	if n.hash != nil && !hidden {
		return n.hash.values[0], true
	}
	level, rest, more := cut(filter)
	try := func(c *node[T]) bool {
		switch {
		case c == nil:
		case level == "#" && !more, rest == "#" && more: // ends here or anywhere below
			v, found = c.some()
		case more:
			v, found = overlapping(c, rest, false, false)
		case len(c.values) > 0:
			v, found = c.values[0], true
		case c.hash != nil:
			v, found = c.hash.values[0], true
		}
		return found
	}
	if !hidden && try(n.plus) {
		return v, true
	}
	if level != "+" && (level != "#" || more) {
		try(n.child(level))
		return v, found
	}
	n.each(func(key string, c *node[T]) bool { return (first && reserved(key)) || !try(c) })
	return v, found
}

// some returns one value from n or below. There is one, since empty nodes are pruned.
func (n *node[T]) some() (v T, found bool) {
	if len(n.values) > 0 {
		return n.values[0], true
	}
	for _, c := range []*node[T]{n.hash, n.plus} {
		if c != nil {
			return c.some()
		}
	}
	n.each(func(_ string, c *node[T]) bool {
		v, found = c.some()
		return false
	})
	return v, found
}

func (n *node[T]) add(filter string, v T) bool {
	level, rest, more := cut(filter)
	c := n.grow(level, !more)
	before := c.width
	if more {
		if !c.add(rest, v) {
			return false
		}
	} else {
		if slices.Contains(c.values, v) {
			return false
		}
		c.values = append(c.values, v)
		c.measure()
	}
	n.resized(c, before, c.width)
	return true
}

func (n *node[T]) remove(filter string, v T) bool {
	level, rest, more := cut(filter)
	c := n.get(level, !more)
	if c == nil {
		return false
	}
	before := c.width
	if more {
		if !c.remove(rest, v) {
			return false
		}
	} else if !c.drop(v) {
		return false
	}
	after := c.width
	if c.empty() {
		after = 0
	}
	n.resized(c, before, after)
	if after == 0 {
		n.prune(level, c)
		n.measure()
	}
	return true
}

// resized notes that the child c has another width; 0: it is not there.
func (n *node[T]) resized(c *node[T], before, after int) {
	if n.many != nil && c != n.plus && c != n.hash {
		n.many.resized(before, after)
	}
	n.measure()
}

// measure works out the width: a name leads to "+" and to one of the others, if to any.
func (n *node[T]) measure() {
	n.width = 1
	if n.plus != nil {
		n.width += n.plus.width
	}
	switch {
	case n.only != nil:
		n.width += n.only.width
	case n.many != nil:
		n.width += n.many.widest
	}
}

func (c *children[T]) resized(before, after int) {
	if before == after {
		return
	}
	c.count(before, -1)
	c.count(after, 1)
	c.widest = 0
	for _, x := range c.widths { // one or a few, and never more than the widest
		c.widest = max(c.widest, x.width)
	}
}

func (c *children[T]) count(width, n int) {
	if width == 0 {
		return
	}
	i := slices.IndexFunc(c.widths, func(x widths) bool { return x.width == width })
	if i < 0 {
		c.widths = append(c.widths, widths{width, n})
		return
	}
	if c.widths[i].children += n; c.widths[i].children == 0 {
		c.widths = slices.Delete(c.widths, i, i+1)
	}
}

// drop takes v from the values. The last one fills its place, and a slice that has become mostly air is replaced.
func (n *node[T]) drop(v T) bool {
	i := slices.Index(n.values, v)
	if i < 0 {
		return false
	}
	last := len(n.values) - 1
	n.values[i] = n.values[last]
	clear(n.values[last:]) // or it would keep alive what it points to
	n.values = shrunk(n.values[:last])
	return true
}

func (n *node[T]) empty() bool {
	return len(n.values) == 0 && n.plus == nil && n.hash == nil && n.only == nil && n.many == nil
}

// get returns the child for a level of a filter, or nil.
func (n *node[T]) get(level string, last bool) *node[T] {
	switch {
	case level == "+":
		return n.plus
	case level == "#" && last:
		return n.hash
	}
	return n.child(level)
}

// child returns the child for a level that is no wildcard, or nil.
func (n *node[T]) child(level string) *node[T] {
	if n.many != nil {
		return n.many.byLevel[level]
	}
	if n.only != nil && n.key == level {
		return n.only
	}
	return nil
}

// each calls fn for the children that are no wildcards, in any order, until it returns false.
func (n *node[T]) each(fn func(key string, c *node[T]) bool) {
	if n.only != nil {
		fn(n.key, n.only)
		return
	}
	if n.many == nil {
		return
	}
	for key, c := range n.many.byLevel {
		if !fn(key, c) {
			return
		}
	}
}

// grow returns the child for a level of a filter; it makes one if there is none.
func (n *node[T]) grow(level string, last bool) *node[T] {
	if c := n.get(level, last); c != nil {
		return c
	}
	c := new(node[T])
	switch {
	case level == "+":
		n.plus = c
	case level == "#" && last:
		n.hash = c
	case n.many != nil:
		n.many.byLevel[strings.Clone(level)] = c
	case n.only != nil:
		n.many = &children[T]{byLevel: map[string]*node[T]{n.key: n.only, strings.Clone(level): c}}
		n.many.resized(0, n.only.width)
		n.key, n.only = "", nil
	default: // a clone, so that a level does not keep the message alive that it came in
		n.key, n.only = strings.Clone(level), c
	}
	return c
}

// prune forgets the child c.
func (n *node[T]) prune(level string, c *node[T]) {
	switch c {
	case n.plus:
		n.plus = nil
	case n.hash:
		n.hash = nil
	case n.only:
		n.key, n.only = "", nil
	default:
		if delete(n.many.byLevel, level); len(n.many.byLevel) == 0 {
			n.many = nil
		}
	}
}

// shrunk returns s, or a copy of it if most of its capacity is unused.
func shrunk[E any](s []E) []E {
	if len(s) == 0 {
		return nil
	}
	if cap(s) >= 32 && len(s) <= cap(s)/4 {
		return append(make([]E, 0, 2*len(s)), s...)
	}
	return s
}
