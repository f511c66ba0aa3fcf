package access

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// Who issues tokens gives names freely. A token must not use up what the
// principal of that name in the access file may do.
func TestTokenOfAnEqualNameIsAnotherClient(t *testing.T) {
	token := &Principal{Name: "pi", Via: ViaJWT, Rights: new(Rights)}
	key := &Principal{Name: "pi", Via: ViaKey, Rights: new(Rights)}
	proxy := &Principal{Name: "pi", Via: ViaHeader, Rights: new(Rights)}
	client := func(p *Principal) Client { return ClientOf(p, netip.Addr{}) }
	if client(token) == client(key) {
		t.Error("a token and a key of one name are one client, want two")
	}
	if client(key) != client(proxy) {
		t.Error("a key and a header of one name are two clients, want one: they have the same rights")
	}
	tickets := NewTickets(time.Now)
	for {
		if _, err := tickets.Issue(token, "", nil); errors.Is(err, ErrTooManyTickets) {
			break
		}
	}
	if _, err := tickets.Issue(key, "", nil); err != nil {
		t.Errorf("a ticket for the key, beside those of the token: got %v, want one", err)
	}
}
