package hub

import "github.com/vulturepi/gateway/internal/hub/message"

// recorder keeps the live messages that match some filters while something is
// collected that has to be put in order with them. It is read by those who
// collect, each at its own pace: what was recorded does not change. Guarded by
// hub.mu.
type recorder struct {
	hub       *Hub
	interests []*interest
	messages  []*message.Message
	bytes     int64
	lost      bool // there were too many
}

// Bounds of one recorder.
const (
	maxRecorded      = 100_000
	maxRecordedBytes = 16 << 20
)

// record begins to record. Called under hub.mu.
func (h *Hub) record(filters ...string) *recorder {
	r := &recorder{hub: h}
	for _, f := range filters {
		in := h.interested(f)
		in.recorders = append(in.recorders, r)
		r.interests = append(r.interests, in)
	}
	return r
}

func (r *recorder) record(m *message.Message) {
	if n := len(r.messages); r.lost || n > 0 && r.messages[n-1] == m {
		return
	}
	size := m.Size()
	if len(r.messages) == maxRecorded || r.bytes+size > maxRecordedBytes {
		r.lost = true
		r.release()
		return
	}
	r.messages = append(r.messages, m)
	r.bytes += size
	r.hub.queued.Count(size)
}

func (r *recorder) release() {
	r.hub.queued.Count(-r.bytes)
	r.messages, r.bytes = nil, 0
}

// stop ends the recording. Called under hub.mu.
func (r *recorder) stop() {
	for _, in := range r.interests {
		for i, x := range in.recorders { // a few: one a fetch, one a snapshot under way
			if x == r {
				in.recorders = append(in.recorders[:i], in.recorders[i+1:]...)
				break
			}
		}
		if len(in.recorders) == 0 {
			in.recorders = nil
		}
		r.hub.dropped(in)
	}
	r.release()
}
