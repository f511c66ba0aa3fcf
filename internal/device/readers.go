package device

import "github.com/vulturepi/gateway/internal/topic"

// readers are all feeds, by what they may read, so that a change costs as much
// as it has readers. Guarded by Registry.mu.
type readers struct {
	all   map[*Feed]struct{}
	whole map[*Feed]struct{}            // that may read everything
	those map[string]map[*Feed]struct{} // that may read what a filter covers
	index topic.Trie[string]            // the filters of those
	found [][]string                    // for reuse
	due   []*Feed                       // are woken when mu is given back
}

func (rs *readers) add(f *Feed) {
	rs.all[f] = struct{}{}
	if f.whole {
		rs.whole[f] = struct{}{}
		return
	}
	for _, filter := range f.filters {
		if rs.those[filter] == nil {
			rs.those[filter] = map[*Feed]struct{}{}
			rs.index.Add(filter, filter)
		}
		rs.those[filter][f] = struct{}{}
	}
}

func (rs *readers) remove(f *Feed) {
	delete(rs.all, f)
	delete(rs.whole, f)
	for _, filter := range f.filters {
		if delete(rs.those[filter], f); len(rs.those[filter]) == 0 {
			delete(rs.those, filter)
			rs.index.Remove(filter, filter)
		}
	}
}

// wake has feeds woken that wait.
func (rs *readers) wake(feeds map[*Feed]struct{}) {
	for f := range feeds {
		if f.waits {
			f.waits = false
			rs.due = append(rs.due, f)
		}
	}
}

// tell notes a change with some feeds.
func (rs *readers) tell(feeds map[*Feed]struct{}, key uint64) {
	for f := range feeds {
		f.add(key)
	}
	rs.wake(feeds)
}

// tellThose notes a change with those who may read what the filter matches.
func (rs *readers) tellThose(filter string, key uint64) {
	rs.found = rs.index.Covering(rs.found[:0], filter)
	for _, some := range rs.found {
		for _, covering := range some {
			rs.tell(rs.those[covering], key)
		}
	}
}
