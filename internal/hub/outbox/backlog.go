package outbox

import (
	"slices"

	"github.com/vulturepi/gateway/internal/hub/message"
)

// backlog is the queue behind a full socket. It knows the bytes that count
// against the client's limit, and can take out what a policy gives up.
type backlog struct {
	bytes  int
	items  []entry
	head   int            // first item that waits
	popped int            // entries taken out so far: the position of items[head]
	live   int            // entries that wait and are not taken out
	runs   int            // shared runs among them, which do not count in bytes
	newest map[string]int // position of the entry of each topic under OverflowLatest

	dropAt int   // where dropOldest goes on looking
	open   *hole // the hole that the next drop may widen
}

// entry is one thing that waits: a message, framed bytes, a run that
// is framed as the socket takes it, or a hole. One without any
// was taken out.
type entry struct {
	m      *message.Message
	x      *extra
	policy Overflow
	paced  bool // min_interval chose it, so the source does not have it
}

// left reports whether e may be left to the source.
func (e *entry) left() bool { return e.m != nil && e.policy == OverflowCatchup && !e.paced }

type extra struct {
	form   message.Form
	raw    []byte
	placed bool // raw has a place in the sequence: form.Place
	run    *Run
	next   int // in run
	hole   *hole
}

// hole stands where messages were dropped.
type hole struct {
	first, last uint64
	place       uint64 // to resume from behind it
}

// What things cost besides their bytes, roughly: a frame around a message, an
// entry, and an entry that is more than a message.
const (
	frameOverhead = 32
	entryOverhead = 64
	extraOverhead = 160
)

// MessageBytes is what a message that waits counts against a client's limit.
func MessageBytes(m *message.Message) int { return len(m.JSON) + entryOverhead }

// size is what e counts against the client's limit.
func (e *entry) size() int {
	switch {
	case e.m != nil:
		return MessageBytes(e.m)
	case e.x != nil && (e.x.raw != nil || e.x.placed):
		return len(e.x.raw) + extraOverhead
	case e.x != nil && e.x.hole != nil:
		return extraOverhead
	}
	return 0
}

func (e *entry) form() message.Form {
	if e.x == nil {
		return message.Form{}
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
	if len(b.items) >= 64 && b.live < len(b.items)/2 {
		b.compact()
	}
	b.live++
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
		e.x.run.Release()
	}
	if e.m != nil || e.x != nil {
		b.remove(e, b.popped)
	}
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

// compact closes the holes that entries taken out have left.
func (b *backlog) compact() {
	kept := make([]entry, 0, b.live+b.live/2)
	dropAt := b.popped
	clear(b.newest)
	for i := b.head; i < len(b.items); i++ {
		e := b.items[i]
		if e.m == nil && e.x == nil {
			continue
		}
		if e.m != nil && e.policy == OverflowLatest {
			b.newest[e.m.Topic] = b.popped + len(kept)
		}
		kept = append(kept, e)
		if b.popped+i-b.head < b.dropAt {
			dropAt = b.popped + len(kept)
		}
	}
	b.items, b.head, b.dropAt = kept, 0, dropAt
}

// remove empties an entry and forgets it everywhere.
func (b *backlog) remove(e *entry, pos int) {
	b.live--
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
	skipped = e.form().Skipped + 1
	b.remove(e, pos)
	return skipped, true
}

// dropOldest takes out the oldest messages that their policy gives up until n
// bytes are free, and leaves a hole in each place. It returns the bytes that are
// free now and how many messages were dropped.
func (b *backlog) dropOldest(n int) (freed, dropped int) {
	if b.dropAt < b.popped {
		b.dropAt, b.open = b.popped, nil
	}
	for ; freed < n; b.dropAt++ {
		e := b.at(b.dropAt)
		if e == nil {
			return freed, dropped
		}
		if e.m == nil && e.x == nil {
			continue
		}
		if e.m == nil || e.policy != OverflowDrop && e.policy != OverflowLatest {
			b.open = nil
			continue
		}
		seq, place := e.m.Seq, e.m.ResumeFrom(e.form())
		freed += e.size()
		dropped += 1 + e.form().Skipped
		b.remove(e, b.dropAt)
		if b.open == nil {
			b.open = &hole{first: seq}
			e.x = &extra{hole: b.open}
			b.live++
			b.bytes += e.size()
			freed -= e.size()
		}
		b.open.last, b.open.place = seq, place
	}
	return freed, dropped
}

// pushHole puts a hole at the end, or widens the one that stands there.
func (b *backlog) pushHole(h hole) {
	if n := len(b.items); b.len() > 0 && b.items[n-1].x != nil && b.items[n-1].x.hole != nil {
		last := b.items[n-1].x.hole
		last.first, last.last, last.place = min(last.first, h.first), max(last.last, h.last), h.place
		return
	}
	b.push(entry{x: &extra{hole: &h}})
}

// retreat takes out the last messages that stand in the history, as they are
// for everybody or nearly so, until so many bytes are free. Frames without a
// place stay. It returns what is free now, and the first message taken out.
func (b *backlog) retreat(bytes int) (freed int, first uint64) {
	var loose []entry
	for freed < bytes && b.len() > 0 {
		last := len(b.items) - 1
		e := b.items[last]
		switch {
		case e.m == nil && e.x == nil: // superseded or dropped
		case e.left():
			freed, first = freed+e.size(), e.m.Seq
			b.live--
			b.bytes -= e.size()
		case e.m == nil && e.x.raw != nil && !e.x.placed:
			loose = append(loose, e)
			b.live--
			b.bytes -= e.size()
		default:
			bytes = 0 // nothing behind it may pass it
			continue
		}
		b.items[last] = entry{}
		b.items = b.items[:last]
	}
	if b.len() == 0 {
		*b = backlog{bytes: b.bytes, popped: b.popped, dropAt: b.popped}
	} else if cap(b.items) > 4*len(b.items) {
		b.items, b.head = append([]entry(nil), b.items[b.head:]...), 0
	}
	b.dropAt = min(b.dropAt, b.popped+b.len())
	for _, e := range slices.Backward(loose) {
		b.push(e)
	}
	return freed, first
}

// newestSeq is the place of the last message that waits, 0 if none does.
func (b *backlog) newestSeq() uint64 {
	for _, e := range slices.Backward(b.items[b.head:]) {
		if e.m != nil {
			return e.m.Seq
		}
	}
	return 0
}

// release gives up the runs of a backlog that is thrown away.
func (b *backlog) release() {
	for _, e := range b.items[b.head:] {
		if e.x != nil && e.x.run != nil {
			e.x.run.Release()
		}
	}
}

// runBytes is what the runs that wait take.
func (b *backlog) runBytes() (bytes int64) {
	if b.runs == 0 {
		return 0
	}
	for _, e := range b.items[b.head:] {
		if e.x != nil && e.x.run != nil {
			bytes += e.x.run.bytes
		}
	}
	return bytes
}

// messages counts the messages that wait.
func (b *backlog) messages() int {
	n := 0
	for _, e := range b.items[b.head:] {
		switch {
		case e.m != nil:
			n++
		case e.x != nil:
			if e.x.run != nil {
				n += e.x.run.Len() - e.x.next
			}
		}
	}
	return n
}
