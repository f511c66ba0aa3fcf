package hub

import "time"

// clock remembers where the sequence stood in the last minutes.
type clock struct {
	times []time.Time
	seqs  []uint64
}

// clockTicks is how many readings are kept.
const clockTicks = 300

func (c *clock) tick(now time.Time, seq uint64) {
	if len(c.times) == clockTicks {
		c.times, c.seqs = c.times[1:], c.seqs[1:]
	}
	c.times, c.seqs = append(c.times, now), append(c.seqs, seq)
}

// at gives a place in the sequence that was not later than t.
func (c *clock) at(t time.Time) uint64 {
	for i := len(c.times) - 1; i >= 0; i-- {
		if !c.times[i].After(t) {
			return c.seqs[i]
		}
	}
	return 0
}
