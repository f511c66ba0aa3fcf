package access

import (
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// burstSeconds is how many seconds' worth a client may do at once.
const burstSeconds = 2

// Quota says whether something is within its limit, in the terms of the RateLimit header fields.
type Quota struct {
	Allowed   bool
	Limit     int           // how many there may be in a Window; 0: there is no limit, and the rest means nothing
	Window    time.Duration // see Limit
	Remaining int           // how many more there may be at once
	Reset     time.Duration // until Remaining is Limit again, if nothing more comes
	Retry     time.Duration // until it would be allowed; 0 if it is
}

// Rates limits how often each client does something. The methods may be called from anywhere.
type Rates struct {
	perSecond int
	now       func() time.Time

	mu      sync.Mutex // guards what follows
	buckets tables[bucket]
}

// bucket is a token bucket, full at the start.
type bucket struct{ *rate.Limiter }

func (b bucket) idle(now time.Time) bool { return b.TokensAt(now) >= float64(b.Burst()) }

// NewRates allows that many a second, and twice as many at once; 0 is no limit.
func NewRates(perSecond int, now func() time.Time) *Rates {
	return &Rates{perSecond: perSecond, now: now, buckets: newTables(func() bucket {
		return bucket{rate.NewLimiter(rate.Limit(perSecond), burstSeconds*perSecond)}
	})}
}

// Take uses n of what the client may do, or nothing if that is too much. More than [Quota].Limit at once is never allowed.
func (r *Rates) Take(c Client, n int) Quota {
	if r.perSecond == 0 {
		return Quota{Allowed: true}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	b := r.buckets.of(c, now)
	q := Quota{Allowed: b.AllowN(now, n), Limit: b.Burst(), Window: burstSeconds * time.Second}
	tokens := b.TokensAt(now)
	q.Remaining = int(math.Max(0, tokens))
	q.Reset = r.wait(float64(q.Limit) - tokens)
	if !q.Allowed {
		q.Retry = r.wait(float64(n) - tokens)
	}
	return q
}

// wait is how long that many take to come.
func (r *Rates) wait(tokens float64) time.Duration {
	return time.Duration(math.Max(0, tokens) / float64(r.perSecond) * float64(time.Second))
}

// Streams limits how many streams each client has open. The methods may be called from anywhere.
type Streams struct {
	max int

	mu   sync.Mutex     // guards what follows
	open map[Client]int // never 0, so there are no more clients than streams
}

// NewStreams allows each client that many; 0 is no limit.
func NewStreams(max int) *Streams { return &Streams{max: max, open: map[Client]int{}} }

// Acquire counts one more stream of the client. If ok, close is to be called when it ends, once.
func (s *Streams) Acquire(c Client) (close func(), ok bool) {
	if s.max == 0 {
		return func() {}, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[c] >= s.max {
		return nil, false
	}
	s.open[c]++
	return func() { s.release(c) }, true
}

func (s *Streams) release(c Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[c]--; s.open[c] == 0 {
		delete(s.open, c)
	}
}

const (
	loginBurst   = 10          // failures in a minute, the last of which is one too many
	loginPause   = time.Minute // in which all of them are forgotten
	firstPenalty = 6 * time.Second
	maxPenalty   = 15 * time.Minute
)

// Logins limits failed logins of each address: behind the tenth within a minute there is a wait, which doubles with each
// further one, from 6 seconds to 15 minutes. The methods may be called from anywhere.
type Logins struct {
	now   func() time.Time
	start time.Time

	last atomic.Int64 // when the last of all waits ends, in nanoseconds from start; 0: there was none

	mu       sync.Mutex // guards what follows
	failures tables[*failures]
}

// failures are those of one address.
type failures struct {
	bucket
	penalty time.Duration // 0: none yet
	until   time.Time     // the end of the last wait
}

func (f *failures) idle(now time.Time) bool {
	return f.bucket.idle(now) && now.Sub(f.until) >= loginPause
}

// NewLogins returns limits without a failure.
func NewLogins(now func() time.Time) *Logins {
	return &Logins{now: now, start: now(), failures: newTables(func() *failures {
		return &failures{bucket: bucket{rate.NewLimiter(rate.Every(loginPause/loginBurst), loginBurst)}}
	})}
}

// Wait returns how long logins from the address are to be refused unseen; 0: they are welcome.
func (l *Logins) Wait(addr netip.Addr) time.Duration {
	if last := l.last.Load(); last == 0 || int64(l.now().Sub(l.start)) >= last {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	return max(0, l.failures.of(ClientOf(nil, addr), now).until.Sub(now))
}

// Failed counts a failed login from the address, and returns how long it has to wait now; 0: not at all.
func (l *Logins) Failed(addr netip.Addr) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	f := l.failures.of(ClientOf(nil, addr), now)
	if f.idle(now) {
		f.penalty = 0
	}
	if f.AllowN(now, 1) && f.TokensAt(now) >= 1 {
		return max(0, f.until.Sub(now))
	}
	f.penalty = min(max(2*f.penalty, firstPenalty), maxPenalty)
	f.until = now.Add(f.penalty)
	l.last.Store(max(l.last.Load(), int64(f.until.Sub(l.start))))
	return f.penalty
}
