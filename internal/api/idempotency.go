package api

import (
	"crypto/sha256"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// IdempotencyBytes is what is remembered by Idempotency-Key at most, unless
// Options say otherwise.
const IdempotencyBytes = 32 << 20

const (
	idempotencyTime = 5 * time.Minute // from the answer on
	maxKey          = 128
)

// onceKey names a publish for good: whose it is, the Idempotency-Key, and the
// line of a stream that has one key for all its lines.
type onceKey struct {
	principal, key string
	line           int // -1: not a line
}

// onceEntry is a publish under way, or its answer.
type onceEntry struct {
	key    onceKey
	hash   [sha256.Size]byte // of the request
	answer *answer           // nil while it is under way
	until  time.Time
	size   int // with room
	room   int // for the answer
	next   *onceEntry
}

// onceStore remembers answers by Idempotency-Key. It never forgets one before
// its time: when it is full, it takes no more.
type onceStore struct {
	limit int

	mu             sync.Mutex // guards the rest
	entries        map[onceKey]*onceEntry
	oldest, newest *onceEntry // answered ones, by their end
	bytes          int
	replays        uint64
}

func newOnceStore(limit int) *onceStore {
	return &onceStore{limit: limit, entries: map[onceKey]*onceEntry{}}
}

// entryOverhead is what an entry takes besides its answer.
const entryOverhead = 256

// begin claims a key, and room for an answer of that size. Either the entry is
// the caller's, to be given back with end, or there is an answer to repeat, or
// a problem.
func (o *onceStore) begin(key onceKey, hash [sha256.Size]byte, room int) (*onceEntry, *answer, *wire.Problem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	o.expire(now)
	e := o.entries[key]
	if e != nil && e.answer != nil && now.After(e.until) {
		o.forget(e)
		e = nil
	}
	size := entryOverhead + len(key.key) + len(key.principal) + room
	switch {
	case e == nil && o.bytes+size > o.limit:
		return nil, nil, problem(wire.CodeIdempotencyFull, "As many Idempotency-Keys are remembered as there is room for; nothing was published.")
	case e == nil:
		e = &onceEntry{key: key, hash: hash, size: size, room: room}
		o.entries[key] = e
		o.bytes += e.size
		return e, nil, nil
	case e.hash != hash:
		return nil, nil, problem(wire.CodeIdempotencyMismatch, "This Idempotency-Key was used with another request; use a new key for a new message.")
	case e.answer == nil:
		return nil, nil, problem(wire.CodeIdempotencyInProgress, "The first request with this Idempotency-Key is still under way; ask again for its answer.")
	}
	o.replays++
	return nil, e.answer, nil
}

// end remembers the answer, unless nothing was published: then the key is free
// again. Of the room that was claimed it keeps what the answer takes; where
// that is more, and more than there is, it keeps a problem that says so.
func (o *onceStore) end(e *onceEntry, a *answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a == nil || !a.sent() {
		o.forget(e)
		return
	}
	more := a.size() - e.room
	if more > 0 && o.bytes+more > o.limit {
		a = &answer{problem: problem(wire.CodeOutcomeUnknown, "The first request with this Idempotency-Key was carried out and answered; there was no room to keep the answer.")}
		more = a.size() - e.room
	}
	e.size, e.room = e.size+more, e.room+more
	o.bytes += more
	e.answer, e.until = a, time.Now().Add(idempotencyTime)
	if o.newest != nil {
		o.newest.next = e
	} else {
		o.oldest = e
	}
	o.newest = e
}

// expireStep is how many entries one call forgets at most: more than can be
// added in the meantime.
const expireStep = 64

// expire forgets what is older than its time, in steps. Called with the lock
// held.
func (o *onceStore) expire(now time.Time) {
	e := o.oldest
	for i := 0; i < expireStep && e != nil && now.After(e.until); i++ {
		o.forget(e)
		e = e.next
	}
	if o.oldest = e; e == nil {
		o.newest = nil
	}
}

// forget frees an entry's key and room. Called with the lock held, also twice
// for one entry.
func (o *onceStore) forget(e *onceEntry) {
	if o.entries[e.key] == e {
		delete(o.entries, e.key)
		o.bytes -= e.size
	}
}

// stats are how many keys are held, how often an answer was repeated, and what
// the keys take with their answers.
func (o *onceStore) stats() (keys int, replays uint64, kept Sum) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expire(time.Now())
	return len(o.entries), o.replays, Sum{int64(o.bytes), int64(o.limit)}
}

// idempotencyKey reads the header; "" without one.
func idempotencyKey(r *http.Request) (string, *wire.Problem) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	valid := len(values) == 1 && key != "" && len(key) <= maxKey
	for i := range len(key) {
		valid = valid && key[i] >= ' ' && key[i] <= '~'
	}
	if !valid {
		return "", problem(wire.CodeInvalidIdempotencyKey, "Idempotency-Key must be given once, with 1 to 128 printable ASCII characters.")
	}
	return key, nil
}

// requestHash is what must be the same for a request to be the same.
func requestHash(r *http.Request, body []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	_, _ = io.WriteString(h, r.Method+" "+r.URL.RequestURI()+"\n")
	for _, header := range propertyHeaders(r) {
		_, _ = io.WriteString(h, header+"\n")
	}
	_, _ = h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// answerRoom is the room for an answer that is small, as nearly all are.
const answerRoom = 2 << 10

// once answers with what do gives, which takes about room bytes, or, when the
// request's Idempotency-Key was seen with the same request before, with the
// first answer.
func (s *Server) once(w http.ResponseWriter, r *http.Request, body []byte, room int, do func() *answer) {
	key, bad := idempotencyKey(r)
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	if key == "" {
		do().write(w)
		return
	}
	entry, first, bad := s.idempotency.begin(onceKey{principal: callerOf(w).owner(), key: key, line: -1}, requestHash(r, body), room)
	switch {
	case bad != nil:
		writeProblem(w, bad)
		return
	case first != nil:
		if first.topic != "" { // rights may have changed since
			if bad := s.stillMayRead(callerOf(w), first.topic, r.URL.Query().Get("reply"), "/reply"); bad != nil {
				writeProblem(w, bad)
				return
			}
		}
		w.Header().Set("Idempotency-Replayed", "true")
		first.write(w)
		return
	}
	s.settle(entry, do).write(w)
}

// settle remembers what do gives. A panic, too, gives the key back.
func (s *Server) settle(entry *onceEntry, do func() *answer) (a *answer) {
	defer func() { s.idempotency.end(entry, a) }()
	return do()
}
