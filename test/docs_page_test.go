package test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"
)

// The pages below /docs are the gateway's own: they fit a phone, are dark where
// the reader wants it, and lead to each other. What can be asked comes first.
func TestDocsFitEveryScreen(t *testing.T) {
	t.Parallel()
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1"})
	b := openTab(t)
	for _, page := range []struct{ path, first string }{
		{"/docs", `.opblock-post [data-path="/publish"]`}, {"/docs/websocket", "#subscribe"}, {"/docs/errors", "h2"},
	} {
		for _, screen := range []struct {
			width, height int64
			scheme        string
		}{{390, 844, "light"}, {390, 844, "dark"}, {1280, 800, "dark"}} {
			at := fmt.Sprintf("%s, %d wide, %s", page.path, screen.width, screen.scheme)
			b.viewport(screen.width, screen.height, screen.scheme)
			b.do(chromedp.Navigate(g.url+page.path), chromedp.WaitVisible(chromedp.CSS(page.first)))
			if page.path == "/docs" {
				b.do(chromedp.Click(chromedp.CSS(page.first)), chromedp.WaitVisible(chromedp.CSS(`.opblock-body .responses-table`)))
			}
			b.shown(fmt.Sprintf("docs-%d-%d-%s.png", len(page.path), screen.width, screen.scheme))
			beyond := b.js(`[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > %d).slice(0, 5).map(e => e.tagName + '.' + e.className).join(' ')`, screen.width)
			if got := b.js(`document.documentElement.scrollWidth`); got != fmt.Sprint(screen.width) || beyond != "" {
				t.Errorf("%s: the page is %s wide; beyond it is %q", at, got, beyond)
			}
			if top, err := strconv.ParseFloat(b.js(`document.querySelector('%s').getBoundingClientRect().top + scrollY`, page.first), 64); err != nil || top > float64(screen.height) {
				t.Errorf("%s: the first thing to ask is at %v of %d pixels (%v)", at, top, screen.height, err)
			}
			if got := b.js(`getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).every(c => c < 64)`); got != fmt.Sprint(screen.scheme == "dark") {
				t.Errorf("%s: its ground is dark: %s", at, got)
			}
		}
		for _, to := range []string{"/", "/docs", "/docs/websocket", "/docs/errors", "/openapi.yaml", "/asyncapi.yaml"} {
			if got := b.js(`[...document.querySelectorAll('.pages a')].some(a => a.href === '%s')`, g.url+to); got != "true" {
				t.Errorf("%s does not lead to %s", page.path, to)
			}
		}
	}
	b.do(chromedp.Navigate(g.url + "/docs/websocket"))
	frames := `["subscribe","unsubscribe","publish","request","ping","auth","welcome","ack","published","reply","message","gap","broker","error","snapshot_end","pong"]`
	if got := b.js(`%s.filter(id => !document.getElementById(id)?.nextElementSibling).join()`, frames); got != "" {
		t.Errorf("/docs/websocket has no %s", got)
	}
	b.checkOffline(t, g)
}
