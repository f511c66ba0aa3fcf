package cli

import (
	"bufio"
	"cmp"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vulturepi/gateway/client"
)

// Clear is gateway clear.
type Clear struct {
	Gateway `embed:""`
	Yes     bool   `short:"y" help:"Do not ask."`
	Filter  string `arg:"" help:"Filter of topics, such as pi/3/#."`
}

// Run says what is retained, and clears it when that is wanted.
func (c *Clear) Run(sh *Shell) error { return sh.done(c.run(sh)) }

func (c *Clear) run(sh *Shell) error {
	g, err := c.dial(sh, retryFor)
	if err != nil {
		return err
	}
	defer g.Close()
	topics, err := list(sh, g.Retained(sh.Ctx, c.Filter))
	if err != nil {
		return err // nobody has seen what would be cleared
	}
	if len(topics) == 0 {
		sh.note("nothing is retained that matches %s", c.Filter)
		return nil
	}
	if !c.Yes {
		if !isTerminal(sh.Stdin) || !isTerminal(sh.Stderr) {
			return usage("nothing was cleared; --yes clears %s", plural(len(topics), "retained message"))
		}
		if !ask(sh, fmt.Sprintf("Clear %s? [y/N] ", plural(len(topics), "retained message"))) {
			return failed("nothing was cleared")
		}
	}
	return clearAll(sh, g, topics)
}

// list says what is there, a line for each topic.
func list(sh *Shell, all iter.Seq2[client.Event, error]) (topics []string, err error) {
	l := lister{sh: sh, width: sh.width()}
	progress := sh.found()
	defer progress.end()
	for event, err := range all {
		if err != nil {
			return nil, err
		}
		name, value := topicOf(event), ""
		switch e := event.(type) {
		case *client.Message:
			value = shown(e.Payload)
		case *client.Gap:
			value = plural(e.Bytes, "byte")
		}
		topics = append(topics, name)
		progress.at(len(topics))
		if err := l.add(name, value); err != nil {
			return nil, err
		}
	}
	return topics, l.flush()
}

// lister writes lines of a topic and its value below each other, a part of them
// at a time.
type lister struct {
	sh            *Shell
	width, column int
	lines         [][2]string
}

// listedAtOnce is how many lines are aligned before they are written.
const listedAtOnce = 256

func (l *lister) add(name, value string) error {
	name = printable(name)
	l.lines = append(l.lines, [2]string{name, cut(value, l.width)})
	l.column = min(max(l.column, len([]rune(name))), l.width/2)
	if len(l.lines) < listedAtOnce {
		return nil
	}
	return l.flush()
}

func (l *lister) flush() error {
	for _, one := range l.lines {
		line := one[0] + "\n"
		if isTerminal(l.sh.Stdout) {
			line = fmt.Sprintf("%-*s  %s\n", l.column, one[0], paint(l.sh.Stdout, dim, cut(one[1], max(8, l.width-l.column-2))))
		}
		if err := l.sh.write([]byte(line)); err != nil {
			return err
		}
	}
	l.lines = l.lines[:0]
	return nil
}

// ask takes y or yes for a yes.
func ask(sh *Shell, question string) bool {
	fmt.Fprint(sh.Stderr, paint(sh.Stderr, bold, question))
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(sh.Stdin).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case a := <-answer:
		return a == "y" || a == "yes"
	case <-sh.Ctx.Done():
		fmt.Fprintln(sh.Stderr)
		return false
	}
}

// clearAll clears topics, a few at a time.
func clearAll(sh *Shell, g *client.Client, topics []string) error {
	const atOnce = 8
	var (
		next   atomic.Int64
		done   atomic.Int64
		mu     sync.Mutex
		wg     sync.WaitGroup
		first  error
		failed int
	)
	progress := sh.progress("cleared", len(topics))
	for range atOnce {
		wg.Go(func() {
			for sh.Ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(topics) {
					return
				}
				_, err := g.Clear(sh.Ctx, topics[i])
				mu.Lock()
				progress.at(int(done.Add(1)))
				if err != nil && sh.Ctx.Err() == nil {
					if failed++; failed <= mostTold {
						sh.note("%s: %s", topics[i], words(err))
					}
					first = cmp.Or(first, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	progress.end()
	switch {
	case sh.Ctx.Err() != nil:
		return sh.Ctx.Err()
	case first != nil:
		return &Error{statusOf(first), plural(failed, "message") + " of " + plural(len(topics), "message") + ": not cleared"}
	}
	if isTerminal(sh.Stderr) {
		sh.note("%s cleared", plural(len(topics), "message"))
	}
	return nil
}
