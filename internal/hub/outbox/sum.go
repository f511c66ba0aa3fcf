package outbox

import (
	"sync/atomic"

	"github.com/vulturepi/gateway/internal/hub/message"
)

// Sum counts the bytes that wait for all clients together.
type Sum struct {
	limit   int64
	bytes   atomic.Int64
	leaving atomic.Int64 // of them, those of clients that are being ended
	over    chan struct{}
}

// NewSum makes a sum with a limit in bytes.
func NewSum(limit int64) *Sum { return &Sum{limit: limit, over: make(chan struct{}, 1)} }

// Bytes is what waits now. Of each client up to reportEvery bytes are not in it.
func (s *Sum) Bytes() int64 { return s.bytes.Load() }

// Limit is what may wait.
func (s *Sum) Limit() int64 { return s.limit }

// Over is sent to when the sum passes its limit.
func (s *Sum) Over() <-chan struct{} { return s.over }

// Excess is what has to go; nothing if it is 0 or less.
func (s *Sum) Excess() int64 { return s.bytes.Load() - s.leaving.Load() - s.limit }

// far reports whether there is so much more than the limit that ending the
// greediest does not keep up.
func (s *Sum) far() bool { return s.Excess() > s.limit/2 }

func (s *Sum) add(bytes int64) {
	if s.bytes.Add(bytes) > s.limit && bytes > 0 {
		select {
		case s.over <- struct{}{}:
		default:
		}
	}
}

// Run is a run of messages that one or many clients are owed as it is. It
// counts once in the sum, however many wait for it.
type Run struct {
	messages []*message.Message // nil: left out
	bytes    int64
	holders  atomic.Int32
	sum      *Sum
}

// NewRun makes an empty run, which its maker holds until Release. It may be
// changed until it is pushed for the first time.
func (s *Sum) NewRun() *Run {
	r := &Run{sum: s}
	r.holders.Store(1)
	return r
}

// runOverhead is a message's place in a run, and a part of the message itself.
const runOverhead = 64

func runBytes(m *message.Message) int64 {
	if m == nil {
		return 0
	}
	return int64(len(m.JSON)) + runOverhead
}

// Append adds a message at the end.
func (r *Run) Append(m *message.Message) {
	r.messages = append(r.messages, m)
	r.count(runBytes(m))
}

// Set puts a message, or nil for none, into the place of another.
func (r *Run) Set(i int, m *message.Message) {
	old := r.messages[i]
	r.messages[i] = m
	r.count(runBytes(m) - runBytes(old))
}

func (r *Run) count(bytes int64) {
	r.bytes += bytes
	r.sum.add(bytes)
}

// At is the message in a place, nil if it was left out.
func (r *Run) At(i int) *message.Message { return r.messages[i] }

// Len is the number of places.
func (r *Run) Len() int { return len(r.messages) }

// Bytes is what the run takes.
func (r *Run) Bytes() int64 { return r.bytes }

func (r *Run) hold() { r.holders.Add(1) }

// Release gives the run up. When nobody holds it any more it is forgotten.
func (r *Run) Release() {
	if r.holders.Add(-1) == 0 {
		r.sum.add(-r.bytes)
	}
}

// Count changes the sum by bytes that are held for clients elsewhere.
func (s *Sum) Count(bytes int64) { s.add(bytes) }
