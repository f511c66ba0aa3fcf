package outbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/wire"
)

// tap is a connection into memory that the test blocks, and lets time out.
type tap struct {
	lineCodec
	mu      sync.Mutex
	changed *sync.Cond
	got     bytes.Buffer
	blocked bool
	late    bool // the next wait takes too long
	hurried bool
	end     string
}

func newTap() *tap {
	p := &tap{}
	p.changed = sync.NewCond(&p.mu)
	return p
}

func (p *tap) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

func (p *tap) TryWrite(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.end == "aborted":
		return 0, errors.New("aborted")
	case p.blocked:
		return 0, nil
	}
	return p.got.Write(b)
}

func (p *tap) WriteAll(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.blocked && p.end != "aborted" {
		if p.late {
			p.late = false
			return 0, os.ErrDeadlineExceeded
		}
		p.changed.Wait()
	}
	if p.end == "aborted" {
		return 0, errors.New("aborted")
	}
	return p.got.Write(b)
}

func (p *tap) Hurry()                { p.set(func() { p.hurried = true }) }
func (p *tap) Abort()                { p.set(func() { p.end = "aborted" }) }
func (p *tap) Silent(time.Time) bool { return false }
func (p *tap) Finish() {
	p.set(func() {
		if p.end == "" {
			p.end = "finished"
		}
	})
}

// past is a source that has every message, and a lock as the hub has one.
type past struct {
	mu  sync.Mutex
	out Outbox
	all []*message.Message // message n is all[n-1]
}

func (h *past) Feed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	behind := h.out.Behind()
	if behind == 0 {
		return
	}
	run := h.out.shared.Queued.NewRun()
	defer run.Release()
	at := behind - 1
	for ; at < uint64(len(h.all)) && run.Len() < 7; at++ {
		run.Append(h.all[at])
	}
	h.out.Fed(run, message.Form{}, at, at == uint64(len(h.all)))
}

// rig is one outbox, its connection and its past.
type rig struct {
	*past
	tap     *tap
	shared  *Shared
	writers *Writers
}

func newRig(limit int) *rig {
	r := &rig{past: &past{}, tap: newTap(), writers: NewWriters(1, time.Hour)}
	r.shared = &Shared{Epoch: "e", Limit: limit, Queued: NewSum(1 << 30), Gaps: map[string]*atomic.Uint64{wire.GapSlowConsumer: new(atomic.Uint64)}}
	r.out.Init(r.shared, r.writers, 1, r.tap, r.tap, r.past, new(atomic.Uint64))
	return r
}

func (r *rig) close() {
	r.out.Detach()
	r.writers.Close()
}

// push pushes the next message.
func (r *rig) push(topic string, size int, policy Overflow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := message.New(message.In{Topic: topic, Payload: []byte(strings.Repeat("x", size))}, time.Time{})
	m.Stamp("e", uint64(len(r.all)+1))
	r.all = append(r.all, m)
	r.out.Push(m, message.Form{}, policy)
	r.out.Kick()
}

// line is what came out.
type line struct {
	Type, Topic, Cursor, After, Before string
	Skipped                            int
}

func (r *rig) lines(t *rapid.T) (all []line) {
	r.tap.mu.Lock()
	defer r.tap.mu.Unlock()
	for l := range bytes.Lines(r.tap.got.Bytes()) {
		var x line
		switch {
		case string(l) == "bye\n":
			x.Type = "bye"
		case json.Unmarshal(l, &x) != nil:
			t.Fatalf("not a frame: %q", l)
		}
		all = append(all, x)
	}
	return all
}

func place(t *rapid.T, cursor string) uint64 {
	n, err := strconv.ParseUint(strings.TrimPrefix(cursor, "e-"), 10, 64)
	if err != nil {
		t.Fatalf("not a cursor: %q", cursor)
	}
	return n
}

// patience is how long a test waits for something that should be quick.
const patience = 2 * time.Minute

// eventually waits for a condition that nothing signals.
func eventually(t interface{ Fatalf(string, ...any) }, what string, cond func() bool) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// holds is what the outbox has, counted anew.
func (o *Outbox) holds() (n int) {
	n = len(o.buf) + o.held + o.noted + o.writing + len(o.final)
	for _, m := range o.batch.run {
		n += len(m.JSON) + frameOverhead
	}
	for _, e := range o.backlog.items[o.backlog.head:] {
		n += e.size()
	}
	return n
}

// audit compares what is counted with what is held.
func (r *rig) audit(t *rapid.T) {
	r.mu.Lock() // so that no run is on its way
	defer r.mu.Unlock()
	o := &r.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if got, want := o.bytes(), o.holds(); got != want {
		t.Fatalf("the outbox says that it holds %d bytes, it holds %d", got, want)
	}
	live, runs, newest := 0, 0, 0
	for _, e := range o.backlog.items[o.backlog.head:] {
		if e.m == nil && e.x == nil {
			continue
		}
		live++
		if e.m == nil && e.x.run != nil {
			runs++
		}
		if e.m != nil && e.policy == OverflowLatest {
			newest++
		}
	}
	if live != o.backlog.live || runs != o.backlog.runs || newest != len(o.backlog.newest) {
		t.Fatalf("%d entries wait, %d runs, %d newest; counted are %d, %d, %d", live, runs, newest, o.backlog.live, o.backlog.runs, len(o.backlog.newest))
	}
	if n := len(o.backlog.items); n > 2*live+64 {
		t.Fatalf("%d places for %d entries", n, live)
	}
	if diff := o.bytes() - o.counted; diff >= reportEvery+frameOverhead || diff <= -reportEvery-frameOverhead {
		// next takes bytes that the writer then has in its hands
		if o.writer == nobody {
			t.Fatalf("%d bytes are missing in the sum", diff)
		}
	}
	if o.life == open && o.backlog.bytes+o.held > r.shared.Limit+r.shared.Limit/retreatShare+2*extraOverhead {
		t.Fatalf("%d bytes wait, the limit is %d", o.backlog.bytes+o.held, r.shared.Limit)
	}
}
