package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// Shell is where a command runs.
type Shell struct {
	Ctx            context.Context // ends with Ctrl-C
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	mu     sync.Mutex
	outage string // guarded by mu: what was said when the connection was lost
}

// lost says that the connection was lost, once and not for each attempt.
func (sh *Shell) lost(err error, _ time.Duration) {
	text := words(err)
	sh.mu.Lock()
	known := sh.outage == text
	sh.outage = text
	sh.mu.Unlock()
	if !known {
		sh.note("%s; trying again", text)
	}
}

// back says that it is there again.
func (sh *Shell) back() {
	sh.mu.Lock()
	was := sh.outage
	sh.outage = ""
	sh.mu.Unlock()
	if was != "" {
		sh.note("connected again")
	}
}

// isTerminal reports whether somebody looks at, or types into, a file.
func isTerminal(file any) bool {
	f, ok := file.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width is that of the terminal in columns.
func (sh *Shell) width() int {
	if f, ok := sh.Stdout.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			return w
		}
	}
	return 80
}

// note says something about what is going on, in one line.
func (sh *Shell) note(format string, args ...any) {
	fmt.Fprintln(sh.Stderr, "gateway:", OneLine(fmt.Sprintf(format, args...)))
}

// write is a line or more of what was asked for.
func (sh *Shell) write(b []byte) error {
	if _, err := sh.Stdout.Write(b); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// writeJSON is write for lines of JSON: a terminal gets what it might obey as
// escapes, which mean the same.
func (sh *Shell) writeJSON(b []byte) error {
	if isTerminal(sh.Stdout) {
		b = escapeJSON(b)
	}
	return sh.write(b)
}

// style is how a terminal sets a word apart; on a pipe nothing is.
type style string

const (
	plain  style = ""
	dim    style = "2"
	bold   style = "1"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// paint gives words a style, where to is a terminal that has colours.
func paint(to io.Writer, s style, words string) string {
	if s == plain || !isTerminal(to) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return words
	}
	return "\x1b[" + string(s) + "m" + words + "\x1b[0m"
}

// progress is how far a long work is: one line on standard error, on a terminal
// only.
type progress struct {
	to    io.Writer // nil: nobody looks
	what  string
	total int // 0: not known
	shown time.Time
	used  bool
}

func (sh *Shell) progress(what string, total int) *progress {
	p := &progress{what: what, total: total, shown: time.Now()}
	if isTerminal(sh.Stderr) {
		p.to = sh.Stderr
	}
	return p
}

// found is the progress of a list; where it can be seen, there is none.
func (sh *Shell) found() *progress {
	p := sh.progress("found", 0)
	if isTerminal(sh.Stdout) {
		p.to = nil
	}
	return p
}

// at says that n are done, ten times a second at most.
func (p *progress) at(n int) {
	if p.to == nil || time.Since(p.shown) < 100*time.Millisecond {
		return
	}
	p.shown, p.used = time.Now(), true
	of := ""
	if p.total > 0 {
		of = fmt.Sprintf(" of %d", p.total)
	}
	fmt.Fprintf(p.to, "\r%s %d%s\x1b[K", p.what, n, of)
}

// end takes the line away.
func (p *progress) end() {
	if p.used {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
	p.used = false
}
