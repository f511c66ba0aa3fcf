package devicecom

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// Values is a connection to the broker and what comes from it. All methods may
// be called from several goroutines at once.
type Values struct {
	o      Options
	where  finder
	stop   context.CancelFunc // of the supervisor
	done   chan struct{}      // closed when the supervisor has returned
	closed chan struct{}      // closed by Close

	session  atomic.Pointer[session] // nil while there is no connection
	latest   atomic.Pointer[entry]
	tooLarge atomic.Uint64
	inbox    *queue // for Next and All
	pending  *queue // for the function of OnMessage

	mu        sync.Mutex
	closing   bool          // guarded by mu
	onMessage func(Message) // guarded by mu
	calling   chan struct{} // guarded by mu; closed when no function is called any more; nil until one is set
}

// Next returns the next value, decoded. Values that came since the last call
// wait; without one it waits for one, over lost connections too, until ctx ends
// or [Values.Close] is called; then it returns ctx's error or [ErrClosed].
//
// Each message goes to one call of Next or All. For its topic, use All.
func (v *Values) Next(ctx context.Context) (any, error) {
	e, err := v.inbox.pop(ctx, v.closed)
	if err != nil {
		return nil, err
	}
	return decode(e.payload), nil
}

// All returns the messages one by one, as Next does, until ctx ends or
// [Values.Close] is called.
func (v *Values) All(ctx context.Context) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for {
			e, err := v.inbox.pop(ctx, v.closed)
			if err != nil || !yield(e.message()) {
				return
			}
		}
	}
}

// Latest returns the newest message, at once. ok is false when none has come
// yet. It takes nothing away from Next and All.
func (v *Values) Latest() (m Message, ok bool) {
	e := v.latest.Load()
	if e == nil {
		return Message{}, false
	}
	return e.message(), true
}

// OnMessage has f called for each message, one after the other, in a goroutine
// of its own: f may take its time, and may publish. Messages that came before
// the first call of OnMessage are included, as far as they were kept. A later
// call replaces the function; nil ends the calls.
func (v *Values) OnMessage(f func(Message)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.onMessage = f
	if v.calling == nil && !v.closing {
		v.calling = make(chan struct{})
		go v.call(v.calling)
	}
}

// call serves OnMessage.
func (v *Values) call(done chan struct{}) {
	defer close(done)
	for {
		e, err := v.pending.pop(context.Background(), v.closed)
		v.mu.Lock()
		f, closing := v.onMessage, v.closing
		v.mu.Unlock()
		if err != nil || closing {
			return
		}
		if f != nil {
			f(e.message())
		}
	}
}

// Drops counts messages that came and could not be kept.
type Drops struct {
	Next      uint64 // gave way to newer ones before Next or All took them
	OnMessage uint64 // gave way to newer ones before the function of OnMessage was called
	TooLarge  uint64 // were larger than Options.MaxPacketBytes
}

// Drops returns the counts since the connection was made.
func (v *Values) Drops() Drops {
	return Drops{Next: v.inbox.droppedSoFar(), OnMessage: v.pending.droppedSoFar(), TooLarge: v.tooLarge.Load()}
}

// Connected reports whether there is a connection, as far as is known.
func (v *Values) Connected() bool {
	s := v.session.Load()
	return s != nil && s.conn.cause() == nil
}

// Close ends the connection, in order, so that the broker does not publish the
// will. A publish that is not confirmed yet returns [ErrUnknownOutcome]. Close
// returns when nothing runs any more, and waits at most 5 s for a function of
// OnMessage to return: from within it, call it as go vals.Close(). It may be
// called more than once.
func (v *Values) Close() error {
	v.mu.Lock()
	if !v.closing {
		v.closing = true
		close(v.closed)
	}
	calling := v.calling
	v.mu.Unlock()
	v.stop()
	<-v.done
	if calling != nil {
		select {
		case <-calling:
		case <-time.After(v.o.timing.close):
		}
	}
	return nil
}

// receive is called by the connection for each message, one after the other.
func (v *Values) receive(e *entry) {
	v.latest.Store(e)
	v.inbox.push(e)
	v.pending.push(e)
}

func (v *Values) leftOut() {
	if v.tooLarge.Add(1) == 1 {
		v.o.Logger.Warn("a message larger than Options.MaxPacketBytes was left out; further ones are counted in Drops", "max_packet_bytes", v.o.MaxPacketBytes)
	}
}
