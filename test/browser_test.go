package test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// tab is a page in a real Chromium.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex // guards all below
	requests []string   // what the page asked for
	mistakes []string   // exceptions, and errors on the console
}

// chromium is the path of the browser; the test fails if there is none.
func chromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium is installed: run scripts/test-deps.sh")
	return ""
}

// openTab starts a browser of its own, which ends with the test.
func openTab(t testing.TB) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 1000), chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-domain-reliability", true), chromedp.Flag("no-proxy-server", true),
		// Nothing is found but this machine.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
	)
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.event); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatalf("browser: %v", err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatalf("browser: %v", err)
	}
	return b
}

func (b *tab) event(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, ev.Request.URL)
	case *runtime.EventExceptionThrown:
		text := ev.ExceptionDetails.Text
		if thrown := ev.ExceptionDetails.Exception; thrown != nil {
			text += " " + thrown.Description
		}
		b.mistakes = append(b.mistakes, text)
	case *log.EventEntryAdded:
		if ev.Entry.Level == "error" {
			b.mistakes = append(b.mistakes, ev.Entry.Text+" "+ev.Entry.URL)
		}
	}
}

// perform carries out an action within the test's patience.
func perform[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatalf("browser: %v; mistakes on the page: %q", err, b.complaints())
	}
	return v
}

// do carries out actions that return nothing.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	perform(b, chromedp.Steps(actions...))
}

func (b *tab) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.mistakes)
}

// pageScript is what the test's pages can do: connect, wait for a frame, publish.
const pageScript = `
window.connect = url => new Promise(resolve => {
  const ws = window.socket = new WebSocket(url), frames = [], waiting = [];
  window.frame = wanted => new Promise(found => {
    waiting.push({wanted, found});
    frames.forEach(f => wanted(f) && found(f));
  });
  ws.onmessage = e => {
    const f = JSON.parse(e.data);
    frames.push(f);
    waiting.forEach(w => w.wanted(f) && w.found(f));
  };
  ws.onopen = () => resolve('open');
  ws.onerror = () => resolve('refused');
});
window.publish = async (url, type, body, mode) => {
  try {
    const r = await fetch(url, {method: 'POST', mode: mode || 'cors', headers: {'Content-Type': type}, body});
    return r.type === 'opaque' ? 'opaque' : String(r.status);
  } catch (e) { return 'failed'; }
};`

// visit opens a page and gives it pageScript.
func (b *tab) visit(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url), chromedp.Evaluate[chromedp.Void](pageScript))
}

// js evaluates an expression on the page, waiting for its promise.
func (b *tab) js(expression string, args ...any) string {
	b.t.Helper()
	script := "Promise.resolve(" + fmt.Sprintf(expression, args...) + ").then(v => typeof v === 'string' ? v : JSON.stringify(v))"
	return perform(b, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
}

// screenshot writes what is to be seen to a file and checks that it is a picture.
func (b *tab) screenshot(name string) {
	b.t.Helper()
	png := perform(b, chromedp.CaptureScreenshot())
	path := filepath.Join(b.t.TempDir(), name)
	if err := os.WriteFile(path, png, 0o600); err != nil || len(png) < 10_000 {
		b.t.Errorf("screenshot %s: %d bytes %v", name, len(png), err)
	}
}

func TestBrowserPublishesAndSubscribes(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	b := openTab(t)
	b.visit(g.url + "/docs")
	if got := b.js(`connect('ws://' + location.host + '/ws?topic=pi/%%23')`); got != "open" {
		t.Fatalf("WebSocket of the own page: got %s, want open", got)
	}
	b.js(`frame(f => f.type === 'ack')`)
	if got := b.js(`publish('/publish', 'application/json', JSON.stringify({topic: 'pi/3/led', payload: 'on'}))`); got != "200" {
		t.Errorf("publish of the own page: got %s, want 200", got)
	}
	const fields = `.then(f => [f.topic, f.payload, f.encoding, f.retain].join())`
	if got, want := b.js(`frame(f => f.topic === 'pi/3/led')`+fields), "pi/3/led,on,text,false"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := brokertest.Dial(t, broker.Addr()).Publish("pi/3/raw", []byte{0xff, 0xfe}, 1, false); err != nil {
		t.Fatal(err)
	}
	if got, want := b.js(`frame(f => f.topic === 'pi/3/raw')`+fields), "pi/3/raw,//4=,base64,false"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	b.js(`(socket.send('{"op":"ping","id":1}'), frame(f => f.type === 'pong'))`)
	if got := b.js(`socket.readyState`); got != "1" {
		t.Errorf("after the binary payload the socket is in state %s, want 1, open", got)
	}
	if got := b.complaints(); len(got) > 0 {
		t.Errorf("mistakes on the page: %q", got)
	}
}

// foreignPage is a web page of another origin.
func foreignPage(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>page</title><iframe name=hidden></iframe>"))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestForeignPageReachesNothing(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	oracle := brokertest.Dial(t, broker.Addr())
	oracle.Subscribe("#", 1)
	g := startReady(t, broker.URL(), nil)
	b := openTab(t)
	b.visit(foreignPage(t))
	const body = `'{"topic":"pi/3/led","payload":"on"}'`
	for _, row := range [][2]string{
		{`publish('%[1]s/publish', 'text/plain', ` + body + `)`, "failed"},
		{`publish('%[1]s/publish', 'text/plain', ` + body + `, 'no-cors')`, "failed"},
		{`publish('%[1]s/publish', 'application/json', ` + body + `)`, "failed"},
		{`navigator.sendBeacon('%[1]s/publish', ` + body + `)`, "true"},
		{`connect('ws' + '%[1]s'.slice(4) + '/ws?topic=%%23')`, "refused"},
		{`fetch('%[1]s/readyz').then(r => r.text(), e => 'failed')`, "failed"},
	} {
		if got := b.js(row[0], g.url); got != row[1] {
			t.Errorf("%s: got %s, want %s", row[0], got, row[1])
		}
	}
	b.js(`(() => {
		const form = document.createElement('form'), field = document.createElement('input');
		Object.assign(form, {action: '%s/publish', method: 'POST', enctype: 'text/plain', target: 'hidden'});
		Object.assign(field, {name: '{"topic":"pi/3/led","payload":"', value: '"}'});
		form.append(field); document.body.append(form); form.submit(); return 'sent';
	})()`, g.url)
	eventually(t, "the gateway has refused all four that came without a preflight", func() bool {
		return g.metric(`gateway_http_requests_total{method="POST",route="none",status="403"}`) == 4
	})
	if err := oracle.Publish("mark", nil, 1, false); err != nil {
		t.Fatal(err)
	}
	if got := oracle.WaitCount(1, patience); len(got) != 1 || got[0].Topic != "mark" {
		t.Errorf("the broker saw %v, want only the mark", got)
	}
	if n := g.metric(`gateway_subscribers{transport="websocket"}`); n != 0 {
		t.Errorf("%v WebSockets are open, want none", n)
	}
}

func TestListedPageWorks(t *testing.T) {
	t.Parallel()
	page := foreignPage(t)
	g := startReady(t, brokertest.Start(t).URL(), map[string]string{"GATEWAY_ALLOWED_ORIGINS": page})
	b := openTab(t)
	b.visit(page)
	if got := b.js(`connect('ws' + '%s'.slice(4) + '/ws?topic=pi/%%23')`, g.url); got != "open" {
		t.Fatalf("WebSocket of a listed page: got %s, want open", got)
	}
	b.js(`frame(f => f.type === 'ack')`)
	const call = `publish('%s/publish', '%s', '{"topic":"pi/3/led","payload":"on"}')`
	if got := b.js(call, g.url, "application/json"); got != "200" {
		t.Errorf("publish of a listed page: got %s, want 200", got)
	}
	if got := b.js(`frame(f => f.type === 'message').then(f => f.payload)`); got != "on" {
		t.Errorf("got %s, want on", got)
	}
	if got := b.js(call, g.url, "text/plain"); got != "415" {
		t.Errorf("text/plain of a listed page: got %s, want 415, readable", got)
	}
}

func TestDocsRenderWithoutTheInternet(t *testing.T) {
	t.Parallel()
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1"}) // no broker is needed to read
	b := openTab(t)
	b.visit(g.url + "/docs")
	b.do(chromedp.WaitVisible(chromedp.CSS(`.swagger-ui .info .title`)), chromedp.WaitVisible(chromedp.CSS(`.opblock-post [data-path="/publish"]`)))
	if got := b.js(`document.querySelector('.swagger-ui .info .title').textContent`); !strings.Contains(got, "Vulture") {
		t.Errorf("got title %q, want the gateway's", got)
	}
	b.do(chromedp.Click(chromedp.CSS(`.opblock-post [data-path="/publish"]`)), chromedp.WaitVisible(chromedp.CSS(`.opblock-post .opblock-body .responses-table`)))
	if got := b.js(`document.querySelector('.opblock-post .opblock-body').innerText`); !strings.Contains(got, "topic") || strings.Contains(got, "Could not resolve") {
		t.Errorf("the opened operation says %.300q", got)
	}
	b.screenshot("docs.png")
	b.checkOffline(t, g)
}

func TestErrorLinkLeadsToItsEntry(t *testing.T) {
	t.Parallel()
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1"})
	b := openTab(t)
	link := g.post(`{"topic":"a/+","payload":"x"}`).problem.Type
	b.do(chromedp.Navigate(g.url+"/"+link), chromedp.WaitVisible(chromedp.CSS(`:target`)))
	if got := b.js(`document.querySelector(':target').textContent`); got != "topic_wildcard" {
		t.Errorf("%s leads to %q, want topic_wildcard", link, got)
	}
	// The browser scrolls there by itself.
	perform(b, chromedp.Poll[bool](`(r => r.top > -1 && r.bottom <= innerHeight)(document.querySelector(':target').getBoundingClientRect())`))
	b.screenshot("errors.png")
	b.checkOffline(t, g)
}

// checkOffline fails if the page asked anybody but the gateway, or did not work.
func (b *tab) checkOffline(t *testing.T, g *gateway) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	own := g.host()
	elsewhere := slices.DeleteFunc(slices.Clone(b.requests), func(raw string) bool {
		u, err := url.Parse(raw)
		return err == nil && (u.Host == own || u.Scheme == "data" || u.Scheme == "blob")
	})
	if len(elsewhere) > 0 || len(b.requests) == 0 {
		t.Errorf("of %d requests these left for elsewhere: %q", len(b.requests), elsewhere)
	}
	if len(b.mistakes) > 0 {
		t.Errorf("mistakes on the page: %q", b.mistakes)
	}
}
