package outbox

import "github.com/vulturepi/gateway/internal/hub/message"

// press frames runs of messages for many clients, one client after the other.
// It remembers what it has framed, so that all who are owed the same messages
// are given the same bytes, also when the run of one has grown a little longer
// than that of the one before.
type press struct {
	framing string
	run     []*message.Message
	ends    []int // where each message of run ends in bytes
	bytes   []byte
}

// pressBytes is how much the press remembers.
const pressBytes = 4 * batchBytes

// print frames a run. The bytes are the press's own and stay until the next
// call.
func (p *press) print(o *Outbox, run []*message.Message) []byte {
	from, known := p.find(o.framing, run)
	if known == 0 {
		p.reset()
		p.framing = o.framing
	}
	for _, m := range run[known:] {
		p.bytes = o.codec.AppendMessage(p.bytes, m, m.JSON)
		p.run = append(p.run, m)
		p.ends = append(p.ends, len(p.bytes))
	}
	start := 0
	if from > 0 {
		start = p.ends[from-1]
	}
	return p.bytes[start:p.ends[from+len(run)-1]]
}

// find looks for the beginning of a run in what has been framed: where it
// starts, and how many of its messages are there. It is of use only if what is
// missing can be added behind.
func (p *press) find(framing string, run []*message.Message) (from, known int) {
	if len(p.run) == 0 || framing != p.framing || len(p.bytes) > pressBytes {
		return 0, 0
	}
	for from < len(p.run) && p.run[from] != run[0] {
		from++
	}
	for known < len(run) && from+known < len(p.run) && p.run[from+known] == run[known] {
		known++
	}
	if known < len(run) && from+known < len(p.run) {
		return 0, 0 // they part in the middle
	}
	if known == 0 {
		return 0, 0
	}
	return from, known
}

// reset forgets everything, so that nothing is kept alive.
func (p *press) reset() {
	clear(p.run)
	p.run, p.ends, p.bytes = p.run[:0], p.ends[:0], p.bytes[:0]
	if cap(p.bytes) > 2*pressBytes {
		p.bytes = nil
	}
}
