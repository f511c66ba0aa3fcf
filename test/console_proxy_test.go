package test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// front is a reverse proxy as people have it: it has a path of its own, and
// says who the caller is.
func front(t *testing.T, g *gateway, path, user string) string {
	t.Helper()
	target, err := url.Parse(g.url)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", target.Host
		below, ok := strings.CutPrefix(r.In.URL.EscapedPath(), path+"/")
		if !ok {
			below = "not-below"
		}
		r.Out.URL.Path, r.Out.URL.RawPath = "/"+mustUnescape(below), "/"+below
		if user != "" {
			r.Out.Header.Set("Remote-User", user)
			r.SetXForwarded()
		}
	}})
	t.Cleanup(s.Close)
	return s.URL + path
}

// visitConsole opens a page of the console.
func visitConsole(t *testing.T, url string) *tab {
	t.Helper()
	b := openTab(t)
	b.do(chromedp.Navigate(url), chromedp.Evaluate[chromedp.Void](consoleScript))
	return b
}

// Behind a proxy with a path of its own, everything stays below it.
func TestConsoleWorksBelowAPath(t *testing.T) {
	t.Parallel()
	at := front(t, startReady(t, brokertest.Start(t).URL(), nil), "/mqtt", "")
	b := visitConsole(t, at+"/")
	b.js(`until(() => words('state').includes('live'))`)
	b.js(`(location.hash = '#/publish', type('publish-topic', 'below/a path'), type('publish-payload', '1'), type('publish-retain', 'true'), press('publish-send'))`)
	b.js(`until(() => words('publish-result').includes('200 acknowledged'))`)
	b.js(`until(() => row('below/a path'))`)
	b.js(`(row('below/a path').click(), until(() => words('value') === '1' && part('history').querySelector('.entry')))`)
	link := b.js(`location.href`)
	b.js(`(press('clear'), press('clear-confirm'), until(() => words('topic-said').startsWith('Cleared')))`)
	b.mu.Lock()
	for _, r := range b.requests {
		if u, err := url.Parse(r); err != nil || u.Scheme != "data" && !strings.HasPrefix(u.Path, "/mqtt/") {
			t.Errorf("the page asked %s, want only what is below /mqtt/", r)
		}
	}
	b.mu.Unlock()
	// The link of a topic opens it, in a tab that has seen nothing yet.
	b = visitConsole(t, link)
	b.js(`until(() => words('topic-name') === 'below/a path' && words('state').includes('live'))`)
}

// Behind a proxy that has logged the caller in, nobody is asked again.
func TestConsoleBehindAProxyThatLogsIn(t *testing.T) {
	t.Parallel()
	env, _ := withAccess(t, accessRules("  - name: ann\n    subscribe: [\"pump/#\"]\n    publish: [\"pump/1/#\"]\n"))
	env["GATEWAY_AUTH"], env["GATEWAY_TRUSTED_PROXIES"] = "header", "127.0.0.0/8"
	g := startReady(t, brokertest.Start(t).URL(), env)
	b := visitConsole(t, front(t, g, "/mqtt", "ann")+"/#/publish")
	b.js(`until(() => words('whoami') === 'ann (header)' && words('state').includes('live'))`)
	if open := b.js(`document.querySelector('#login-dialog').open`); open != "false" {
		t.Errorf("the login is open: %s", open)
	}
	b.js(`(type('publish-topic', 'pump/1/led'), type('publish-payload', 'on'), press('publish-send'))`)
	b.js(`until(() => words('publish-result').includes('200 acknowledged') && row('pump/1/led'))`)
	b.js(`(type('publish-topic', 'pump/2/led'), press('publish-send'))`)
	b.js(`until(() => words('publish-result').includes('403'))`)
	if res, err := http.Get(g.url + "/auth/whoami"); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("whoami without the proxy: got %v, %v", res, err)
	}
}
