package hub

// backlog is the queue behind a full socket. It knows the bytes that count
// against the client's limit, and can take out what a policy gives up.
type backlog struct {
	bytes  int
	items  []entry
	head   int            // first item that waits
	popped int            // entries taken out so far: the position of items[head]
	runs   int            // shared runs among them, which do not count in bytes
	newest map[string]int // position of the entry of each topic under OverflowLatest

	dropAt int   // where dropOldest goes on looking
	open   *hole // the hole that the next drop may widen
}

// entry is one thing that waits: a message, framed bytes, a shared run of
// messages that is framed as the socket takes it, or a hole. One without any
// was taken out.
type entry struct {
	m      *Message
	x      *extra
	policy Overflow
}

type extra struct {
	form form
	raw  []byte
	run  []*Message
	hole *hole
}

// hole stands where messages were dropped.
type hole struct{ first, last uint64 }

// frameOverhead is what framing and a queue entry cost, roughly.
const frameOverhead = 32

// size is what e counts against the client's limit.
func (e *entry) size() int {
	switch {
	case e.m != nil:
		return len(e.m.JSON) + frameOverhead
	case e.x != nil && e.x.raw != nil:
		return len(e.x.raw)
	}
	return 0
}

func (e *entry) form() form {
	if e.x == nil {
		return form{}
	}
	return e.x.form
}

func (b *backlog) len() int      { return len(b.items) - b.head }
func (b *backlog) first() *entry { return &b.items[b.head] }

// at gives the entry at a position, nil if it has been taken out.
func (b *backlog) at(pos int) *entry {
	if i := b.head + pos - b.popped; i >= b.head && i < len(b.items) {
		return &b.items[i]
	}
	return nil
}

func (b *backlog) push(e entry) {
	b.bytes += e.size()
	if e.x != nil && e.x.run != nil {
		b.runs++
	}
	if e.m != nil && e.policy == OverflowLatest {
		if b.newest == nil {
			b.newest = map[string]int{}
		}
		b.newest[e.m.Topic] = b.popped + b.len()
	}
	b.items = append(b.items, e)
}

// pop takes out the first entry. An empty backlog gives its memory back.
func (b *backlog) pop() {
	e := b.first()
	if e.x != nil && e.x.hole != nil && e.x.hole == b.open {
		b.open = nil // told already: a further drop needs a hole of its own
	}
	if e.x != nil && e.x.run != nil {
		b.runs--
	}
	b.remove(e, b.popped)
	b.head++
	b.popped++
	switch {
	case b.head == len(b.items):
		*b = backlog{bytes: b.bytes, popped: b.popped, dropAt: b.popped}
	case b.head > 64 && b.head > len(b.items)/2:
		n := copy(b.items, b.items[b.head:])
		clear(b.items[n:])
		b.items, b.head = b.items[:n], 0
	}
}

// remove empties an entry and forgets it everywhere.
func (b *backlog) remove(e *entry, pos int) {
	b.bytes -= e.size()
	if e.m != nil && e.policy == OverflowLatest && b.newest[e.m.Topic] == pos {
		delete(b.newest, e.m.Topic)
	}
	*e = entry{}
}

// supersede takes out the waiting message of a topic. It returns how many
// messages that one stood for.
func (b *backlog) supersede(topic string) (skipped int, found bool) {
	pos, ok := b.newest[topic]
	if !ok {
		return 0, false
	}
	e := b.at(pos)
	skipped = e.form().skipped + 1
	b.remove(e, pos)
	return skipped, true
}

// dropOldest takes out the oldest messages that their policy gives up until n
// bytes are free, and leaves a hole in each place. It returns how many.
func (b *backlog) dropOldest(n int) (dropped int) {
	if b.dropAt < b.popped {
		b.dropAt, b.open = b.popped, nil
	}
	for ; n > 0; b.dropAt++ {
		e := b.at(b.dropAt)
		if e == nil {
			return dropped
		}
		if e.m == nil && e.x == nil {
			continue
		}
		if e.m == nil || e.policy == OverflowClose {
			b.open = nil
			continue
		}
		seq := e.m.Seq
		n -= e.size()
		dropped += 1 + e.form().skipped
		b.remove(e, b.dropAt)
		if b.open == nil {
			b.open = &hole{first: seq}
			e.x = &extra{hole: b.open}
		}
		b.open.last = seq
	}
	return dropped
}

// messages counts the messages that wait.
func (b *backlog) messages() int {
	n := 0
	for _, e := range b.items[b.head:] {
		switch {
		case e.m != nil:
			n++
		case e.x != nil:
			n += len(e.x.run)
		}
	}
	return n
}
