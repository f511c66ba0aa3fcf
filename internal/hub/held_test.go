package hub

import (
	"context"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// Whatever clients do, in whatever order: what is counted of each is what is
// held for it, and nothing is left of those who have gone.
func TestEveryByteHeldIsCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBroker()
		b.dynamic = rapid.Bool().Draw(t, "dynamic")
		b.retained = func(filter string) ([]Inbound, error) {
			if filter == "b/#" {
				return nil, ErrNotConfirmed
			}
			return []Inbound{live("a/x", "kept"), live("a/y", "kept")}, nil
		}
		h := New(Options{
			Upstream: b, Epoch: "e", HistoryBytes: rapid.SampledFrom([]int64{0, 10_000, 1 << 20}).Draw(t, "history"),
			QueueBytes: rapid.SampledFrom([]int{3000, 30_000}).Draw(t, "queue"), TotalQueue: rapid.SampledFrom([]int64{50_000, 1 << 30}).Draw(t, "total"),
			Linger: time.Millisecond,
		})
		defer h.Close()
		h.BrokerUp(false)
		var clients []*Client
		var taps []*wireTap
		filters := rapid.SampledFrom([]string{"#", "a/#", "a/+", "b/#", "+/x", "c"})
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if len(clients) == 0 || rapid.IntRange(0, 7).Draw(t, "new") == 0 && len(clients) < 5 {
				tap := newTap()
				taps = append(taps, tap)
				clients = append(clients, h.Attach(tap, tap, nil, nil))
			}
			i := rapid.IntRange(0, len(clients)-1).Draw(t, "client")
			c, tap := clients[i], taps[i]
			switch rapid.IntRange(0, 10).Draw(t, "what") {
			case 0, 1, 2:
				r := ok(filters.Draw(t, "filter"))
				r.Overflow = rapid.SampledFrom([]outbox.Overflow{outbox.OverflowCatchup, outbox.OverflowClose, outbox.OverflowDrop, outbox.OverflowLatest}).Draw(t, "policy")
				r.MinInterval = rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, time.Hour}).Draw(t, "interval")
				r.Snapshot = rapid.Bool().Draw(t, "snapshot")
				if rapid.IntRange(0, 3).Draw(t, "resume") == 0 {
					r.Since = &Position{Epoch: "e", Seq: rapid.Uint64Range(0, h.seqNow()).Draw(t, "since")}
				}
				tap.block(false) // or it would wait
				c.Subscribe(context.Background(), r)
			case 3:
				c.Unsubscribe(nil, results(filters.Draw(t, "filter")))
			case 4:
				tap.block(true)
			case 5:
				tap.block(false)
			case 6:
				c.out.Shed()
				c.out.Kick()
			case 7:
				h.BrokerDown()
				h.BrokerUp(rapid.Bool().Draw(t, "lost"))
			case 8:
				c.Send("pong", &wire.Pong{Type: "pong"})
			case 9:
				c.Detach()
				clients = append(clients[:i], clients[i+1:]...)
				taps = append(taps[:i], taps[i+1:]...)
			default:
				for range rapid.IntRange(0, 50).Draw(t, "messages") {
					h.Ingest(live(rapid.SampledFrom([]string{"a/x", "a/y", "b/x", "c", deep}).Draw(t, "topic"),
						strings.Repeat("x", rapid.SampledFrom([]int{1, 500}).Draw(t, "size"))))
				}
			}
			for _, c := range clients {
				countsWhatItHolds(t, h, c)
			}
		}
		for _, c := range clients {
			c.Detach()
		}
		eventually(t, "nothing is counted with nobody there", func() bool { return h.queued.Bytes() == 0 })
		eventually(t, "nothing is watched and nothing asked", func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return len(h.watches) == 0 && len(h.fetches) == 0 && len(h.byFilter) == 0
		})
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.interests.Len() != 0 || h.filters != 0 || h.clients.count != 0 || len(h.owed) != 0 {
			t.Fatalf("left: %d interests, %d filters, %d clients, %d owed", h.interests.Len(), h.filters, h.clients.count, len(h.owed))
		}
	})
}

func (h *Hub) seqNow() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seq
}

// countsWhatItHolds compares what min_interval says that it holds with its topics, and,
// of a client with nothing else, with what is counted.
func countsWhatItHolds(t *rapid.T, h *Hub, c *Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := 0
	for _, th := range c.throttles {
		bytes, noted, holding, topics := 0, 0, 0, 0
		for p := range th.due.All() {
			topics++
			noted += p.bytes()
			if p.waits != nil {
				holding++
				bytes += outbox.MessageBytes(p.waits)
			}
		}
		if bytes != th.bytes || noted != th.noted || holding != th.holding || topics != len(th.topics) {
			t.Fatalf("counted %d bytes, %d of topics, %d messages, %d topics; held are %d, %d, %d, %d",
				th.bytes, th.noted, th.holding, len(th.topics), bytes, noted, holding, topics)
		}
		if bytes > h.opts.QueueBytes && !c.out.Ended() {
			t.Fatalf("%d bytes are held back, the limit is %d", bytes, h.opts.QueueBytes)
		}
		all += bytes + noted
	}
	if n := c.out.Bytes(); n != 0 && n < int64(all) {
		t.Fatalf("%d bytes are counted for the client, min_interval alone holds %d", n, all)
	}
}
