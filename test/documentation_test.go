package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// block is a fenced block that CONTRIBUTING.md says is run: the comment before
// it is <!-- run -->, with what it must print and how it is run.
type block struct {
	file    string
	line    int
	stays   bool // it runs until the document ends, like a terminal of its own
	node    bool // it needs a Node.js with WebSocket
	browser bool // it is JavaScript for a page
	cut     bool // its connection is cut meanwhile
	lang    string
	prints  []string
	code    string
}

func (b *block) String() string { return fmt.Sprintf("%s:%d", b.file, b.line) }

// blocks reads the blocks of a document that are to be run.
func blocks(t *testing.T, file string) []*block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	var all []*block
	var next *block // announced
	var open *block // being read
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		trimmed := strings.TrimSpace(line)
		comment, isComment := strings.CutPrefix(trimmed, "<!-- run")
		switch {
		case open != nil && trimmed == "```":
			all = append(all, open)
			open = nil
		case open != nil:
			open.code += line
		case isComment && strings.HasSuffix(comment, " -->"):
			next = announced(t, strings.TrimSuffix(comment, " -->"))
			next.file, next.line = file, n
		case next != nil && next.runs(strings.TrimPrefix(trimmed, "```")):
			open, next = next, nil
		case next != nil:
			t.Fatalf("%s: behind the comment stands %q, want a block", next, trimmed)
		}
	}
	return all
}

// runs takes the block's language, if it can be run.
func (b *block) runs(lang string) bool {
	b.lang = lang
	switch lang {
	case "sh":
		return !b.browser
	case "js":
		return b.browser || b.node
	case "python", "go":
		return true
	}
	return false
}

// command is the program that runs a block in a directory.
func (b *block) command(t *testing.T, dir, code string) *exec.Cmd {
	t.Helper()
	var cmd *exec.Cmd
	switch b.lang {
	case "js":
		cmd = exec.Command("node", "--input-type=module", "-e", code)
	case "python":
		cmd = exec.Command("python3", "-c", code)
	case "go":
		path := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(path, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd = exec.Command("go", "run", path)
	default:
		cmd = exec.Command("sh", "-eu", "-c", code)
	}
	cmd.Dir = dir
	return cmd
}

func announced(t *testing.T, comment string) *block {
	t.Helper()
	b := &block{}
	for i, part := range strings.Split(comment, "; ") {
		if words, ok := strings.CutPrefix(part, "prints: "); ok && i > 0 {
			b.prints = append(b.prints, words)
			continue
		}
		for how := range strings.SplitSeq(strings.TrimPrefix(part, ": "), ", ") {
			switch how {
			case "":
			case "stays":
				b.stays = true
			case "node":
				b.node = true
			case "browser":
				b.browser = true
			case "cut":
				b.cut = true
			default:
				t.Fatalf("<!-- run%s -->: what is %q?", comment, how)
			}
		}
	}
	return b
}

// missing is the first thing that the block should have printed and has not.
func (b *block) missing(output string) string {
	for _, words := range b.prints {
		if !strings.Contains(output, words) {
			return words
		}
	}
	return ""
}

// here puts the test's gateway where a document says localhost:8080.
func (g *gateway) here(code string) string {
	return strings.NewReplacer("localhost:8080", g.host(), "localhost:8081", strings.TrimPrefix(g.admin, "http://")).Replace(code)
}

// reader is somebody who pastes a document's blocks, one after the other.
type reader struct {
	t    *testing.T
	g    *gateway
	dir  string // where programs run
	tab  *tab
	left []*terminal
	rest []func() // waits for what pages have to print yet

	network *brokertest.Proxy // between the reader and g, where there is one
	direct  *gateway          // g, past it
}

func TestDocumentationDoesWhatItSays(t *testing.T) {
	t.Parallel()
	for file, least := range map[string]int{"README.md": 4, "docs/command-line.md": 5, "docs/quickstart.md": 10} {
		t.Run(file, func(t *testing.T) {
			all := blocks(t, file)
			if len(all) < least {
				t.Fatalf("got %d blocks to run, want at least %d", len(all), least)
			}
			r := &reader{t: t, dir: "..", g: startBuiltIn(t, nil)}
			for _, b := range all {
				if b.browser && strings.Contains(b.code, "localhost:8080") {
					t.Errorf("%s: a page at another name of the gateway may not reach localhost:8080", b)
				}
				r.paste(b)
			}
			for _, p := range r.left {
				p.wait()
			}
		})
	}
}

func (r *reader) paste(b *block) {
	r.t.Helper()
	switch {
	case b.browser:
		r.console(b)
	case b.node && nodeOptions(r.t) == nil:
		r.t.Logf("%s: left out: no Node.js with WebSocket is installed", b)
	case b.cut:
		p := r.terminal(b)
		r.cut(b, p.until)
		p.kill()
	case b.stays:
		p := r.terminal(b)
		p.until(b.prints[:1]) // from there on it is there
		r.left = append(r.left, p)
	default:
		out := r.run(b)
		if missing := b.missing(out); missing != "" {
			r.t.Errorf("%s: got\n%s\nwant %s in it", b, out, missing)
		}
	}
}

// forAWhile is how a document reads a stream that does not end.
var forAWhile = regexp.MustCompile(`curl -s -N -m \d+ `)

// run runs a block and returns what it prints. A stream at its end is read until
// it has printed everything, however long that takes.
func (r *reader) run(b *block) string {
	r.t.Helper()
	if forAWhile.MatchString(b.code) {
		endless := *b
		endless.code = forAWhile.ReplaceAllString(b.code, "curl -s -N ")
		p := r.terminal(&endless)
		p.wait()
		return p.out.String()
	}
	p := r.terminal(b)
	if err := p.end(); err != nil {
		r.t.Errorf("%s: %v\n%s%s", b, err, p.out.String(), p.err.String())
	}
	return p.out.String()
}

// console pastes a block into the console of the browser, on the page /docs.
func (r *reader) console(b *block) {
	r.t.Helper()
	if r.tab == nil {
		r.tab = openTab(r.t)
	}
	r.tab.do(chromedp.Navigate(r.g.url+"/docs"),
		chromedp.Evaluate[chromedp.Void](`window.printed = []; console.log = line => printed.push(line);`),
		chromedp.Evaluate[chromedp.Void](inConsole(r.g.here(b.code))+"\n;0"))
	until := func(words []string) {
		r.t.Helper()
		want := block{prints: words}
		eventually(r.t, fmt.Sprintf("%s prints %q", b, words), func() bool {
			return want.missing(r.tab.js(`printed.join('\n')`)) == ""
		})
	}
	switch {
	case b.cut:
		r.cut(b, until)
		r.tab = nil // it complains of its connection
		return
	case b.stays: // what is pasted next goes on in another page
		until(b.prints[:1])
		r.rest = append(r.rest, func() { until(b.prints) })
	default:
		until(b.prints)
	}
	if got := r.tab.complaints(); len(got) > 0 {
		r.t.Errorf("%s: mistakes in the browser: %q", b, got)
	}
}

// inConsole lets a page's script wait for promises, as the console does.
func inConsole(code string) string {
	if strings.Contains(code, "await ") {
		return "(async () => {" + code + "})()"
	}
	return code
}

// terminal is a shell command that runs.
type terminal struct {
	t        *testing.T
	name     string
	prints   []string
	out, err output
	cmd      *exec.Cmd
	ended    chan struct{} // closed when it has; result is set before
	result   error
}

func (r *reader) terminal(b *block) *terminal {
	r.t.Helper()
	cmd := b.command(r.t, r.dir, r.g.here(b.code))
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(gatewayBinary(r.t))+":"+os.Getenv("PATH"), "GATEWAY_URL="+r.g.url)
	if b.node {
		cmd.Env = append(cmd.Env, nodeOptions(r.t)...)
	}
	return spawn(r.t, b.String(), b.prints, cmd)
}

// spawn starts a command that ends with the test at the latest, and all that it
// has started with it.
func spawn(t *testing.T, name string, prints []string, cmd *exec.Cmd) *terminal {
	t.Helper()
	p := &terminal{t: t, name: name, prints: prints, cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.err
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go func() {
		defer close(p.ended)
		p.result = cmd.Wait()
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *terminal) kill() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// until waits until the command has printed all of words.
func (p *terminal) until(words []string) {
	p.t.Helper()
	b := block{prints: words}
	if !p.out.until(p.ended, func(text string) bool { return b.missing(text) == "" }) {
		p.t.Fatalf("%s: got\n%s%s\nwant %s in it", p.name, p.out.String(), p.err.String(), b.missing(p.out.String()))
	}
}

// wait waits for all that the command should print, and ends it.
func (p *terminal) wait() {
	p.t.Helper()
	p.until(p.prints)
	p.kill()
}

// end waits for the command's end.
func (p *terminal) end() error {
	select {
	case <-p.ended:
		return p.result
	case <-time.After(patience):
		p.kill()
		return errors.New("it does not end")
	}
}
