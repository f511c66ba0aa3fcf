package test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/brokertest"
)

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
	key := append(os.Environ(), "GATEWAY_TOKEN="+operatorKey, "GATEWAY_URL="+g.url)
	run := func(name string, cmd *exec.Cmd, want ...string) {
		t.Helper()
		cmd.Env = append(slices.Clone(key), cmd.Env...)
		p := spawn(t, name, nil, cmd)
		p.until(want)
		p.kill()
	}
	run("client.py", exec.Command("../examples/client.py"), "message examples/python/value 'on'")
	run("curl.sh", exec.Command("../examples/curl.sh"), `"status":"ready"`, "status 200")
	run("fleet.go", exec.Command("go", "run", "../examples/fleet.go"), "fleet/robot-3/report: 0")
	if options := nodeOptions(t); options != nil {
		cmd := exec.Command("node", "../examples/node.mjs")
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
