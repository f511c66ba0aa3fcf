package hub

import "time"

// clock remembers where the sequence stood in the time that the history
// reaches back, and for some minutes.
type clock struct {
	times []time.Time
	seqs  []uint64
	every time.Duration // between readings, at least
}

// clockTicks is how many readings are kept.
const clockTicks = 4096

func newClock(reach time.Duration) clock { return clock{every: reach / (clockTicks / 2)} }

func (c *clock) tick(now time.Time, seq uint64) {
	if n := len(c.times); n > 0 && now.Sub(c.times[n-1]) < c.every {
		return
	}
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
