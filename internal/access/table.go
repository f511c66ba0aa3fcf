package access

import (
	"net/netip"
	"time"
)

// Client is whom limits are for: a principal by its name, or who has none by its network. It is comparable.
type Client struct {
	name    string
	token   bool // the name is a token's: the access file's principal of that name is somebody else
	network netip.Prefix
}

// ClientOf returns the client that the principal is when it comes from the address: nil is nobody. One address is
// a client in IPv4, and a /64 in IPv6, because that is the least that anybody gets, and all of it is his.
func ClientOf(p *Principal, addr netip.Addr) Client {
	if p != nil && p.Name != "" {
		return Client{name: p.Name, token: p.Via == ViaJWT}
	}
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	network, _ := addr.Prefix(bits) // fails of no address, which is then all of them together
	return Client{network: network}
}

// wide is the network that a client's is a part of, and that one party is likely to have all of: a provider's /32 in
// IPv6, a /16 in IPv4. Names have none, and so are in one together.
func (c Client) wide() Client {
	bits := 16
	if c.network.Addr().Is6() {
		bits = 32
	}
	network, _ := c.network.Addr().Prefix(bits)
	return Client{network: network}
}

// The bounds of a table, in entries of some 200 bytes.
const (
	tableSize  = 1 << 16
	tableShare = tableSize / 16 // of one wide network
	tableWide  = 1 << 10
)

// tally is what is remembered of one client. Once it is idle, to forget it changes nothing.
type tally interface{ idle(now time.Time) bool }

// table remembers something of each client, and is bounded without a client having to make room for another: nobody is
// forgotten before that changes nothing. When there are too many at once, in one wide network or together, those who
// come then share one tally with the rest of their wide network. So a flood of addresses fills up what is its own.
//
// A table belongs to one lock. No call takes longer for more clients.
type table[T tally] struct {
	fresh func() T

	tallies map[Client]T
	hand    []Client       // the clients in tallies, in no order; looked through bit by bit for idle ones
	next    int            // where to look next
	share   map[Client]int // how many of tallies are of each wide network
	shared  map[Client]T   // of wide networks
	rest    T              // of all the others
}

func newTable[T tally](fresh func() T) *table[T] {
	return &table[T]{
		fresh: fresh, tallies: map[Client]T{}, share: map[Client]int{}, shared: map[Client]T{}, rest: fresh(),
	}
}

// of returns the client's tally, to be changed in place.
func (t *table[T]) of(c Client, now time.Time) T {
	if known, ok := t.tallies[c]; ok {
		return known
	}
	t.forget(now)
	wide := c.wide()
	limit := tableShare
	if c.name != "" {
		limit = tableSize
	}
	if t.share[wide] < limit && len(t.tallies) < tableSize {
		t.share[wide]++
		t.hand = append(t.hand, c)
		t.tallies[c] = t.fresh()
		return t.tallies[c]
	}
	if known, ok := t.shared[wide]; ok {
		return known
	}
	if len(t.shared) == tableWide {
		return t.rest
	}
	t.shared[wide] = t.fresh()
	return t.shared[wide]
}

// forget looks at a few clients for each that comes, so that idle ones go sooner than others come.
func (t *table[T]) forget(now time.Time) {
	for i := 0; i < 4 && len(t.hand) > 0; i++ {
		t.next %= len(t.hand)
		if c := t.hand[t.next]; t.tallies[c].idle(now) {
			t.drop(c)
		} else {
			t.next++
		}
	}
	for wide, one := range t.shared { // begins anywhere
		if one.idle(now) {
			delete(t.shared, wide)
		}
		break
	}
}

// drop forgets the client that the hand is at.
func (t *table[T]) drop(c Client) {
	last := len(t.hand) - 1
	t.hand[t.next] = t.hand[last]
	t.hand = t.hand[:last]
	delete(t.tallies, c)
	wide := c.wide()
	if t.share[wide]--; t.share[wide] == 0 {
		delete(t.share, wide)
	}
}

// tables keep names and networks apart: a flood of addresses is nothing to those who have a name.
type tables[T tally] struct{ names, networks *table[T] }

func newTables[T tally](fresh func() T) tables[T] {
	return tables[T]{newTable(fresh), newTable(fresh)}
}

func (t tables[T]) of(c Client, now time.Time) T {
	if c.name != "" {
		return t.names.of(c, now)
	}
	return t.networks.of(c, now)
}
