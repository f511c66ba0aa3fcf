package access

import "hash/maphash"

// cacheSlots is how many decisions a Cache remembers: some 200 KiB, and what the remembered names hold, at most 1 KiB
// each.
const cacheSlots = 4096

// Cache remembers decisions of MayReceive, for rights with so many filters that asking anew costs more. Its size is
// fixed: a decision replaces another one. A decision stays true for ever, because the key holds the topic and the class,
// and what a class may read never changes.
//
// A Cache is not safe for concurrent use. The zero value is not ready; see [NewCache].
type Cache struct {
	seed  maphash.Seed
	slots []decision
}

// decisionKey is a struct, never a string put together from its parts: two keys are the same only if both parts are.
type decisionKey struct {
	class Class
	name  string
}

type decision struct {
	key     decisionKey
	allowed bool
}

// NewCache returns an empty cache.
func NewCache() *Cache {
	return &Cache{seed: maphash.MakeSeed(), slots: make([]decision, cacheSlots)}
}

// cheap is how many filters are looked through faster than a decision is found.
const cheap = 4

// MayReceive is [Rights.MayReceive] of r, remembered. It allocates nothing. It keeps name, so name must not be a part
// of something large.
func (c *Cache) MayReceive(r *Rights, name string) bool {
	if len(r.deny)+len(r.subscribe)+len(r.within) <= cheap {
		return r.MayReceive(name)
	}
	key := decisionKey{r.class, name}
	slot := &c.slots[maphash.Comparable(c.seed, key)%cacheSlots]
	if slot.key != key {
		*slot = decision{key, r.MayReceive(name)}
	}
	return slot.allowed
}
