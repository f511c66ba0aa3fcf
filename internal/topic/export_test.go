package topic

// Nodes counts the nodes of the trie, to see that Remove prunes.
func (t *Trie[T]) Nodes() int { return t.root.count() }

func (n *node[T]) count() int {
	if n == nil {
		return 0
	}
	sum := 1 + n.plus.count() + n.hash.count()
	n.each(func(_ string, c *node[T]) bool {
		sum += c.count()
		return true
	})
	return sum
}

// Entries counts the leaves and branches below the root.
func (t *Names[V]) Entries() int { return t.root.count() }

func (e *entry[V]) count() int {
	sum := 0
	e.kids.from(spot{}, func(kid *entry[V]) bool {
		sum += 1 + kid.count()
		return true
	})
	return sum
}

// CountedBytes is what Bytes must be, added up anew.
func (t *Names[V]) CountedBytes() int64 { return t.root.countedBytes() }

func (e *entry[V]) countedBytes() (sum int64) {
	e.kids.from(spot{}, func(kid *entry[V]) bool {
		sum += kid.bytes() + kid.countedBytes()
		return true
	})
	return sum
}
