package broker

import (
	"errors"
	"fmt"

	"github.com/vulturepi/gateway/internal/embedded/packet"
)

// consistent recounts everything that the broker counts, and checks what must always hold. It takes the lock.
func (b *Broker) consistent() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	refs := map[*message]int{}
	held, offline, pairs, members := int64(0), 0, 0, 0
	filters, grouped := int64(0), map[groupKey]bool{}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for id, s := range b.sessions {
		if s.id != id || s.conn != nil && s.conn.session != s {
			fail("session %q does not belong to its place", id)
		}
		if s.conn == nil {
			offline++
			if s.expiry == 0 {
				fail("session %q is kept though it does not outlive its connection", id)
			}
		}
		bytes := int64(0)
		count := func(d *delivery) {
			refs[d.m]++
			held += deliveryOverhead
			bytes += d.bytes()
			if s.conn == nil && d.qos == 0 {
				fail("session %q without a connection has a message at QoS 0", id)
			}
		}
		for _, d := range s.waiting.all() {
			count(&d)
		}
		for id, d := range s.flight {
			count(d)
			if d.id != id || d.qos == 0 {
				fail("message %d is in flight at QoS %d as %d", d.id, d.qos, id)
			}
		}
		if bytes != s.bytes {
			fail("session %q counts %d bytes, and has %d", id, s.bytes, bytes)
		}
		held += int64(len(s.received)) * receivedOverhead
		if s.will != nil {
			refs[s.will]++
		}
		for key, sub := range s.subscriptions {
			filters += sub.bytes()
			if key.name == "" {
				pairs++
			} else {
				grouped[key], members = true, members+1
			}
		}
	}
	for c := range b.conns {
		if c.will != nil {
			refs[c.will]++
		}
		if c.session != nil && c.session.conn != c {
			fail("a connection has a session that has another connection")
		}
	}
	count, bytes := 0, int64(0)
	for _, all := range []string{"#", "$SYS/#", "$x", "$r/#"} {
		b.retained.WalkAfter(all, "", func(name string, m *message) bool {
			if !isOwn(name) {
				refs[m]++
				count, bytes = count+1, bytes+retainedCost(m)
			}
			if !packet.IsName(name) || len(m.Payload) == 0 && !isOwn(name) {
				fail("%q is retained with %d bytes", name, len(m.Payload))
			}
			return true
		})
	}
	for m, n := range refs {
		held += m.cost()
		if m.refs != n {
			fail("message on %q counts %d holders, and has %d", m.Topic, m.refs, n)
		}
	}
	for name, counted := range map[string][2]int64{
		"held": {b.held, held}, "retained": {int64(b.retainedCount), int64(count)}, "bytes retained": {b.retainedBytes, bytes},
		"offline": {int64(b.offline), int64(offline)}, "bytes of filters": {b.subscriptionBytes, filters},
		"filters": {int64(b.subscriptions.Len()), int64(pairs + len(grouped))}, "groups": {int64(len(b.groups)), int64(len(grouped))},
	} {
		if counted[0] != counted[1] {
			fail("%s: counted %d, and there are %d", name, counted[0], counted[1])
		}
	}
	if b.held > b.limits.Held || b.retainedCount > b.limits.Retained || b.offline > b.limits.Sessions {
		fail("over the limit: %d bytes, %d retained, %d sessions", b.held, b.retainedCount, b.offline)
	}
	return errors.Join(errs...)
}
