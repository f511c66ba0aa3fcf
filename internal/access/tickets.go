package access

import (
	linked "container/list"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// TicketLife is how long a ticket can be used.
const TicketLife = 30 * time.Second

const (
	ticketPrefix = "gwt_"
	ticketCost   = 256      // bytes that a ticket is reckoned to hold, beside the topics that it is narrowed to
	ticketsEach  = 64 << 10 // bytes that the tickets of one principal may hold: 256 plain tickets
	ticketsAll   = 16 << 20 // bytes that all tickets may hold
)

// ErrTooManyTickets means that the principal, or all together, have as many unused tickets as may be. Older ones end
// within [TicketLife].
var ErrTooManyTickets = errors.New("too many unused tickets")

// ErrTooManyTopics means that a ticket is to be narrowed to more than [MaxFilters] topics.
var ErrTooManyTopics = errors.New("too many topics for a ticket")

// Tickets are secrets that let somebody in once, for those who cannot send a header: a WebSocket or an EventSource of a
// browser. Nobody's tickets push out another's: what does not fit is refused to whoever asks for it.
//
// The methods may be called from anywhere. Each ticket is handled twice, however many there are.
type Tickets struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows
	live  map[Digest]*linked.Element
	order linked.List    // of *ticket, the oldest first
	held  map[Client]int // bytes, by principal
	all   int            // bytes
}

type ticket struct {
	digest    Digest
	principal *Principal
	origin    string
	ends      time.Time
	cost      int // bytes
}

// NewTickets returns an empty table. The clock is the one that tickets end by.
func NewTickets(now func() time.Time) *Tickets {
	return &Tickets{now: now, live: map[Digest]*linked.Element{}, held: map[Client]int{}}
}

// Issue makes a ticket of "gwt_" and 43 characters of base64url. The origin is that of the page that asks for it, "" for
// none. With topics, which are filters, the ticket grants of the principal's rights what lies inside one of them; nil
// grants all. A ticket of a ticket cannot grant more than that one. The errors are [ErrTooManyTickets] and
// [ErrTooManyTopics].
func (t *Tickets) Issue(p *Principal, origin string, topics []string) (string, error) {
	if len(topics) > MaxFilters {
		return "", ErrTooManyTopics
	}
	if topics != nil {
		narrow := *p
		narrow.Rights = p.Rights.Narrow(topics)
		narrow.proof.narrowed, narrow.proof.topics = true, narrow.Rights.within
		p = &narrow
	}
	cost := ticketCost + len(origin)
	for _, filter := range p.proof.topics {
		cost += len(filter)
	}
	secret := newSecret(ticketPrefix)

	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire()
	client := ClientOf(p, netip.Addr{})
	if t.held[client]+cost > ticketsEach || t.all+cost > ticketsAll {
		return "", ErrTooManyTickets
	}
	issued := &ticket{DigestOf(secret), p, origin, t.now().Add(TicketLife), cost}
	t.live[issued.digest] = t.order.PushBack(issued)
	t.held[client] += cost
	t.all += cost
	return secret, nil
}

// Redeem returns the principal that the ticket was issued for. It does so once: a ticket that was shown is used up, also
// when it came from the wrong place. The origin, "" for none, must be the one that it was issued to, if both are known:
// browsers send none for an EventSource of the page's own origin. The error is an [ErrUnauthenticated].
func (t *Tickets) Redeem(secret, origin string) (*Principal, error) {
	if !isSecret(secret, ticketPrefix) {
		return nil, refuse(ViaTicket, "not a ticket")
	}
	digest := DigestOf(secret)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire()
	place := t.live[digest]
	if place == nil {
		return nil, refuse(ViaTicket, "no such ticket, or used up")
	}
	found := t.drop(place)
	if origin != "" && found.origin != "" && origin != found.origin {
		return nil, refuse(ViaTicket, "from another origin than it was issued to")
	}
	return found.principal, nil
}

// expire drops what has ended. All tickets live equally long, so the oldest end first.
func (t *Tickets) expire() {
	now := t.now()
	for oldest := t.order.Front(); oldest != nil && !now.Before(oldest.Value.(*ticket).ends); oldest = t.order.Front() {
		t.drop(oldest)
	}
}

func (t *Tickets) drop(place *linked.Element) *ticket {
	gone := t.order.Remove(place).(*ticket)
	delete(t.live, gone.digest)
	t.all -= gone.cost
	client := ClientOf(gone.principal, netip.Addr{})
	if t.held[client] -= gone.cost; t.held[client] == 0 {
		delete(t.held, client)
	}
	return gone
}
