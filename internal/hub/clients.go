package hub

// clients is everybody who is connected. A client keeps its place as long as it
// is there, so a walk over all can be made in parts. Guarded by hub.mu.
type clients struct {
	places []*Client // nil: free
	free   []int
	count  int
	empty  chan struct{} // closed when nobody is left, once closing
}

func (cs *clients) add(c *Client) {
	cs.count++
	if n := len(cs.free); n > 0 {
		c.place, cs.free = cs.free[n-1], cs.free[:n-1]
		cs.places[c.place] = c
		return
	}
	c.place = len(cs.places)
	cs.places = append(cs.places, c)
}

func (cs *clients) remove(c *Client) {
	cs.places[c.place] = nil
	cs.free = append(cs.free, c.place)
	if cs.count--; cs.count == 0 {
		cs.places, cs.free = nil, nil // they were as many as there ever were
		if cs.empty != nil {
			close(cs.empty)
			cs.empty = nil
		}
	}
}

// whenEmpty gives a channel that is closed when nobody is left.
func (cs *clients) whenEmpty() <-chan struct{} {
	empty := make(chan struct{})
	if cs.count == 0 {
		close(empty)
	} else {
		cs.empty = empty
	}
	return empty
}

// clientSteps is how many clients are served under one lock.
const clientSteps = 128

// eachClient calls fn under hub.mu for every client that was there when it
// began, and gives the lock back when so many steps were taken, of which fn
// tells its own. It is called without the lock.
func (h *Hub) eachClient(fn func(*Client) (steps int)) {
	newest := h.nextID.Load()
	for at := 0; ; {
		h.mu.Lock()
		for steps := 0; steps < clientSteps && at < len(h.clients.places); at++ {
			if c := h.clients.places[at]; c != nil && c.id <= newest {
				steps += fn(c)
			} else {
				steps++
			}
		}
		done := at >= len(h.clients.places)
		h.mu.Unlock()
		if done {
			return
		}
	}
}
