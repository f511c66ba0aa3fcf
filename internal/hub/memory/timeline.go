package memory

import (
	"sort"
	"time"
)

// timeline remembers where the sequence stood in the time that the history
// reaches back, and for some minutes.
type timeline struct {
	times []time.Time
	seqs  []uint64
	every time.Duration // between readings, at least
}

// readings is how many are kept.
const readings = 4096

func newTimeline(reach time.Duration) timeline { return timeline{every: reach / (readings / 2)} }

func (l *timeline) tick(now time.Time, seq uint64) {
	if n := len(l.times); n > 0 && now.Sub(l.times[n-1]) < l.every {
		return
	}
	if len(l.times) == readings {
		l.times, l.seqs = l.times[1:], l.seqs[1:]
	}
	l.times, l.seqs = append(l.times, now), append(l.seqs, seq)
}

// at gives the place of the last reading that was not later than t.
func (l *timeline) at(t time.Time) uint64 {
	if i := sort.Search(len(l.times), func(i int) bool { return l.times[i].After(t) }); i > 0 {
		return l.seqs[i-1]
	}
	return 0
}
