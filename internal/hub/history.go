package hub

import (
	"github.com/vulturepi/gateway/internal/hub/memory"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// Page is a part of the history.
type Page struct {
	// Gap says that messages behind the asked-for place are missing, nil if
	// none are.
	Gap *wire.Gap
	// Objects are messages, and the gaps that everybody was told in between,
	// as JSON, oldest first.
	Objects [][]byte
	// Next is the cursor to go on from, empty at the end.
	Next string

	rights *Rights
	bytes  int
}

// pageBytes is what a page may hold, and a little more: a slow reader
// keeps it in memory meanwhile.
const pageBytes = 4 << 20

// History reads what is remembered of the topics that match filter: at most
// limit objects behind since, or from the beginning when that is nil. Whoever
// reads it has these rights.
func (h *Hub) History(filter string, since *Position, limit int, rights *Rights) Page {
	p := Page{rights: rights}
	from := h.beginPage(&p, filter, since)
	for last := uint64(0); !h.addToPage(&p, filter, limit, &from, &last); {
	}
	return p
}

// beginPage finds where to read from, and what is missing there.
func (h *Hub) beginPage(p *Page, filter string, since *Position) (from uint64) {
	if since == nil {
		return 0
	}
	h.mu.Lock()
	at := h.locate(since)
	h.mu.Unlock()
	search := memory.NewSearch(filter)
	m := h.hole(at, &search)
	if m.reason == "" {
		return at.seq
	}
	p.Gap = &wire.Gap{Type: "gap", After: at.after, Before: h.cursor(m.end), Reason: m.reason, Certain: m.certain}
	if at.lost != "" {
		return 0
	}
	return at.seq
}

// reading takes a step of reading what is remembered, under hub.mu. Those who
// read take turns, so that Accept never waits for many of them.
func (h *Hub) reading(step func()) {
	h.readers <- struct{}{}
	defer func() { <-h.readers }()
	h.mu.Lock()
	defer h.mu.Unlock()
	step()
}

// addToPage reads on behind from, not so long that the messages that come in
// meanwhile would have to wait. True: that was all.
func (h *Hub) addToPage(p *Page, filter string, limit int, from, last *uint64) (done bool) {
	full := false
	h.reading(func() {
		*from, done = h.memory.After(*from, replayLooks, func(m *message.Message) bool {
			if !m.IsGap && (!topic.Match(filter, m.Topic) || !p.rights.may(m.Topic)) {
				return true
			}
			if full = len(p.Objects) == limit || p.bytes > pageBytes; full {
				p.Next = h.cursor(*last)
				return false
			}
			p.Objects = append(p.Objects, m.JSON)
			p.bytes += len(m.JSON)
			*last = m.Seq
			return true
		})
	})
	return done || full
}
