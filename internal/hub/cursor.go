package hub

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// Position is where a client wants to go on: behind a place in the sequence of
// one life of a gateway, or from a time on. It does not change.
type Position struct {
	Epoch string
	Seq   uint64

	at   time.Time // from there on
	kind positionKind
}

type positionKind uint8

const (
	aCursor positionKind = iota
	aTime
	ofNoUse
)

// LostPosition is what a malformed cursor leads to: the stream begins with a
// gap.
func LostPosition() *Position { return &Position{kind: ofNoUse} }

// Since is the place in front of the first message received at t or later.
//
// Who names a time asks for what there is from then on, so the rules differ
// from those of a cursor: where a part of it has left the history, the rest
// comes behind a gap. What was before this life of the gateway is no gap.
func Since(t time.Time) *Position { return &Position{at: t, kind: aTime} }

// String is the cursor.
func (p *Position) String() string { return string(wire.AppendCursor(nil, p.Epoch, p.Seq)) }

// ErrCursor: not a cursor that any gateway has given out.
var ErrCursor = errors.New("malformed cursor")

var cursorShape = regexp.MustCompile(`^[0-9a-z]{1,32}-(0|[1-9][0-9]{0,19})$`)

// ParseCursor reads `<epoch>-<sequence>`.
func ParseCursor(s string) (*Position, error) {
	if len(s) > 64 || !cursorShape.MatchString(s) {
		return nil, ErrCursor
	}
	epoch, number, _ := strings.Cut(s, "-")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return nil, ErrCursor
	}
	return &Position{Epoch: epoch, Seq: seq}, nil
}

// place is a Position that was looked up: where to go on in this life's
// sequence, or why that cannot be.
type place struct {
	seq    uint64
	lost   string // the reason of the gap; empty: there is none
	after  string // the cursor from which that gap starts
	window bool   // came from a time
}

// locate looks a position up. Called under hub.mu.
func (h *Hub) locate(p *Position) place {
	at := place{seq: p.Seq, after: p.String()}
	switch {
	case p.kind == ofNoUse:
		return place{lost: wire.GapHistoryExpired, after: h.cursor(0)}
	case p.kind == aTime:
		at.seq, at.window = max(h.memory.At(p.at), h.memory.Before(p.at)), true
		at.after = h.cursor(at.seq)
	case p.Epoch != h.opts.Epoch:
		at.lost = wire.GapGatewayRestarted
	case p.Seq > h.seq:
		at.lost = wire.GapHistoryExpired
	}
	return at
}

// Cursor is the place of the newest message.
func (h *Hub) Cursor() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cursor(h.seq)
}

func (h *Hub) cursor(seq uint64) string {
	return string(wire.AppendCursor(nil, h.opts.Epoch, seq))
}
