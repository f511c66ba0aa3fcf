// Package outbox is what waits for one client, and who writes it: a queue that
// is bounded in bytes, written and never blocks who fills it.
//
// Locks: an Outbox's mutex is taken under the hub's, never the other way round;
// a shard's under an Outbox's. None is held while a socket is written to.
package outbox

import (
	"sync"
	"sync/atomic"

	"github.com/vulturepi/gateway/wire"
)

// batchBytes is how much is framed ahead of one write: enough to make the
// system call cheap, little enough to stay in the cache. Twice as much may be
// under way before it counts as waiting.
const batchBytes = 32 << 10

// Overflow says what happens to a client that does not keep up.
type Overflow uint8

// Policies.
const (
	OverflowCatchup Overflow = iota // served from the history until it has caught up
	OverflowClose                   // cut off, with a gap as the last word
	OverflowDrop                    // drop the oldest, with a gap in their place
	OverflowLatest                  // keep only the newest of each topic
)

// Shared is what all outboxes of a hub have in common.
type Shared struct {
	Epoch  string
	Limit  int // bytes that may wait for one client
	Queued *Sum
	Gaps   map[string]*atomic.Uint64 // gap frames sent, by reason; the map does not change

	DroppedSlow   atomic.Uint64 // messages that a client did not get because it was slow
	DroppedClosed atomic.Uint64 // messages that waited when a connection ended
	Superseded    atomic.Uint64 // messages replaced by a newer one under OverflowLatest
	Shed          atomic.Uint64 // times that a client was made to hold less, or ended, because all together held too much
}

func (s *Shared) cursor(seq uint64) string { return string(wire.AppendCursor(nil, s.Epoch, seq)) }

// Source feeds a client that is behind.
type Source interface {
	// Feed queues the next messages of the history with Fed, or takes a step on
	// the way to them. It is called by the client's own writer, without a lock.
	Feed()
}

// writer is who looks at an outbox next.
type writer uint8

const (
	nobody   writer = iota // nothing is to be written
	theShard               // it stands in its shard's list, or the shard is writing
	itsOwn                 // a goroutine of its own, because the socket was full or the client is behind
)

// life is how far a client's end has come.
type life uint8

const (
	open    life = iota
	closing      // takes nothing more; what is framed and the last words still go out
	ended        // nothing will be written any more
)

// Outbox is what waits for one client.
//
// Messages wait as references (batch) until a shard frames and writes them, in
// one go for all clients that are owed the same; frames of the client's own are
// put into buf. Neither write blocks. When the socket is full a goroutine of
// its own takes over until everything is written; meanwhile messages wait in
// the backlog, so a thousand stalled clients share the same bytes. When the
// backlog is full, and the policy is OverflowCatchup, nothing more is queued:
// the client is behind, and once the backlog is empty its writer asks the
// source for what the history has, until that has caught up.
//
// Who writes: nobody → theShard (something is queued) → nobody (all written) or
// itsOwn (the socket is full) → nobody. Its life: open → closing → ended, or
// open → ended.
type Outbox struct {
	// Static after Init.
	shared    *Shared
	shard     *shard
	conn      Conn
	codec     Codec
	framing   string
	source    Source
	delivered *atomic.Uint64 // messages framed for the socket, of all clients of this transport
	id        uint64

	mu      sync.Mutex // guards all below
	writer  writer
	life    life
	buf     []byte  // framed, next to be written
	batch   batch   // next to be written; empty while buf is not
	backlog backlog // behind them
	behind  uint64  // the first message that is left to the source, 0: none
	held    int     // bytes of messages that min_interval holds back
	noted   int     // bytes of what is known of their topics
	writing int     // bytes in the hands of the client's own writer
	final   []byte  // last words
	framed  uint64  // the place to resume from behind the last message framed
	counted int     // what of all that is in the sum
	batched int     // what of the batch was there when that was looked at
	leaving int     // and what of it counts as leaving
	drained *sync.Cond
}

// Init makes an outbox ready. Delivered counts what is framed.
func (o *Outbox) Init(shared *Shared, w *Writers, id uint64, conn Conn, codec Codec, source Source, delivered *atomic.Uint64) {
	o.shared, o.shard, o.id = shared, w.shard(id), id
	o.conn, o.codec, o.framing = conn, codec, codec.Framing()
	o.source, o.delivered = source, delivered
	o.shard.track(o)
}

// Codec is how the client is written to.
func (o *Outbox) Codec() Codec { return o.codec }

// Ended reports whether the client is being ended, or has been.
func (o *Outbox) Ended() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.life != open
}

// Busy reports whether the next message would have to wait for the socket.
func (o *Outbox) Busy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.life == open && !o.direct()
}

// Waits reports whether something waits for the socket, or is under way to it.
func (o *Outbox) Waits() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.life == open && (o.backlog.len() > 0 || o.writer == itsOwn && o.behind == 0 && o.writing > 0)
}

// Behind is the first message that is left to the source, 0 if none is.
func (o *Outbox) Behind() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.behind
}

// Hold counts bytes of messages that are held back for the client, or with less
// than 0 no longer are. It returns by how much the client passes its limit.
func (o *Outbox) Hold(bytes int) (over int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life != open {
		return 0
	}
	o.held += bytes
	over = o.held + o.backlog.bytes - o.shared.Limit
	if bytes > 0 && over > 0 { // what stands in the history goes first
		over -= o.retreat(max(over, o.shared.Limit/retreatShare))
	}
	o.settle()
	return over
}

// Note counts bytes that are kept for the client and are no messages, or with
// less than 0 no longer are. They stand in the sum only.
func (o *Outbox) Note(bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life == open {
		o.noted += bytes
		o.settle()
	}
}

// admit puts e into the backlog if there is room, or makes room, or ends the
// client. seq is where the stream stands. It is false when e has to have
// another place.
func (o *Outbox) admit(e entry, seq uint64) bool {
	over := o.held + o.backlog.bytes + e.size() - o.shared.Limit
	if e.m == nil || e.paced { // what is not to end the client, or counted when it was held back
		over -= o.shared.Limit / retreatShare
	}
	if over > 0 {
		freed, dropped := o.backlog.dropOldest(over)
		o.shared.DroppedSlow.Add(uint64(dropped))
		over -= freed
	}
	// Whoever gets here is slow. When all slow ones together hold far more
	// than they may, and shedding does not keep up, the next one goes.
	far := o.shared.Queued.far()
	if over > 0 || far {
		if e.left() {
			o.behind = seq
			o.schedule()
			return true
		}
		want := max(over, o.shared.Limit/retreatShare)
		if far {
			want = o.backlog.bytes
		}
		if freed := o.retreat(want); freed < over || far && freed == 0 {
			o.overflow(seq, 1, e.m != nil)
			return true
		}
	}
	switch {
	case o.behind == 0:
	case e.m == nil && o.passes(e.x):
		o.schedule()
		return false
	case e.m != nil && e.paced:
		e.x = &extra{form: o.notBeyond(e.form())}
	case e.m != nil: // it stands in the history behind those that are left to the source
		o.schedule()
		return true
	}
	o.backlog.push(e)
	o.schedule()
	return true
}

// retreatShare is the part of its limit that a client has for other things: on
// top of it for frames of its own, and in it when messages are left to the
// source to make room, so that the next few do not find the queue full again.
const retreatShare = 4

// retreat takes messages that stand in the history out of the end of the
// backlog, and leaves them to the source. It returns the bytes that are free
// now.
func (o *Outbox) retreat(bytes int) (freed int) {
	freed, behind := o.backlog.retreat(bytes)
	if freed > 0 {
		o.behind = behind
	}
	return freed
}

// direct reports whether the next thing may be framed into buf at once.
func (o *Outbox) direct() bool {
	return o.writer != itsOwn && o.behind == 0 && o.backlog.len() == 0 && len(o.buf)+o.batch.bytes < 2*batchBytes
}

// WaitDrained returns when the backlog is empty; false when it never will be.
func (o *Outbox) WaitDrained() bool {
	return o.waitUntil(func() bool { return o.backlog.len() == 0 })
}

// WaitRuns returns when no run waits; false when none ever will go out.
func (o *Outbox) WaitRuns() bool {
	return o.waitUntil(func() bool { return o.backlog.runs == 0 })
}

func (o *Outbox) waitUntil(done func() bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !done() && o.life == open {
		if o.drained == nil {
			o.drained = sync.NewCond(&o.mu)
		}
		o.drained.Wait()
	}
	return o.life == open
}

func (o *Outbox) tellDrained() {
	if o.drained != nil {
		o.drained.Broadcast()
	}
}

// schedule makes sure that a writer looks at the outbox, and counts what it
// holds. The caller kicks.
func (o *Outbox) schedule() {
	if o.writer == nobody {
		o.writer = theShard
		o.shard.add(o)
	}
	o.settle()
}

// Kick wakes the outbox's shard if it has something to do.
func (o *Outbox) Kick() { o.shard.kick() }

// reportEvery is how many bytes of one client may be missing in the sum, so
// that small messages do not all go to the same counter.
const reportEvery = 4 << 10

// settle brings the sum up to date with what the outbox holds.
func (o *Outbox) settle() {
	now := o.bytes()
	o.batched = o.batch.bytes
	if diff := now - o.counted; now == 0 || diff >= reportEvery || diff <= -reportEvery {
		if diff != 0 {
			o.shared.Queued.add(int64(diff))
		}
		o.counted = now
	}
	leaving := 0
	if o.life != open {
		leaving = o.counted
	}
	if leaving != o.leaving {
		o.shared.Queued.leaving.Add(int64(leaving - o.leaving))
		o.leaving = leaving
	}
}

// bytes is what the outbox holds, without the runs, which are counted by
// themselves.
func (o *Outbox) bytes() int {
	return len(o.buf) + o.batch.bytes + o.backlog.bytes + o.held + o.noted + o.writing + len(o.final)
}

// Bytes is what waits for the client, runs included; 0 when it is being ended.
func (o *Outbox) Bytes() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life != open {
		return 0
	}
	return int64(o.bytes()) + o.backlog.runBytes()
}
