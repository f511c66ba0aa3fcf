package outbox

import "github.com/vulturepi/gateway/internal/hub/message"

// batch is a short run of messages that one client is owed, as they are for
// everybody. It is framed when it is written, so clients that are owed the same
// share the work and the bytes.
type batch struct {
	run   []*message.Message
	bytes int
	spare []*message.Message // for the next run, while one is being written
}

// keepRun is the longest run whose array a client keeps.
const keepRun = 256

func (f *batch) push(m *message.Message) {
	f.run = append(f.run, m)
	f.bytes += len(m.JSON) + frameOverhead
}

// take empties the run and gives what was in it; giveBack returns its array.
func (f *batch) take() (run []*message.Message) {
	run, f.run, f.bytes = f.run, f.spare, 0
	f.spare = nil
	return run
}

func (f *batch) giveBack(run []*message.Message) {
	clear(run) // or it would keep the messages alive
	if cap(run) > keepRun {
		return
	}
	if f.run == nil {
		f.run = run[:0]
	} else if f.spare == nil {
		f.spare = run[:0]
	}
}
