package memory

import "slices"

// Bounds of the topics whose messages are passed on and not remembered, and
// which are known all the same.
const (
	passesKept   = 32
	maxPassBytes = 4096
)

// passes are the messages that were not remembered at all: the last one of each
// topic, as far as their names can be kept.
type passes struct {
	last     uint64 // of all
	nameless uint64 // of those whose topics are not known any more
	kept     []pass // the newest at the end
}

type pass struct {
	topic string
	seq   uint64
}

func (p *passes) add(topic string, seq uint64) {
	p.last = seq
	if len(topic) > maxPassBytes {
		p.nameless = seq
		return
	}
	at := slices.IndexFunc(p.kept, func(k pass) bool { return k.topic == topic })
	if at < 0 && len(p.kept) == passesKept {
		at = 0
		p.nameless = max(p.nameless, p.kept[0].seq)
	}
	if at >= 0 {
		p.kept = slices.Delete(p.kept, at, at+1)
	}
	p.kept = append(p.kept, pass{topic, seq})
}
