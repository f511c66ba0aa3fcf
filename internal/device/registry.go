package device

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/list"
)

// Options of a Registry. Zero values give the defaults in brackets.
type Options struct {
	Log      bool      // the broker's log tells who is connected
	Patterns []Pattern // topics of devices
	Quiet    []Quiet   // topics that may not go quiet
	Own      func(clientID string) bool
	Logger   *slog.Logger
	Now      func() time.Time // [time.Now]

	Devices int   // known at once [100 000]
	Topics  int   // of Quiet, known at once [100 000]
	Bytes   int64 // of both, each [48 MiB]
}

// Bytes is what devices may take in memory; as much again is for topics, where
// some may not go quiet.
const Bytes = 48 << 20

// Bounds of what a device may be called. A longer name is not taken in.
const maxID = 1024

// Registry is what is known of devices. Its methods may be called concurrently.
type Registry struct {
	opts Options
	asks chan struct{} // wakes who asks for what the broker keeps

	mu       sync.Mutex // guards all below; nothing else is called under it
	held     int        // filters that are held
	life     uint64     // of what was told: states of an earlier one are unknown
	lost     Reason     // why those are
	lostAt   int64
	style    style               // of the log's lines
	accepted map[string]struct{} // addresses of TCP connections whose clients have not said who they are
	byID     map[string]*entry
	ids      sorted[string, *entry]
	online   list.List[entry] // those that are, or were when they were told of last; the longest unseen first
	others   list.List[entry] // likewise
	bytes    int64
	states   map[State]int // told in this life
	topics   topics
	changes  sorted[uint64, change] // the newest of each device and topic, in order
	change   uint64                 // the last one
	readers  readers

	evicted, unread, lines uint64
	tooLong                uint64
	said                   uint64    // evictions, of topics too, that have been logged,
	saidAt                 time.Time // and when
}

// change is what one of the changes is about: one of the two.
type change struct {
	device *entry
	topic  *quietTopic
}

// entry is a device. It is guarded by Registry.mu.
type entry struct {
	id      string
	log     fact
	address string // of the log
	tcp     bool   // the log has said that its connection is no WebSocket
	late    int64  // until when the log may tell of the end of a connection that was taken over, in nanoseconds; 0: it does not
	seen    []fact // of the patterns that it was seen on, in their order
	state   State  // that all facts came to when one told a state last,
	life    uint64 // and in which life that was
	change  uint64 // its place in changes; 0: none
	place   list.Place[entry]
}

// What a device takes in memory besides its strings, roughly.
const (
	entryBytes = 400
	factBytes  = 80
)

func (e *entry) bytes() int64 {
	return int64(entryBytes + len(e.id) + len(e.address) + factBytes*cap(e.seen))
}

// New makes a registry that knows nothing yet.
func New(o Options) *Registry {
	o.Devices = cmp.Or(o.Devices, 100_000)
	o.Topics = cmp.Or(o.Topics, 100_000)
	o.Bytes = cmp.Or(o.Bytes, Bytes)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Own == nil {
		o.Own = func(string) bool { return false }
	}
	r := &Registry{opts: o, asks: make(chan struct{}, 1), byID: map[string]*entry{}, states: map[State]int{}, life: 1, lost: ReasonNotTold}
	r.topics.init(o)
	r.readers.all, r.readers.whole, r.readers.those = map[*Feed]struct{}{}, map[*Feed]struct{}{}, map[string]map[*Feed]struct{}{}
	return r
}

// Message is a message that has passed. A retained copy says what the broker
// keeps, which counts where nothing newer is known.
func (r *Registry) Message(topic string, payload []byte, copy bool) {
	if len(r.opts.Patterns) == 0 && len(r.opts.Quiet) == 0 {
		return
	}
	now := r.opts.Now()
	for i := range r.opts.Patterns {
		p := &r.opts.Patterns[i]
		if id, ok := p.id(topic); ok {
			r.sighted(id, i, p.state(payload), copy, now)
		}
	}
	if !copy {
		r.heard(topic, now)
	}
}

// sighted is a message on a topic of a device.
func (r *Registry) sighted(id string, pattern int, state State, copy bool, now time.Time) {
	r.mu.Lock()
	defer r.unlock()
	if copy && state == Unknown && r.byID[id] == nil {
		return // it may be gone for years
	}
	d := r.device(id)
	if d == nil {
		return
	}
	f, isNew := r.on(d, pattern)
	if isNew {
		r.note(d, f) // others may see it from now on
	}
	if !copy {
		r.touch(d, f, now)
	}
	if state == Unknown || f.is(state, r.life) || copy && f.tells(r.life) {
		return
	}
	r.set(d, f, state, ReasonReported, now)
}

// on is what a pattern tells of a device, which may be nothing yet. Called under
// mu; it is good until mu is given back.
func (r *Registry) on(d *entry, pattern int) (f *fact, isNew bool) {
	at, known := slices.BinarySearchFunc(d.seen, pattern, func(f fact, pattern int) int { return cmp.Compare(f.pattern, pattern) })
	if !known {
		r.bytes -= d.bytes()
		d.seen = slices.Insert(d.seen, at, fact{pattern: pattern, state: Unknown, reason: ReasonNotTold})
		r.bytes += d.bytes()
	}
	return &d.seen[at], !known
}

// Lost makes all states unknown: lines and messages may be missing.
func (r *Registry) Lost(why Reason) {
	now := r.opts.Now()
	r.mu.Lock()
	defer r.unlock()
	r.life++
	r.lost, r.lostAt = why, now.UnixNano()
	clear(r.states)
	r.readers.wake(r.readers.all)
	r.askAnew()
}

// device is the one of that id, a new one if there is none, of which a fact must
// be noted; nil if it is not taken in. Called under mu.
func (r *Registry) device(id string) *entry {
	if d := r.byID[id]; d != nil {
		return d
	}
	if len(id) > maxID {
		r.tooLong++
		return nil
	}
	id = strings.Clone(id)
	d := &entry{id: id, state: Unknown}
	for (len(r.byID) >= r.opts.Devices || r.bytes+d.bytes() > r.opts.Bytes) && len(r.byID) > 0 {
		r.forgetOne()
	}
	r.byID[id] = d
	r.ids.set(id, d)
	r.listOf(d).Push(&d.place, d)
	r.bytes += d.bytes()
	return d
}

// listOf is the list that a device belongs to. Who comes and goes under ever new
// names thus pushes out others of that kind, and not those who stay. Called
// under mu.
func (r *Registry) listOf(d *entry) *list.List[entry] {
	if d.state == Online {
		return &r.online
	}
	return &r.others
}

// forgetOne takes out the device that goes first. Called under mu.
func (r *Registry) forgetOne() { r.forget(cmp.Or(r.others.First(), r.online.First())) }

// forget takes out a device. Called under mu.
func (r *Registry) forget(d *entry) {
	r.count(d, -1)
	delete(r.byID, d.id)
	r.ids.remove(d.id)
	r.changes.remove(d.change)
	r.listOf(d).Remove(&d.place)
	r.bytes -= d.bytes()
	r.evicted++
	r.readers.wake(r.readers.all)
}

// touch notes that the device was seen. Called under mu.
func (r *Registry) touch(d *entry, f *fact, now time.Time) {
	f.seen = now.UnixNano()
	r.listOf(d).Remove(&d.place)
	r.listOf(d).Push(&d.place, d)
}

// move notes the address of the connection of a device that is online and was
// seen last. Called under mu.
func (r *Registry) move(d *entry, address string) {
	r.bytes -= d.bytes()
	d.address = strings.Clone(address[:min(len(address), 256)])
	r.bytes += d.bytes()
	for r.bytes > r.opts.Bytes && len(r.byID) > 1 {
		r.forgetOne()
	}
}

// set has a fact tell a state. Called under mu.
func (r *Registry) set(d *entry, f *fact, state State, why Reason, now time.Time) {
	if !f.is(state, r.life) {
		f.since = now.UnixNano()
	}
	f.life, f.state, f.reason = r.life, state, why
	r.count(d, -1)
	r.listOf(d).Remove(&d.place)
	d.life, d.state = r.life, r.stateOf(d)
	r.listOf(d).Push(&d.place, d)
	r.count(d, 1)
	r.note(d, f)
}

// stateOf is what all facts come to, as in Show. Called under mu.
func (r *Registry) stateOf(d *entry) State {
	if d.log.tells(r.life) {
		return d.log.state
	}
	for i := range d.seen {
		if d.seen[i].tells(r.life) {
			return d.seen[i].state
		}
	}
	return Unknown
}

// count counts the device, by the state that was told in this life.
func (r *Registry) count(d *entry, n int) {
	if d.life == r.life {
		r.states[d.state] += n
	}
}

// note puts the device last among the changes: that fact has changed. Called
// under mu.
func (r *Registry) note(d *entry, f *fact) {
	r.changes.remove(d.change)
	r.change++
	d.change, f.change = r.change, r.change
	r.changes.set(d.change, change{device: d})
	r.readers.tell(r.readers.whole, d.change)
	if len(r.readers.those) > 0 {
		for i := range d.seen { // also who reads another fact: its place among the changes is not the same any more
			r.readers.tellThose(r.opts.Patterns[d.seen[i].pattern].Of(d.id), d.change)
		}
	}
}

// sayEvery is how often it is said that devices are forgotten.
const sayEvery = time.Minute

// unlock gives mu back, wakes the feeds that are due, and says when a device had
// to be forgotten.
func (r *Registry) unlock() {
	say := false
	evicted := r.evicted + r.topics.evicted
	if evicted > r.said && r.opts.Now().Sub(r.saidAt) > sayEvery {
		r.saidAt, r.said = r.opts.Now(), evicted
		say = true
	}
	due := r.readers.due
	r.readers.due = nil
	r.mu.Unlock()
	for _, f := range due {
		select {
		case f.more <- struct{}{}:
		default:
		}
	}
	if say {
		r.opts.Logger.Warn("more devices or topics than can be known; the longest unseen are forgotten", "forgotten", evicted, "limit", r.opts.Devices)
	}
}
