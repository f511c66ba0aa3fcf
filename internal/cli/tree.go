package cli

import (
	"bytes"
	"cmp"
	"iter"

	"github.com/vulturepi/gateway/client"
)

// Export is gateway export.
type Export struct {
	Gateway  `embed:""`
	Retained bool   `help:"Only what the broker keeps as retained."`
	Filter   string `arg:"" help:"Filter of topics, such as pi/#."`
}

// Run writes a tree of topics with their newest values.
func (c *Export) Run(sh *Shell) error { return sh.done(c.run(sh)) }

func (c *Export) run(sh *Shell) error {
	g, err := c.dial(sh, retryFor)
	if err != nil {
		return err
	}
	defer g.Close()
	newest := g.Topics(sh.Ctx, c.Filter)
	if c.Retained {
		newest = func(func(client.Event, error) bool) {}
	}
	var line []byte
	written, large := 0, 0
	progress := sh.found()
	defer progress.end()
	for event, err := range merged(g.Retained(sh.Ctx, c.Filter), newest) {
		switch e := event.(type) {
		case *client.Message:
			line = appendItem(line[:0], e)
			if err := sh.writeJSON(line); err != nil {
				return err
			}
			written++
			progress.at(written)
		case *client.Gap:
			progress.end()
			sh.note("%s: %d bytes are too large to be handed out; it is left out", e.Topic, e.Bytes)
			large++
		}
		if err != nil {
			return err
		}
	}
	if large > 0 {
		return failed("%s left out", plural(large, "topic"))
	}
	return nil
}

// merged has, of two lists by topic, the newest message of each topic behind the
// retained one, unless they say the same: whoever publishes both in this order
// has both again.
func merged(kept, newest iter.Seq2[client.Event, error]) iter.Seq2[client.Event, error] {
	return func(yield func(client.Event, error) bool) {
		k, n := readList(kept), readList(newest)
		defer k.stop()
		defer n.stop()
		for k.more || n.more {
			if err := cmp.Or(k.err, n.err); err != nil {
				yield(nil, err)
				return
			}
			var isKept, isNewest client.Event
			if k.more && (!n.more || k.topic <= n.topic) {
				isKept = retained(k.event, true)
			}
			if n.more && (!k.more || n.topic <= k.topic) {
				isNewest = n.event
			}
			if isKept != nil {
				if !yield(isKept, nil) {
					return
				}
				k.next()
			}
			if isNewest != nil {
				if isNews(isNewest, isKept) && !yield(retained(isNewest, false), nil) {
					return
				}
				n.next()
			}
		}
	}
}

// isNews reports whether the newest of a topic says more than what is kept there.
func isNews(newest, kept client.Event) bool {
	n, isMessage := newest.(*client.Message)
	k, same := kept.(*client.Message)
	switch {
	case isMessage && same:
		return !bytes.Equal(k.Payload, n.Payload)
	case isMessage:
		return !n.Retain // else it was kept a moment ago
	}
	return kept == nil || same
}

func retained(event client.Event, yes bool) client.Event {
	if m, ok := event.(*client.Message); ok {
		m.Retain = yes
	}
	return event
}

// listed is a list that is read one by one.
type listed struct {
	pull  func() (client.Event, error, bool)
	stop  func()
	event client.Event
	topic string
	err   error
	more  bool
}

func readList(list iter.Seq2[client.Event, error]) *listed {
	l := &listed{}
	l.pull, l.stop = iter.Pull2(list)
	l.next()
	return l
}

func (l *listed) next() {
	l.event, l.err, l.more = l.pull()
	l.topic = topicOf(l.event)
}

func topicOf(event client.Event) string {
	switch e := event.(type) {
	case *client.Message:
		return e.Topic
	case *client.Gap:
		return e.Topic
	}
	return ""
}

// Import is gateway import.
type Import struct {
	Gateway `embed:""`
	Prefix  string `placeholder:"PREFIX" help:"Put before each topic, such as test/."`
	File    string `arg:"" optional:"" default:"-" help:"File that export has written; - or none is standard input."`
}

// Run publishes a tree, as it was exported.
func (c *Import) Run(sh *Shell) error { return sh.done(c.run(sh)) }

func (c *Import) run(sh *Shell) error {
	in, err := openLines(sh, c.File)
	if err != nil {
		return err
	}
	defer in.close()
	many, err := c.many(sh, "imported")
	if err != nil {
		return err
	}
	many.repeats = true // to have a value twice is to have it
	defer many.close()
	for r, err := range in.records(sh) {
		if err != nil {
			return many.end(err)
		}
		if !many.publish(c.Prefix+r.Topic, r.payload, r.options()) {
			break
		}
	}
	return many.end(nil)
}
