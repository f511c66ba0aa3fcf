package topic

import (
	"slices"
	"sort"
	"strings"
)

// kids are the entries below a branch, sorted by key. They stand in groups, so that one that comes or goes among very
// many does not move them all. The zero value is empty.
type kids[V any] struct {
	groups [][]*entry[V] // none is empty
}

// groupMax is how many entries a group has at the most.
const groupMax = 256

// spot is a place among kids: an entry's, or the one where it would be.
type spot struct{ group, at int }

func (k *kids[V]) empty() bool { return len(k.groups) == 0 }

func (k *kids[V]) get(s spot) *entry[V] { return k.groups[s.group][s.at] }

// find returns where the kid with that key is, or would be.
func (k *kids[V]) find(key string) (s spot, found bool) {
	// The last group that begins at the key or before it.
	s.group = sort.Search(len(k.groups), func(i int) bool { return k.groups[i][0].key() > key }) - 1
	if s.group < 0 {
		return spot{}, false
	}
	s.at, found = slices.BinarySearchFunc(k.groups[s.group], key, func(kid *entry[V], key string) int {
		return strings.Compare(kid.key(), key)
	})
	return s, found
}

// insert puts kid where find says that it would be.
func (k *kids[V]) insert(s spot, kid *entry[V]) {
	if k.empty() {
		k.groups = [][]*entry[V]{{kid}}
		return
	}
	group := slices.Insert(k.groups[s.group], s.at, kid)
	if k.groups[s.group] = group; len(group) > groupMax {
		half := len(group) / 2
		k.groups[s.group] = slices.Clone(group[:half])
		k.groups = slices.Insert(k.groups, s.group+1, slices.Clone(group[half:]))
	}
}

// remove takes out the kid at s.
func (k *kids[V]) remove(s spot) {
	group := shrunk(slices.Delete(k.groups[s.group], s.at, s.at+1))
	switch k.groups[s.group] = group; {
	case len(group) == 0:
		k.drop(s.group)
	case s.group > 0 && len(group)+len(k.groups[s.group-1]) <= groupMax/4:
		k.groups[s.group-1] = append(k.groups[s.group-1], group...)
		k.drop(s.group)
	}
}

func (k *kids[V]) drop(group int) { k.groups = shrunk(slices.Delete(k.groups, group, group+1)) }

// from calls fn for the kids at s and behind, until it says no.
func (k *kids[V]) from(s spot, fn func(*entry[V]) bool) bool {
	for ; s.group < len(k.groups); s = (spot{s.group + 1, 0}) {
		for _, kid := range k.groups[s.group][s.at:] {
			if !fn(kid) {
				return false
			}
		}
	}
	return true
}
