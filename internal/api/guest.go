package api

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/internal/list"
	"github.com/vulturepi/gateway/wire"
)

// guest is an open stream and who has it. While it is open, its rights may
// change and its time may end.
type guest struct {
	server *Server
	client *hub.Client
	leave  func() // gives its place among its caller's streams back
	// response: it is an HTTP response, which ends when no filter is left.
	response bool

	caller     atomic.Pointer[caller]
	generation atomic.Uint64 // of the rights that it was checked by

	mu     sync.Mutex // held while it is checked; guards the rest
	expiry *time.Timer
	gone   bool

	endDevices context.CancelFunc // ends the changes of devices; nil: none are sent
	changed    chan struct{}      // has an item when the rights are others; nil until changes of devices are sent

	place list.Place[guest] // among those that have to be checked
}

// guests are all open streams that have to be checked when rights change.
type guests struct {
	mu  sync.Mutex // guards all
	all list.List[guest]
	len int
}

// enter makes a guest of an open stream.
func (s *Server) enter(g *guest, c *caller) {
	g.server = s
	g.caller.Store(c)
	if !s.asks {
		return
	}
	s.guests.mu.Lock()
	s.guests.all.Push(&g.place, g)
	s.guests.len++
	s.guests.mu.Unlock()
	g.check() // by what has changed since it was let in
}

// exit is the end of the stream.
func (g *guest) exit() {
	g.leave()
	s := g.server
	if !s.asks {
		return
	}
	s.guests.mu.Lock()
	s.guests.all.Remove(&g.place)
	s.guests.len--
	s.guests.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = true
	if g.expiry != nil {
		g.expiry.Stop()
	}
}

// watchRights checks all streams whenever other rights are in force, until the
// gateway goes down.
func (s *Server) watchRights() {
	for {
		_, changed := s.access.Generation()
		s.checkGuests()
		select {
		case <-changed:
		case <-s.closing:
			return
		}
	}
}

func (s *Server) checkGuests() {
	s.guests.mu.Lock()
	all := make([]*guest, 0, s.guests.len)
	for g := range s.guests.all.All() {
		all = append(all, g)
	}
	s.guests.mu.Unlock()
	for _, g := range all {
		g.check()
	}
}

// now is who has the stream, with the rights that are in force.
func (g *guest) now() *caller {
	if g.server.asks {
		if generation, _ := g.server.access.Generation(); generation != g.generation.Load() {
			g.check()
		}
	}
	return g.caller.Load()
}

// settle is called when filters have come into force that were granted to c. If
// the rights have changed while they were on their way, they are looked at again.
func (g *guest) settle(c *caller) {
	if !g.server.asks || g.now() == c {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.gone {
		g.drop(g.caller.Load().principal)
	}
}

// check finds out what has become of the stream's principal.
func (g *guest) check() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return
	}
	generation, _ := g.server.access.Generation()
	p, err := g.server.access.Revalidate(g.caller.Load().principal)
	g.generation.Store(generation)
	switch {
	case errors.Is(err, access.ErrExpired):
		g.end(outbox.CloseExpired)
	case err != nil:
		g.end(outbox.CloseRights)
	default:
		g.become(p)
	}
}

// renew makes the stream another principal's, or the same one's for longer.
func (g *guest) renew(p *access.Principal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.gone {
		g.become(p)
	}
}

func (g *guest) end(why outbox.CloseReason) {
	g.gone = true
	none := *g.caller.Load()
	none.principal = &access.Principal{Name: none.principal.Name, Via: none.principal.Via, Rights: new(access.Rights)}
	g.caller.Store(&none) // what is still on its way in is refused
	g.client.SetRights(noRights, g.client.Held())
	g.client.Close(why)
}

// noRights are those of who is let in no longer.
var noRights = &hub.Rights{May: func(string) bool { return false }}

// become puts the principal's rights in force. Called under mu.
func (g *guest) become(p *access.Principal) {
	old := g.caller.Load().principal
	if p != old {
		changed := *g.caller.Load()
		changed.principal = p
		g.caller.Store(&changed)
	}
	g.schedule(p)
	if p.Rights.Class() == old.Rights.Class() {
		return
	}
	select {
	case g.changed <- struct{}{}:
	default:
	}
	g.drop(p)
}

// drop gives the client the principal's rights, and ends the filters that they
// do not grant, and the changes of devices. Called under mu.
func (g *guest) drop(p *access.Principal) {
	held := g.client.Held()
	lostDevices := g.endDevices != nil && !mayWatchDevices(p)
	var lost []string
	for _, f := range held {
		if !p.Rights.MaySubscribe(f) {
			lost = append(lost, f)
		}
	}
	ok := g.client.SetRights(g.server.readable(p), lost)
	for _, f := range lost {
		g.tell(filterForbidden(f, "/topics"))
	}
	if lostDevices {
		g.endDevices()
		g.endDevices = nil
		g.tell(devicesForbidden())
	}
	switch {
	case p.Rights.Empty(), g.response && (lostDevices || len(held) > 0 && len(lost) == len(held)):
		g.end(outbox.CloseRights)
	case !ok: // it comes back, and has what it may have
		g.end(outbox.CloseExpired)
	}
}

// tell says what the client has lost.
func (g *guest) tell(bad *wire.Problem) {
	bad.RequestID = g.caller.Load().requestID
	g.client.Send(wire.TypeError, &wire.ErrorFrame{Type: wire.TypeError, Problem: bad})
}

// watchesDevices says how the changes of devices end that the client is sent
// now; nil: it is sent none.
func (g *guest) watchesDevices(end context.CancelFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.endDevices = end; g.changed == nil {
		g.changed = make(chan struct{}, 1)
	}
}

// schedule checks the stream again when its time is over, and until then now and
// then: the timer does not follow steps of the wall clock. Called under mu.
func (g *guest) schedule(p *access.Principal) {
	if g.expiry != nil {
		g.expiry.Stop()
	}
	if !p.Expires.IsZero() {
		g.expiry = time.AfterFunc(min(max(0, time.Until(p.Expires)), g.server.opts.Timing.Expiry), g.check)
	}
}
