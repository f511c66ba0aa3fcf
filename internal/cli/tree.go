package cli

import (
	"bytes"
	"iter"
	"slices"
	"strings"

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
	t := tree{}
	progress := sh.progress("found", 0)
	if err := t.add(g.Retained(sh.Ctx, c.Filter), progress); err != nil {
		return err
	}
	for _, m := range t.messages {
		m.Retain = true
	}
	if !c.Retained {
		newest := tree{}
		if err := newest.add(g.Topics(sh.Ctx, c.Filter), progress); err != nil {
			return err
		}
		t.merge(&newest)
	}
	var line []byte
	for _, m := range t.messages {
		line = appendItem(line[:0], m)
		if err := sh.writeJSON(line); err != nil {
			return err
		}
	}
	if len(t.large) > 0 {
		for _, g := range t.large {
			sh.note("%s: %d bytes are too large to be handed out; it is left out", g.Topic, g.Bytes)
		}
		return failed("%s left out", plural(len(t.large), "topic"))
	}
	return nil
}

// tree is what topics have.
type tree struct {
	messages []*client.Message
	large    []*client.Gap // what is too large
}

func (t *tree) add(list iter.Seq2[client.Event, error], found *progress) error {
	defer found.end()
	for event, err := range list {
		switch e := event.(type) {
		case *client.Message:
			t.messages = append(t.messages, e)
		case *client.Gap:
			t.large = append(t.large, e)
		}
		if err != nil {
			return err
		}
		found.at(len(t.messages))
	}
	return nil
}

// merge adds the newest messages behind the retained ones of the same topics,
// unless they say the same: whoever publishes both in this order has both again.
func (t *tree) merge(newest *tree) {
	kept := map[string]*client.Message{}
	for _, m := range t.messages {
		kept[m.Topic] = m
	}
	for _, m := range newest.messages {
		k := kept[m.Topic]
		switch {
		case k != nil && bytes.Equal(k.Payload, m.Payload):
		case k == nil && m.Retain: // it was kept a moment ago
		default:
			m.Retain = false
			t.messages = append(t.messages, m)
		}
	}
	slices.SortStableFunc(t.messages, func(a, b *client.Message) int { return strings.Compare(a.Topic, b.Topic) })
	known := map[string]bool{}
	for _, g := range t.large {
		known[g.Topic] = true
	}
	for _, g := range newest.large {
		if !known[g.Topic] {
			t.large = append(t.large, g)
		}
	}
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
