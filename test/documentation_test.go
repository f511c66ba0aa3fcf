package test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// nodeOptions is what a Node.js with WebSocket needs in its environment; nil if
// there is none.
func nodeOptions(t *testing.T) []string {
	t.Helper()
	for _, env := range []string{"NODE_OPTIONS=", "NODE_OPTIONS=--experimental-websocket"} {
		cmd := exec.Command("node", "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)")
		cmd.Env = append(os.Environ(), env)
		if cmd.Run() == nil {
			return []string{env}
		}
	}
	return nil
}

func TestExampleCurl(t *testing.T) {
	t.Parallel()
	g := startBuiltIn(t, nil)
	b := block{prints: []string{
		`"status":"ready"`, "status 200", "status 202", `"payload":21.50`, `"payload":"3q2+7w=="`, `"retain":true`, `{"type":"snapshot_end"}`, "\n21.50\n",
		`"resumed":true`, "status 422", `"code":"topic_wildcard"`,
	}}
	for attempt := 1; ; attempt++ {
		p := spawn(t, "curl.sh", nil, exec.Command("../examples/curl.sh", g.url))
		err, missing := p.end(), b.missing(p.out.String())
		if err == nil && missing == "" {
			return
		}
		if attempt == 5 { // it reads streams for two seconds each, which is short on a busy machine
			t.Fatalf("curl.sh: %v, got\n%s%s\nwant %s in it", err, p.out.String(), p.err.String(), missing)
		}
	}
}

func TestExamplePython(t *testing.T) {
	t.Parallel()
	g := startBuiltIn(t, nil)
	p := spawn(t, "client.py", nil, exec.Command("../examples/client.py", "--gateway", g.url))
	p.until([]string{"message examples/python/value 'on'", "message examples/python/value 21.5", "message examples/python/value {'state': 'ok'}"})
	if err := p.end(); err != nil {
		t.Errorf("client.py: %v\n%s", err, p.err.String())
	}
	comesBack(t, g, func(addr string) *terminal {
		return spawn(t, "client.py --follow", nil, exec.Command("../examples/client.py", "--gateway", "http://"+addr, "--follow", "cut/+"))
	})
}

func TestExampleGo(t *testing.T) {
	t.Parallel()
	g := startBuiltIn(t, nil)
	cmd := exec.Command("go", "run", "../examples/fleet.go")
	cmd.Env = append(os.Environ(), "GATEWAY_URL="+g.url)
	p := spawn(t, "fleet.go", nil, cmd)
	err := p.end()
	for _, robot := range []string{"robot-1", "robot-2", "robot-3"} {
		var reports []string
		for line := range strings.Lines(p.out.String()) {
			if report, ok := strings.CutPrefix(line, "fleet/"+robot+"/report: "); ok {
				reports = append(reports, strings.TrimSpace(report))
			}
		}
		if got := strings.Join(reports, ","); got != "1,2,0" {
			t.Errorf("%s: got %s, want 1,2,0", robot, got)
		}
	}
	if err != nil || p.err.String() != "" {
		t.Errorf("fleet.go: %v\n%s", err, p.err.String())
	}
}

// With a key, the examples do the same at a gateway that asks for one.
func TestExamplesShowAKey(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	key := append(os.Environ(), "GATEWAY_TOKEN="+operatorKey)
	run := func(name string, cmd *exec.Cmd, want ...string) {
		t.Helper()
		cmd.Env = append(slices.Clone(key), cmd.Env...)
		p := spawn(t, name, nil, cmd)
		p.until(want)
		p.kill()
	}
	run("client.py", exec.Command("../examples/client.py", "--gateway", g.url), "message examples/python/value 'on'")
	run("curl.sh", exec.Command("../examples/curl.sh", g.url), `"status":"ready"`, "status 200")
	fleet := exec.Command("go", "run", "../examples/fleet.go")
	fleet.Env = []string{"GATEWAY_URL=" + g.url}
	run("fleet.go", fleet, "fleet/robot-3/report: 0")
	if options := nodeOptions(t); options != nil {
		cmd := exec.Command("node", "../examples/node.mjs", g.ws, "pi/#")
		cmd.Env, cmd.Stdin = options, strings.NewReader("pi/3/led on\n")
		run("node.mjs", cmd, `message pi/3/led "on"`, "published: pi/3/led on: acknowledged")
	}
}

// The fleets in every language end with all robots at home.
func TestExampleFleets(t *testing.T) {
	t.Parallel()
	open, closed := startBuiltIn(t, nil), asking(t, nil)
	commands := map[string]func() *exec.Cmd{
		"fleet.py": func() *exec.Cmd { return exec.Command("../examples/fleet.py") },
		"fleet.sh": func() *exec.Cmd { return exec.Command("../examples/fleet.sh") },
	}
	options := nodeOptions(t)
	if options != nil {
		commands["fleet.mjs"] = func() *exec.Cmd { return exec.Command("node", "../examples/fleet.mjs") }
	}
	for name, command := range commands {
		for key, g := range map[string]*gateway{"": open, operatorKey: closed} {
			cmd := command()
			cmd.Env = append(append(os.Environ(), options...), "GATEWAY_URL="+g.url, "GATEWAY_TOKEN="+key)
			p := spawn(t, name, nil, cmd)
			if err := p.end(); err != nil {
				t.Errorf("%s: %v\n%s", name, err, p.err.String())
			}
			for robot := 1; robot <= 3; robot++ {
				if n := strings.Count(p.out.String(), fmt.Sprintf("fleet/robot-%d/report", robot)); n != 3 {
					t.Errorf("%s: got %d reports of robot %d, want 3:\n%s%s", name, n, robot, p.out.String(), p.err.String())
				}
				if v := g.do(request{method: "GET", path: fmt.Sprintf("/topics/fleet/robot-%d/report", robot), header: map[string]string{"Authorization": "Bearer " + operatorKey}}); strings.ReplaceAll(v.body, " ", "") != `{"x":0}` {
					t.Errorf("%s: got %d %s, want robot %d at home", name, v.status, v.body, robot)
				}
			}
		}
	}
}

func TestExampleFleetInABrowser(t *testing.T) {
	t.Parallel()
	pages := httptest.NewServer(http.FileServer(http.Dir("../examples")))
	t.Cleanup(pages.Close)
	g := startBuiltIn(t, map[string]string{"GATEWAY_ALLOWED_ORIGINS": pages.URL})
	b := openTab(t)
	b.do(chromedp.Navigate(pages.URL + "/fleet.html#" + g.url))
	eventually(t, "the page is subscribed", func() bool { return b.js("document.querySelector('#said').textContent") == "open" })
	for i, order := range []string{"forward", "forward", "home"} {
		b.js(`([...document.querySelectorAll('li')].map(li => [...li.querySelectorAll('button')].find(b => b.textContent === '%s').click()), 'clicked')`, order)
		want := fmt.Sprintf("x = %d", (i+1)%3)
		eventually(t, "all robots are at "+want, func() bool {
			return b.js(`[...document.querySelectorAll('output')].map(o => o.textContent).join()`) == strings.Join([]string{want, want, want}, ",")
		})
	}
}

// comesBack cuts a client's connection, and holds the client to its promise:
// what was published meanwhile arrives, without a gap.
func comesBack(t *testing.T, g *gateway, client func(addr string) *terminal) {
	t.Helper()
	eventually(t, "earlier clients have gone", func() bool { return g.metric("gateway_subscriptions") == 0 })
	network := brokertest.StartProxy(t, g.host())
	p := client(network.Addr())
	eventually(t, "the client is there", func() bool { return g.metric("gateway_subscriptions") == 1 })
	g.post(`{"topic":"cut/1","payload":"before"}`)
	p.until([]string{"cut/1"})
	network.Refuse(true)
	network.Cut()
	eventually(t, "the client has gone", func() bool { return g.metric("gateway_subscriptions") == 0 })
	g.post(`{"topic":"cut/2","payload":"meanwhile"}`)
	network.Heal()
	p.until([]string{"cut/2"})
	g.post(`{"topic":"cut/3","payload":"after"}`)
	p.until([]string{"cut/3"})
	out := p.out.String()
	if strings.Count(out, "cut/") != 3 || strings.Contains(out, "gap") {
		t.Errorf("%s: got\n%s\nwant three messages and no gap", p.name, out)
	}
	p.kill()
}

func TestExampleBrowser(t *testing.T) {
	t.Parallel()
	pages := httptest.NewServer(http.FileServer(http.Dir("../examples")))
	t.Cleanup(pages.Close)
	g := startBuiltIn(t, map[string]string{"GATEWAY_ALLOWED_ORIGINS": pages.URL})
	network := brokertest.StartProxy(t, g.host())
	b := openTab(t)
	b.do(chromedp.Navigate(pages.URL + "/browser.html?gateway=" + url.QueryEscape("ws://"+network.Addr()+"/ws")))
	until := func(id, words string) {
		t.Helper()
		eventually(t, fmt.Sprintf("the page shows %q in %s", words, id), func() bool {
			return strings.Contains(b.js("document.getElementById('%s').textContent", id), words)
		})
	}
	until("state", "open")
	eventually(t, "the page is subscribed", func() bool { return g.metric("gateway_subscriptions") == 1 })
	b.js(`(document.querySelector('#publish button').click(), 'clicked')`)
	until("outcome", "pi/3/led on: acknowledged")
	until("rows", "pi/3/led")
	network.Refuse(true)
	network.Cut()
	until("state", "again in")
	g.post(`{"topic":"pi/3/door","payload":"<b>open</b>"}`)
	network.Heal()
	until("rows", "resumed")
	until("rows", "<b>open</b>")
	if got := b.js(`document.querySelectorAll('.gap, #rows b').length`); got != "0" {
		t.Errorf("the page shows %s gaps or elements from a payload, want none", got)
	}
}
