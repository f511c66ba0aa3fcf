package hub

import (
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

	bytes int
}

// pageBytes is what a page may hold, and a little more: whoever reads it slowly
// keeps it in memory meanwhile.
const pageBytes = 4 << 20

// History reads what is remembered of the topics that match filter: at most
// limit objects behind since, or from the beginning when that is nil.
func (h *Hub) History(filter string, since *Position, limit int) Page {
	var p Page
	from := h.begin(&p, filter, since)
	for last := uint64(0); !h.page(&p, filter, limit, &from, &last); {
	}
	return p
}

// begin finds where to read from, and what is missing there.
func (h *Hub) begin(p *Page, filter string, since *Position) (from uint64) {
	if since == nil {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.locate(since)
	from = since.Seq
	if m := h.missing(since, []string{filter}); m.reason != "" {
		p.Gap = &wire.Gap{Type: "gap", After: h.after(since), Before: h.cursor(m.end), Reason: m.reason, Certain: m.certain}
		if m.reason == wire.GapGatewayRestarted || from > h.seq {
			from = 0
		}
	}
	return from
}

// page reads on behind from, not so long that the messages that come in
// meanwhile would have to wait. True: that was all.
func (h *Hub) page(p *Page, filter string, limit int, from, last *uint64) (done bool) {
	h.replays <- struct{}{}
	defer func() { <-h.replays }()
	h.mu.Lock()
	defer h.mu.Unlock()
	done = true
	seen := 0
	h.archive.log.after(*from, func(m *Message) bool {
		if seen++; seen > replayScan {
			done = false
			return false
		}
		*from = m.Seq
		if !m.mark && !topic.Match(filter, m.Topic) {
			return true
		}
		if len(p.Objects) == limit || p.bytes > pageBytes {
			p.Next = h.cursor(*last)
			return false
		}
		p.Objects = append(p.Objects, m.JSON)
		p.bytes += len(m.JSON)
		*last = m.Seq
		return true
	})
	return done
}

// Payload is the payload as it stands in the JSON object, and its encoding.
func (m *Message) Payload() (value []byte, encoding string) {
	return m.JSON[m.layout.Payload:m.layout.PayloadEnd], m.layout.Encoding
}
