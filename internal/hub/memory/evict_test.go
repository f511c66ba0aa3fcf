package memory

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A search ends although more is evicted between its steps than is kept to be
// read.
func TestSearchEndsHoweverMuchIsEvictedMeanwhile(t *testing.T) {
	m := New(Limits{History: 1 << 20, Age: time.Minute, Values: 1 << 30, Index: 1 << 30})
	seq := uint64(0)
	add := func(n int, name func(i int) string) {
		for i := range n {
			seq++
			m.Add(msg(seq, name(i), 1, start), false)
			for m.Trim(64) {
			}
		}
	}
	add(10_000, func(i int) string { return fmt.Sprint("t/", i) })
	s := NewSearch("t/+")
	calls := 0
	for !m.Search(&s, 1, 512) {
		if calls++; calls > 100 {
			t.Fatal("the search does not end")
		}
		add(evictionsKept+1, func(int) string { return "hot" })
	}
	if s.End <= 1 || s.End < evictedOf(m, "t/+") {
		t.Errorf("got a hole up to %d", s.End)
	}
}

// evictedOf is the last message evicted of the topics that match.
func evictedOf(m *Memory, filter string) (last uint64) {
	m.topics.Walk(filter, func(_ string, t *Topic) bool { last = max(last, t.evicted); return true })
	return last
}

func TestBusiestTopicGivesUpItsOldest(t *testing.T) {
	m := New(Limits{History: 50_000, Age: time.Minute, Values: 1 << 20, Index: 1 << 20})
	m.Add(msg(1, "quiet", 10, start), false)
	for i := range uint64(1000) {
		m.Add(msg(i+2, "hot", 10, start), false)
		for m.Trim(1) {
		}
	}
	all := kept(m)
	if all[0].Topic != "quiet" || all[len(all)-1].Seq != 1001 {
		t.Errorf("got %s first and %d last, want quiet and 1001", all[0].Topic, all[len(all)-1].Seq)
	}
	if tp := m.Topic("hot"); all[1].Seq != tp.evicted+1 {
		t.Errorf("hot begins at %d, and is evicted up to %d", all[1].Seq, tp.evicted)
	}
}

// So many messages of one topic expire in steps.
func TestExpiryOfOneTopicIsInSteps(t *testing.T) {
	m := New(Limits{History: 1 << 30, Age: time.Minute, Values: 1 << 20, Index: 1 << 20})
	const n, steps = 50_000, 1000
	for i := range uint64(n) {
		m.Add(msg(i+1, "t", 1, start), false)
	}
	calls := 0
	for more := true; more; calls++ {
		before := m.evictions.count
		more = m.Expire(start.Add(time.Hour), steps)
		if evicted := m.evictions.count - before; evicted > steps {
			t.Fatalf("%d messages expired in %d steps", evicted, steps)
		}
	}
	if m.Sums().History != 0 || calls < n/steps {
		t.Errorf("%d bytes are left after %d calls, want none after %d at least", m.Sums().History, calls, n/steps)
	}
}

// Topics come and go in great numbers: segments that are nearly empty are
// written anew, so the log does not hold what is long gone.
func TestLogGivesBackWhatIsEvicted(t *testing.T) {
	m := New(Limits{History: 1 << 20, Age: time.Minute, Values: 1 << 20, Index: 1 << 30})
	for i := range uint64(100_000) {
		name := "hot"
		if i%1000 == 0 {
			name = fmt.Sprint("quiet/", i)
		}
		m.Add(msg(i+1, name, 1, start), false)
		for m.Trim(64) {
		}
	}
	places := 0
	for _, s := range m.log.segments {
		places += cap(s.msgs)
	}
	if n := len(kept(m)); places > 2*n+2*segmentSize {
		t.Errorf("%d places for %d messages", places, n)
	}
}

// Topics whose names cannot be kept may be anybody's.
func TestPassWithoutANameMayBeAnybodys(t *testing.T) {
	m := New(Limits{History: 1000, Age: time.Minute, Values: 1000, Index: 1000})
	hole := func() (uint64, bool) {
		s := NewSearch("none")
		for !m.Search(&s, 0, 10) {
		}
		return s.End, s.Certain
	}
	for seq := range uint64(passesKept) {
		m.Pass(fmt.Sprint("deep/", seq), seq+1)
	}
	if end, _ := hole(); end != 0 {
		t.Errorf("%d topics: got a hole up to %d, want none", passesKept, end)
	}
	m.Pass("deep/0", passesKept+1)
	m.Pass("deep/more", passesKept+2)
	if end, certain := hole(); end != 2 || certain {
		t.Errorf("one more: got a hole up to %d, certain %t; want up to 2, the last of the topic that is known no more", end, certain)
	}
	m.Pass(strings.Repeat("x", maxPassBytes+1), 99)
	if end, _ := hole(); end != 99 {
		t.Errorf("a long topic: got a hole up to %d, want 99", end)
	}
}
