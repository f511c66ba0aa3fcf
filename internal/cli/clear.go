package cli

import (
	"bufio"
	"cmp"
	"fmt"
	"slices"
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
	t := tree{}
	if err := t.add(g.Retained(sh.Ctx, c.Filter), sh.progress("found", 0)); err != nil {
		return err
	}
	topics, err := list(sh, &t)
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
func list(sh *Shell, t *tree) ([]string, error) {
	var topics []string
	values := map[string]string{}
	for _, m := range t.messages {
		topics, values[m.Topic] = append(topics, m.Topic), shown(m.Payload)
	}
	for _, g := range t.large {
		topics, values[g.Topic] = append(topics, g.Topic), plural(g.Bytes, "byte")
	}
	slices.Sort(topics)
	column := 0
	for _, name := range topics {
		column = max(column, len([]rune(printable(name))))
	}
	column = min(column, sh.width()/2)
	for _, name := range topics {
		line := printable(name) + "\n"
		if isTerminal(sh.Stdout) {
			line = fmt.Sprintf("%-*s  %s\n", column, printable(name), paint(sh.Stdout, dim, cut(values[name], max(8, sh.width()-column-2))))
		}
		if err := sh.write([]byte(line)); err != nil {
			return nil, err
		}
	}
	return topics, nil
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
