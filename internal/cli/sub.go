package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/wire"
)

// Sub is gateway sub.
type Sub struct {
	Gateway `embed:""`
	Straight
	JSON     bool     `name:"json" xor:"form" help:"Whole messages, and gaps, one JSON object a line."`
	Value    bool     `xor:"form" help:"Payloads only, one a line; on a pipe that is the default."`
	Count    int      `short:"C" placeholder:"N" help:"End after N messages."`
	Since    string   `placeholder:"WHEN" help:"Begin behind a cursor, at a time (RFC 3339), or so long ago: 10m."`
	Snapshot bool     `help:"First the newest message of every topic."`
	Filters  []string `arg:"" name:"filter" help:"Filter of topics, such as pi/+/battery or pi/#."`
}

// Run prints messages as they come.
func (c *Sub) Run(sh *Shell) error { return sh.done(c.run(sh)) }

func (c *Sub) run(sh *Shell) error {
	p := &printer{sh: sh, most: c.Count, form: c.form(sh)}
	if c.Broker != "" {
		return c.straight(sh, p)
	}
	options, err := since(c.Since)
	if err != nil {
		return err
	}
	if c.Snapshot {
		options = append(options, client.Snapshot())
	}
	g, err := c.dial(sh, atOnce)
	if err != nil {
		return err
	}
	defer g.Close()
	return follow(sh, g, c.Filters, options, p)
}

func (c *Sub) form(sh *Shell) form {
	switch {
	case c.JSON:
		return whole
	case c.Value || !isTerminal(sh.Stdout):
		return payloads
	}
	return lines
}

// since begins at a cursor, a time, or so long ago.
func since(when string) ([]client.SubscribeOption, error) {
	if when == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(when); err == nil {
		if d < 0 {
			return nil, usage("--since %s: it is in the future", when)
		}
		return []client.SubscribeOption{client.SinceAgo(d)}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, when); err == nil {
		return []client.SubscribeOption{client.SinceTime(t)}, nil
	}
	return []client.SubscribeOption{client.Since(when)}, nil
}

// sink takes what a subscription brings.
type sink interface {
	message(m *client.Message) (enough bool, err error)
	gap(g *client.Gap) error
}

// follow reads a subscription until it or the sink has had enough. What is no
// message is said on standard error.
func follow(sh *Shell, g *client.Client, filters []string, options []client.SubscribeOption, to sink) error {
	sh.endWithPipe()
	sub := g.Subscribe(sh.Ctx, filters, options...)
	defer sub.Close()
	var last, refused error // the last one ends it, unless something comes behind it
	for event, err := range sub.Events() {
		if sh.Ctx.Err() != nil {
			return sh.Ctx.Err()
		}
		if err != nil {
			sh.note("%s", words(err))
			last = &Error{Status: statusOf(err)}
			var e *client.Error
			switch {
			case !errors.As(err, &e):
			case e.Code == wire.CodeInvalidCursor: // it goes on from now, which nobody asked for
				return last
			case e.Filter != "":
				refused = last
			}
			continue
		}
		last = nil
		sh.back()
		enough, err := take(sh, event, to)
		if err != nil {
			return err
		}
		if enough {
			return refused
		}
	}
	return cmp.Or(last, refused)
}

// take handles one event.
func take(sh *Shell, event client.Event, to sink) (enough bool, err error) {
	switch e := event.(type) {
	case *client.Message:
		return to.message(e)
	case *client.Gap:
		sh.note("%s", gapWords(e))
		return false, to.gap(e)
	case *client.Broker:
		if e.Connected {
			sh.note("the gateway has its broker again")
		} else {
			sh.note("the gateway has lost its broker")
		}
	}
	return false, nil
}

// gapWords say what is missing.
func gapWords(g *client.Gap) string {
	if g.Reason == wire.GapTooLarge {
		return fmt.Sprintf("a gap: the message on %s has %d bytes, which is too large to be handed out", g.Topic, g.Bytes)
	}
	are := "may be"
	if g.Certain {
		are = "are"
	}
	return fmt.Sprintf("a gap: messages %s missing here (%s)", are, g.Reason)
}

// form is how messages are printed.
type form int

const (
	lines    form = iota // aligned, for a terminal
	payloads             // one a line
	whole                // JSON objects
)

// printer prints messages.
type printer struct {
	sh     *Shell
	form   form
	most   int // 0: no end
	n      int
	column int // width of the topics so far
	buf    []byte
}

func (p *printer) message(m *client.Message) (enough bool, err error) {
	switch p.form {
	case whole:
		p.buf = appendObject(p.buf[:0], m)
		if isTerminal(p.sh.Stdout) {
			p.buf = escapeJSON(p.buf)
		}
	case payloads:
		if isTerminal(p.sh.Stdout) {
			p.buf = append(p.buf[:0], shown(m.Payload)...)
		} else {
			p.buf = append(p.buf[:0], m.Payload...)
		}
		p.buf = append(p.buf, '\n')
	default:
		p.buf = append(append(p.buf[:0], p.line(m)...), '\n')
	}
	p.n++
	return p.n == p.most, p.sh.write(p.buf)
}

func (p *printer) gap(g *client.Gap) error {
	if p.form != whole {
		return nil
	}
	return p.sh.writeJSON(append(wire.Encode((*wire.Gap)(g)), '\n'))
}

// line is a message as one line of the terminal.
func (p *printer) line(m *client.Message) string {
	width := p.sh.width()
	topic := cut(printable(m.Topic), max(12, width/2))
	p.column = max(p.column, utf8.RuneCountInString(topic))
	const clock = "15:04:05.000"
	mark := ""
	if m.Retain {
		mark = "  retained"
	}
	room := max(8, width-len(clock)-2-p.column-2-len(mark))
	gap := strings.Repeat(" ", p.column-utf8.RuneCountInString(topic))
	return paint(p.sh.Stdout, dim, m.Time.Local().Format(clock)) + "  " + paint(p.sh.Stdout, cyan, topic) + gap + "  " + cut(shown(m.Payload), room) + paint(p.sh.Stdout, yellow, mark)
}
