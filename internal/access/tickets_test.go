package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTicketLetsInOnce(t *testing.T) {
	c := newClock()
	a := open(t, Options{Keys: true, File: tempFile(t, loginFile), Now: c.now})
	p, err := a.Login(Credentials{Token: keyA})
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := a.IssueTicket(p, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !isSecret(ticket, ticketPrefix) {
		t.Fatalf("got %q, want gwt_ and 43 characters", ticket)
	}
	got, err := a.Login(Credentials{Ticket: ticket, Authorization: "Bearer wrong"})
	if err != nil || got.Name != "dashboard" || got.Via != ViaKey || got.Rights.Class() != p.Rights.Class() {
		t.Errorf("got %+v, %v; want the principal", got, err)
	}
	again, err := a.Login(Credentials{Ticket: ticket, Token: keyA})
	wantRefused(t, again, err)
	for _, wrong := range []string{keyA, "x", ticketPrefix + strings.Repeat("A", 43), ticket[:46], strings.Repeat("x", 1<<20)} {
		p, err := a.Login(Credentials{Ticket: wrong})
		wantRefused(t, p, err)
	}
}

func TestTicketEnds(t *testing.T) {
	c := newClock()
	tickets := NewTickets(c.now)
	p := &Principal{Name: "a", Rights: Everything()}
	first, _ := tickets.Issue(p, "", nil)
	c.advance(TicketLife - 1)
	second, _ := tickets.Issue(p, "", nil)
	if _, err := tickets.Redeem(first, ""); err != nil {
		t.Errorf("just before its end: got %v", err)
	}
	c.advance(TicketLife)
	got, err := tickets.Redeem(second, "")
	wantRefused(t, got, err)
	if len(tickets.live) != 0 || tickets.order.Len() != 0 || len(tickets.held) != 0 || tickets.all != 0 {
		t.Errorf("got %+v, want an empty table", tickets)
	}
}

func TestTicketIsForItsOrigin(t *testing.T) {
	c := newClock()
	tickets := NewTickets(c.now)
	p := &Principal{Name: "a", Rights: Everything()}
	for _, row := range []struct {
		issued, shown string
		good          bool
	}{
		{"", "", true},
		{"https://a", "https://a", true},
		{"https://a", "", true}, // an EventSource of the same origin sends none
		{"", "https://a", true}, // a server took it for a page
		{"https://a", "https://b", false},
		{"https://a", "http://a", false},
		{"https://a", "https://a:8443", false},
		{"https://a", "HTTPS://A", false},
		{"https://a", "null", false},
	} {
		ticket, err := tickets.Issue(p, row.issued, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tickets.Redeem(ticket, row.shown); (err == nil) != row.good {
			t.Errorf("%+v: got %+v, %v", row, got, err)
		}
		got, err := tickets.Redeem(ticket, row.issued) // used up, also by who had no right to it
		wantRefused(t, got, err)
	}
}

func TestNarrowTicketGrantsNoMore(t *testing.T) {
	path := tempFile(t, loginFile)
	a := open(t, Options{Keys: true, File: path})
	p, err := a.Login(Credentials{Token: keyA})
	if err != nil {
		t.Fatal(err)
	}
	redeem := func(p *Principal, topics []string) *Principal {
		t.Helper()
		ticket, err := a.IssueTicket(p, "", topics)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Login(Credentials{Ticket: ticket})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := redeem(p, []string{"fleet/3/#", "elsewhere/#"})
	for filter, want := range map[string]bool{"fleet/3/#": true, "fleet/3/x": true, "fleet/#": false, "elsewhere/x": false, "news/x": false} {
		if is := got.Rights.MaySubscribe(filter); is != want {
			t.Errorf("MaySubscribe(%q): got %t, want %t", filter, is, want)
		}
	}
	if empty := redeem(p, []string{}); !empty.Rights.Empty() {
		t.Errorf("narrowed to nothing: got %+v", empty.Rights)
	}
	if further := redeem(got, []string{"fleet/#", "fleet/3/x"}); !slices.Equal(further.Rights.Grants().Subscribe, []string{"fleet/3/x"}) {
		t.Errorf("a ticket of a ticket: got %q, want what both are for", further.Rights.Grants().Subscribe)
	}
	write(t, path, strings.Replace(loginFile, `["fleet/#"]`, `["fleet/#", "more/#"], deny: ["fleet/3/x"]`, 1))
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := a.Revalidate(got)
	if err != nil || after.Rights.MaySubscribe("more/x") || after.Rights.MaySubscribe("fleet/3/x") || !after.Rights.MaySubscribe("fleet/3/y") {
		t.Errorf("after a change: got %+v, %v; want the new rights, as narrow as before", after, err)
	}
	if _, err := a.IssueTicket(p, "", make([]string, MaxFilters+1)); !errors.Is(err, ErrTooManyTopics) {
		t.Errorf("too many topics: got %v", err)
	}
}

func TestTicketEndsWithItsPrincipal(t *testing.T) {
	c := newClock()
	path := tempFile(t, loginFile)
	a := open(t, Options{Keys: true, File: path, Now: c.now})
	issue := func(key string) string {
		p, err := a.Login(Credentials{Token: key})
		if err != nil {
			t.Fatal(err)
		}
		ticket, err := a.IssueTicket(p, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	c.advance(time.Hour - time.Second)
	revoked, ending := issue(keyA), issue(keyB)
	c.advance(time.Second)
	p, err := a.Login(Credentials{Ticket: ending})
	wantRefused(t, p, err)
	write(t, path, "")
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err = a.Login(Credentials{Ticket: revoked})
	wantRefused(t, p, err)
}

// TestFloodOfTicketsHurtsItsMakerAlone fills up one principal's share, and then everybody's.
func TestFloodOfTicketsHurtsItsMakerAlone(t *testing.T) {
	c := newClock()
	tickets := NewTickets(c.now)
	innocent := &Principal{Name: "innocent", Rights: Everything()}
	first, err := tickets.Issue(innocent, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	issued := 0
	for n := range 1000 {
		flood := &Principal{Name: fmt.Sprint("flood", n), Rights: Everything()}
		mine := 0
		for {
			topics := []string{strings.Repeat("x", 1000)}
			if _, err := tickets.Issue(flood, "", topics); err != nil {
				if !errors.Is(err, ErrTooManyTickets) {
					t.Fatal(err)
				}
				break
			}
			mine++
		}
		if mine > ticketsEach/1000 {
			t.Fatalf("one principal got %d tickets", mine)
		}
		issued += mine
		if n == 100 {
			if _, err := tickets.Issue(innocent, "", nil); err != nil {
				t.Errorf("a flood of a hundred others: got %v", err)
			}
		}
	}
	if tickets.all > ticketsAll || issued*1000 > ticketsAll {
		t.Errorf("got %d tickets of %d bytes, want at most %d bytes", issued, tickets.all, ticketsAll)
	}
	if _, err := tickets.Redeem(first, ""); err != nil {
		t.Errorf("the innocent's ticket: got %v", err)
	}
	c.advance(TicketLife)
	if _, err := tickets.Issue(innocent, "", nil); err != nil {
		t.Errorf("after the flood: got %v", err)
	}
	if len(tickets.live) != 1 || len(tickets.held) != 1 {
		t.Errorf("after the flood: got %d tickets of %d principals, want 1", len(tickets.live), len(tickets.held))
	}
}

func TestTicketShownAtOnceLetsInOne(t *testing.T) {
	tickets := NewTickets(time.Now)
	for range 50 {
		ticket, err := tickets.Issue(&Principal{Name: "a", Rights: Everything()}, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		var in atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := tickets.Redeem(ticket, ""); err == nil {
					in.Add(1)
				}
			})
		}
		wg.Wait()
		if got := in.Load(); got != 1 {
			t.Fatalf("got %d let in, want 1", got)
		}
	}
}

// TestTicketsAgreeWithAList compares with tickets in a list, over any order of events.
func TestTicketsAgreeWithAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkTickets(t, rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "script")) })
}

// checkTickets runs a script in which each byte is an event.
func checkTickets(t rapid.TB, script []byte) {
	type known struct {
		secret, name, origin string
		ends                 time.Time
		used                 bool
	}
	c := newClock()
	tickets := NewTickets(c.now)
	names, origins := []string{"a", "b"}, []string{"", "https://a", "https://b"}
	var list []known
	for _, b := range script {
		name, origin := names[b>>2&1], origins[b>>3%3]
		switch b & 3 {
		case 0:
			secret, err := tickets.Issue(&Principal{Name: name, Rights: Everything()}, origin, nil)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, known{secret, name, origin, c.now().Add(TicketLife), false})
		case 1:
			c.advance(time.Duration(b>>2) * time.Second / 2)
		default:
			if len(list) == 0 {
				continue
			}
			k := &list[int(b>>5)%len(list)]
			want := !k.used && c.now().Before(k.ends) && (origin == "" || k.origin == "" || origin == k.origin)
			k.used = true
			if p, err := tickets.Redeem(k.secret, origin); (err == nil) != want || want && p.Name != k.name {
				t.Fatalf("%+v from %q at %s: got %+v, %v; want it to let in: %t", *k, origin, c.now(), p, err, want)
			}
		}
	}
	c.advance(time.Hour)
	tickets.Redeem(newSecret(ticketPrefix), "")
	if len(tickets.live) != 0 || tickets.order.Len() != 0 || len(tickets.held) != 0 || tickets.all != 0 {
		t.Fatalf("an hour later: got %+v, want an empty table", tickets)
	}
}
