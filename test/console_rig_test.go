package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// consoleScript finds parts of the page by their data-testid.
const consoleScript = `
window.part = id => document.querySelector('[data-testid="' + id + '"]');
window.row = topic => document.querySelector('#tree .row:not([hidden])[data-topic="' + topic + '"]');
window.words = id => part(id).innerText.replace(/\s+/g, ' ').trim();
window.until = condition => new Promise(resolve => {
  const timer = setInterval(() => { try { if (condition()) { clearInterval(timer); resolve('yes'); } } catch {} }, 20);
});
window.type = (id, text) => {
  const e = part(id);
  if (e.type === 'checkbox') e.checked = text === 'true'; else e.value = text;
  e.dispatchEvent(new Event('input', {bubbles: true}));
  e.dispatchEvent(new Event('change', {bubbles: true}));
  return 'typed';
};
window.press = id => (part(id).click(), 'pressed');
`

// console is the page of a gateway with a broker of its own, and an independent
// client of that broker.
type console struct {
	*tab
	t      *testing.T
	broker *brokertest.Broker
	g      *gateway
	proxy  *brokertest.Proxy
	raw    *brokertest.Client
}

func openConsole(t *testing.T, env map[string]string, before ...[2]string) *console {
	t.Helper()
	c := &console{t: t, broker: brokertest.Start(t)}
	c.g = startReady(t, c.broker.URL(), env)
	c.proxy = brokertest.StartProxy(t, c.g.host())
	c.raw = brokertest.Dial(t, c.broker.Addr())
	for _, m := range before {
		c.publish(m[0], m[1], true)
	}
	c.tab = openTab(t)
	c.load("/")
	return c
}

func (c *console) load(path string) {
	c.t.Helper()
	c.do(chromedp.Navigate("http://"+c.proxy.Addr()+path), chromedp.Evaluate[chromedp.Void](consoleScript))
	c.js(`until(() => words('state').includes('live'))`)
}

func (c *console) publish(topic, payload string, retain bool) {
	c.t.Helper()
	if err := c.raw.Publish(topic, []byte(payload), 1, retain); err != nil {
		c.t.Fatal(err)
	}
}

// until waits for a condition on the page; what the page says instead is told.
func (c *console) until(condition string) {
	c.t.Helper()
	const script = `Promise.race([until(() => %s), new Promise(r => setTimeout(() => r(document.body.innerText), %d))])`
	if got := c.js(script, condition, patience.Milliseconds()); got != "yes" {
		c.t.Fatalf("not in time: %s; the page says\n%.3000s", condition, got)
	}
}

// open shows a topic by a click on its row.
func (c *console) open(topic string) {
	c.t.Helper()
	c.until(fmt.Sprintf("row(%q)", topic))
	c.js("(row(%q).click(), 'clicked')", topic)
	c.until(fmt.Sprintf("words('topic-name') === %q", topic))
}

func (c *console) key(keys ...string) {
	c.t.Helper()
	for _, k := range keys {
		c.do(chromedp.KeyEvent(k))
	}
}

// wellBehaved fails if the page asked somebody else, or made mistakes; what the
// browser says of requests that are answered with errors is none.
func (c *console) wellBehaved() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.mistakes {
		if !strings.Contains(m, "Failed to load resource") && !strings.Contains(m, "WebSocket connection to") {
			c.t.Errorf("mistake on the page: %s", m)
		}
	}
	for _, r := range c.requests {
		if !strings.Contains(r, c.proxy.Addr()) && !strings.HasPrefix(r, "blob:") && !strings.HasPrefix(r, "data:") {
			c.t.Errorf("the page asked %s", r)
		}
	}
}

// shown keeps a picture where SCREENSHOTS says, to be looked at.
func (b *tab) shown(name string) {
	b.t.Helper()
	b.screenshot(name)
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		png := perform(b, chromedp.CaptureScreenshot())
		if err := os.MkdirAll(dir, 0o700); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), png, 0o600); err != nil {
			b.t.Error(err)
		}
	}
}

// viewport changes the size of the page and its scheme, light or dark.
func (b *tab) viewport(width, height int64, scheme string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
	err := error(nil)
	_, err = chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	if err != nil {
		b.t.Fatal(err)
	}
}

func quoteJS(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x7f && r > 0x1f && r != '"' && r != '\\' && r != '%' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return `"` + b.String() + `"`
}
