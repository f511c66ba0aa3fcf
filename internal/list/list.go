// Package list is a doubly linked list whose places stand in its elements: to
// push and to remove takes no memory, and the same time for any length. It is
// not safe for concurrent use.
package list

import "iter"

// List has its elements in the order in which they were pushed, but for those
// that were put in front. The zero value is empty.
type List[T any] struct{ first, last *Place[T] }

// Place is where an element stands in a list; it is a field of the element, one
// for each list that it can be in at a time.
type Place[T any] struct {
	prev, next *Place[T]
	of         *T
}

// First is the element in front; nil: there is none.
func (l *List[T]) First() *T {
	if l.first == nil {
		return nil
	}
	return l.first.of
}

// All are the elements, the first one first. The list must not change
// meanwhile.
func (l *List[T]) All() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for p := l.first; p != nil && yield(p.of); p = p.next {
		}
	}
}

// Push puts an element at the end. It must not be in a list by that place.
func (l *List[T]) Push(p *Place[T], of *T) {
	*p = Place[T]{prev: l.last, of: of}
	if l.last != nil {
		l.last.next = p
	} else {
		l.first = p
	}
	l.last = p
}

// PushFirst is Push in front.
func (l *List[T]) PushFirst(p *Place[T], of *T) {
	*p = Place[T]{next: l.first, of: of}
	if l.first != nil {
		l.first.prev = p
	} else {
		l.last = p
	}
	l.first = p
}

// Remove takes an element out. It must be in this list by that place.
func (l *List[T]) Remove(p *Place[T]) {
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		l.first = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		l.last = p.prev
	}
	*p = Place[T]{}
}
