package hub

// decoded is what Options.Decode has made of a payload.
type decoded struct {
	value   []byte
	problem string
}

// problemPanic is what a message says whose decoder broke down.
const problemPanic = "The decoder failed on this payload; that is a mistake in the gateway."

// decode decodes the payload of in, outside of hub.mu. Decoders read what
// strangers send: one that breaks down must cost the value, not the message.
func (h *Hub) decode(in Inbound) (d decoded) {
	if h.opts.Decode == nil {
		return decoded{}
	}
	defer func() {
		if recover() != nil { // what it says may hold the payload, so it goes nowhere
			h.opts.Log.Error("a decoder failed", "topic", in.Topic)
			d = decoded{problem: problemPanic}
		}
	}()
	d.value, d.problem = h.opts.Decode(in.Topic, in.Payload)
	return d
}
