package cli

import (
	"time"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/wire"
)

// Record is gateway record.
type Record struct {
	Gateway `embed:""`
	Count   int      `short:"C" placeholder:"N" help:"End after N messages."`
	Since   string   `placeholder:"WHEN" help:"Begin behind a cursor, at a time (RFC 3339), or so long ago: 10m."`
	Filters []string `arg:"" name:"filter" help:"Filter of topics, such as pi/+/battery or pi/#."`
}

// Run writes messages with their times, for replay.
func (c *Record) Run(sh *Shell) error { return sh.done(c.run(sh)) }

func (c *Record) run(sh *Shell) error {
	if isTerminal(sh.Stdout) {
		return usage("a recording goes into a file: gateway record … > x.ndjson")
	}
	options, err := since(c.Since)
	if err != nil {
		return err
	}
	g, err := c.dial(sh, atOnce)
	if err != nil {
		return err
	}
	defer g.Close()
	r := &recorder{sh: sh, most: c.Count, progress: sh.progress("recorded", c.Count)}
	defer r.progress.end()
	return follow(sh, g, c.Filters, options, r)
}

// recorder writes what passes; what was there before has no time of its own.
type recorder struct {
	sh       *Shell
	most, n  int
	progress *progress
	buf      []byte
}

func (r *recorder) message(m *client.Message) (enough bool, err error) {
	if m.Cursor == "" {
		return false, nil
	}
	r.n++
	r.progress.at(r.n)
	r.buf = appendObject(r.buf[:0], m)
	return r.n == r.most, r.sh.write(r.buf)
}

func (r *recorder) gap(g *client.Gap) error {
	return r.sh.write(append(wire.Encode((*wire.Gap)(g)), '\n'))
}

// Replay is gateway replay.
type Replay struct {
	Gateway `embed:""`
	Speed   float64 `default:"1" placeholder:"N" help:"So many times as fast; 0 is as fast as it goes."`
	Prefix  string  `placeholder:"PREFIX" help:"Put before each topic, such as test/."`
	QoS     int     `name:"qos" default:"1" enum:"0,1,2" help:"QoS at the broker: 0, 1 or 2."`
	File    string  `arg:"" help:"File that record has written; - is standard input."`
}

// Run publishes a recording in its own time.
func (c *Replay) Run(sh *Shell) error { return sh.done(c.run(sh)) }

func (c *Replay) run(sh *Shell) error {
	if !(c.Speed >= 0) { // nor is NaN
		return usage("--speed %g: write 0 or more; it cannot go back in time", c.Speed)
	}
	in, err := openLines(sh, c.File)
	if err != nil {
		return err
	}
	defer in.close()
	many, err := c.many(sh, "replayed")
	if err != nil {
		return err
	}
	defer many.close()
	var begin, first time.Time
	for r, err := range in.records(sh) {
		if err != nil {
			return many.end(err)
		}
		if first.IsZero() {
			begin, first = time.Now(), r.Time
		}
		if c.Speed > 0 && !r.Time.IsZero() {
			if !sleepUntil(sh, begin.Add(c.stretched(r.Time.Sub(first)))) {
				break
			}
		}
		if !many.publish(c.Prefix+r.Topic, r.payload, append(r.options(), client.QoS(c.QoS))) {
			break
		}
	}
	return many.end(nil)
}

// stretched is how long a part of the recording takes, as far as a Duration goes.
func (c *Replay) stretched(d time.Duration) time.Duration {
	const most = 200 * 365 * 24 * time.Hour
	return time.Duration(min(float64(d)/c.Speed, float64(most)))
}

// sleepUntil waits, unless Ctrl-C comes first.
func sleepUntil(sh *Shell, due time.Time) bool {
	pause := time.Until(due)
	if pause <= 0 {
		return sh.Ctx.Err() == nil
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-sh.Ctx.Done():
		return false
	}
}
