package device

import (
	"cmp"
	"math/rand/v2"
)

// sorted is a map that is walked in the order of its keys: a skip list. To set,
// delete or find takes a logarithm, the next one takes a step.
type sorted[K cmp.Ordered, V any] struct {
	head node[K, V]
}

// height is enough for millions.
const height = 12

type node[K cmp.Ordered, V any] struct {
	key   K
	value V
	next  []*node[K, V]
}

// before fills in the last node before key at each height.
func (s *sorted[K, V]) before(key K) (path [height]*node[K, V]) {
	if s.head.next == nil {
		s.head.next = make([]*node[K, V], height)
	}
	n := &s.head
	for h := height - 1; h >= 0; h-- {
		for n.next[h] != nil && n.next[h].key < key {
			n = n.next[h]
		}
		path[h] = n
	}
	return path
}

// set gives a key that is new its value.
func (s *sorted[K, V]) set(key K, value V) {
	path := s.before(key)
	levels := 1
	for levels < height && rand.IntN(4) == 0 {
		levels++
	}
	n := &node[K, V]{key: key, value: value, next: make([]*node[K, V], levels)}
	for h := range levels {
		n.next[h], path[h].next[h] = path[h].next[h], n
	}
}

// remove takes a key out, if it is there.
func (s *sorted[K, V]) remove(key K) {
	path := s.before(key)
	n := path[0].next[0]
	if n == nil || n.key != key {
		return
	}
	for h := range n.next {
		path[h].next[h] = n.next[h]
	}
}

// after is the first node behind key, nil if there is none.
func (s *sorted[K, V]) after(key K) *node[K, V] {
	path := s.before(key)
	n := path[0].next[0]
	if n != nil && n.key == key {
		n = n.next[0]
	}
	return n
}
