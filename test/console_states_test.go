package test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// Whatever breaks is said in words, and nothing is lost when it is whole again.
func TestConsoleSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil, [2]string{"w/n", "0"})
	c.open("w/n")
	c.until(`words('value') === '0'`)
	n := 0
	next := func() {
		n++
		c.publish("w/n", fmt.Sprint(n), true)
	}
	next()
	c.until(fmt.Sprintf(`words('value') === '%d'`, n))

	// The gateway cannot be reached; the page tries again, and by itself.
	c.proxy.Refuse(true)
	c.proxy.Cut()
	c.until(`words('state').includes('gateway not reachable') && words('state').includes('stream stopped') && /What is shown is of \d\d:\d\d:\d\d/.test(words('notice'))`)
	next()
	c.shown("broken.png")
	c.proxy.Refuse(false)
	c.js(`(document.querySelector('#again').click(), 'again')`)
	c.until(fmt.Sprintf(`words('state').includes('live') && words('value') === '%d'`, n))

	// A network that passes nothing is noticed, too.
	c.proxy.Stall(true, true)
	next()
	c.until(`words('state').includes('not reachable') || words('state').includes('connecting')`)
	c.proxy.Cut()
	c.proxy.Heal()
	c.until(fmt.Sprintf(`words('state').includes('live') && words('value') === '%d'`, n))
	c.want(`[...part('history').querySelectorAll('.entry:not([hidden]) .value')].map(e => +e.innerText).sort().join()`, "0,1,2,3")

	// A slow one is only slow.
	c.proxy.Slow(20000)
	next()
	c.until(fmt.Sprintf(`words('value') === '%d'`, n))
	c.proxy.Heal()

	// The broker goes and comes back: that is a gap.
	c.broker.Stop()
	c.until(`words('state').includes('broker lost') && words('state').includes('stream silent') && words('notice').includes('no connection to its broker since')`)
	c.broker.StartAgain()
	c.raw = brokertest.Dial(t, c.broker.Addr())
	c.until(`words('state').includes('broker connected') && words('state').includes('live') && words('gaps').includes('broker_connection_lost')`)
	c.until(`part('history').querySelector('.gap')`)

	// A tab that nobody sees leaves the gateway alone, and comes back at once.
	c.js(`(window.away = true, Object.defineProperty(document, 'hidden', {get: () => away, configurable: true}), 'hidden')`)
	c.proxy.Cut()
	c.until(`words('state').includes('not reachable')`)
	before := c.proxy.Accepted()
	next()
	c.js(`new Promise(r => setTimeout(() => r('a moment'), 1500))`)
	if got := c.proxy.Accepted(); got != before {
		t.Errorf("a hidden tab has connected %d times, want never", got-before)
	}
	c.js(`(window.away = false, document.dispatchEvent(new Event('visibilitychange')), 'seen')`)
	c.until(fmt.Sprintf(`words('state').includes('live') && words('value') === '%d'`, n))

	// The gateway is started anew: what it had remembered is gone, which is said.
	c.g.stopped(t)
	c.until(`words('state').includes('not reachable')`)
	startReady(t, c.broker.URL(), map[string]string{"GATEWAY_HTTP_ADDR": c.g.host()})
	c.js(`(document.querySelector('#again').click(), 'again')`)
	c.until(`words('state').includes('live') && words('gaps').includes('gateway_restarted')`)
	c.js(`(document.querySelector('#gap-button').click(), document.querySelector('#gap-seen').click(), 'seen')`)
	c.until(`part('gaps').hidden`)
	c.wellBehaved()
}

// playedAccess stands for a gateway with keys: it answers what the page asks
// about them, and notes what it shows.
const playedAccess = `
window.asked = []; window.tickets = [];
const real = window.fetch;
window.fetch = async (url, init = {}) => {
  const path = new URL(url).pathname, key = init.headers?.Authorization;
  asked.push(path + ' ' + (key ?? ''));
  const say = (status, body) => new Response(JSON.stringify(body), {status, headers: {'Content-Type': 'application/json'}});
  if (path.endsWith('/auth/whoami')) return key === 'Bearer gwk_good' ? say(200, {principal: 'ada', via: 'key', subscribe: ['#']}) : say(401, {code: 'unauthenticated', status: 401, detail: 'no'});
  if (path.endsWith('/auth/ticket')) return say(201, {ticket: 'ticket-' + tickets.length, expires_in: 30});
  return real(url, init);
};
window.WebSocket = class extends WebSocket {
  constructor(url, protocol) {
    const u = new URL(url);
    tickets.push(u.searchParams.get('ticket'));
    u.search = '';
    super(u.href, protocol);
  }
};
`

func TestConsoleKeepsAKeyInMemoryOnly(t *testing.T) {
	t.Parallel()
	c := &console{t: t, broker: brokertest.Start(t)}
	c.g = startReady(t, c.broker.URL(), nil)
	c.proxy = brokertest.StartProxy(t, c.g.host())
	c.tab = openTab(t)
	if _, err := chromedp.Call(c.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: playedAccess}); err != nil {
		t.Fatal(err)
	}
	c.load("/")
	c.until(`document.querySelector('#login-dialog').open && words('whoami') === 'not logged in'`)
	c.js(`(type('login-token', 'gwk_bad'), press('login-send'))`)
	c.until(`words('login-said') === 'The gateway does not know this key or token.'`)
	c.js(`(type('login-token', 'gwk_good'), press('login-send'))`)
	c.until(`words('whoami') === 'ada (key)' && words('state').includes('live')`)
	c.want(`[tickets.length, tickets.at(-1)].join()`, "2,ticket-1")
	c.want(`[part('login-token').value, JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie, performance.getEntriesByType('resource').some(r => r.name.includes('gwk_')), location.href.includes('gwk_')].join()`, ",{},{},,false,false")
	c.js(`press('logout')`)
	c.until(`words('whoami') === 'not logged in'`)
	c.want(`tickets.at(-1) ?? 'none'`, "none")
	c.wellBehaved()
	for _, r := range c.requests {
		if strings.Contains(r, "gwk_") {
			t.Errorf("a key is in the address %s", r)
		}
	}
}

// playedRights refuses the filter # as a gateway does to who may read a part.
const playedRights = `
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (text) {
  const f = JSON.parse(text);
  if (f.op !== 'subscribe' || !f.topics.includes('#')) return send.call(this, text);
  const results = [{topic: '#', ok: false, code: 'filter_forbidden', detail: 'You may not read #.'}];
  queueMicrotask(() => this.onmessage({data: JSON.stringify({type: 'ack', id: f.id, results, cursor: ''})}));
};
`

// Who may read a part of the topics sees that part, and is told.
func TestConsoleShowsWhatMayBeRead(t *testing.T) {
	t.Parallel()
	c := &console{t: t, broker: brokertest.Start(t)}
	c.g = startReady(t, c.broker.URL(), nil)
	c.proxy = brokertest.StartProxy(t, c.g.host())
	c.raw = brokertest.Dial(t, c.broker.Addr())
	c.publish("mine/a", "1", true)
	c.publish("others/a", "1", true)
	c.tab = openTab(t)
	rights := strings.Replace(playedAccess, "subscribe: ['#']", "subscribe: ['mine/#'], deny: ['mine/secret']", 1) + playedRights
	if _, err := chromedp.Call(c.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: rights}); err != nil {
		t.Fatal(err)
	}
	c.do(chromedp.Navigate("http://"+c.proxy.Addr()+"/"), chromedp.Evaluate[chromedp.Void](consoleScript))
	c.until(`document.querySelector('#login-dialog').open`)
	c.js(`(type('login-token', 'gwk_good'), press('login-send'))`)
	c.until(`row('mine/a') && words('state').includes('live')`)
	c.want(`document.querySelector('#tree-rights').innerText`, "You may read mine/#, without mine/secret; other topics are not shown.")
	c.want(`!row('others/a')`, "true")
	c.wellBehaved()
}

// Many topics at once: the page answers all the same. How fast it does on a
// machine of its own is bench's business; here only that it does.
func TestConsoleStandsManyTopics(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil)
	const topics = 3000
	done := make(chan error, 1)
	go func() {
		for i := range topics {
			if err := c.raw.Publish(fmt.Sprintf("many/%d/%d/value", i/50, i%50), fmt.Appendf(nil, `{"n":%d,"t":%d.50}`, i, i%40), 0, false); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	c.until(`row('many')`)
	c.js(`type('tree-filter', 'many/59/49')`)
	c.until(`row('many/59/49/value')`)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c.js(`type('tree-filter', '')`)
	c.until(`document.querySelector('#tree-size').innerText.replace(/\D/g, '') === '3000'`)
	c.until(`row('many').querySelector('.count').innerText.replace(/\D/g, '') === '3000'`)
	if got := c.js(`document.querySelectorAll('#tree .row').length < 100`); got != "true" {
		t.Errorf("the tree has %s rows, want only those that are seen", c.js(`document.querySelectorAll('#tree .row').length`))
	}
	c.js(`(document.querySelector('#tree-order').value = 'loudest', document.querySelector('#tree-order').dispatchEvent(new Event('change')), 'loudest')`)
	c.publish("loud", "1", false)
	for range 200 {
		c.publish("loud", "1", false)
	}
	c.until(`document.querySelector('#tree [aria-posinset="1"]').dataset.topic === 'loud'`)
	c.shown("many.png")
	c.wellBehaved()
}

// What the page looks like in all its states, to be looked at with SCREENSHOTS
// set to a directory; and that it fits a phone.
func TestConsoleFitsEveryScreen(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil)
	c.viewport(1280, 800, "light")
	c.shown("empty.png")
	c.furnish()
	for _, size := range []struct {
		name          string
		width, height int64
	}{{"phone", 390, 844}, {"tablet", 800, 1000}, {"wide", 1280, 800}, {"wall", 2560, 1300}} {
		for _, scheme := range []string{"light", "dark"} {
			c.viewport(size.width, size.height, scheme)
			for _, at := range []string{"#/", "#/topic/home/kitchen/climate", "#/stream/home/%23", "#/publish", "#/devices"} {
				c.js(`(location.hash = '%s', new Promise(r => setTimeout(() => r('drawn'), 400)))`, at)
				if got := c.js(`[document.documentElement.scrollWidth <= innerWidth, document.documentElement.scrollHeight <= innerHeight].join()`); got != "true,true" {
					t.Errorf("%d wide, %s: the page is larger than the screen: %s", size.width, at, got)
				}
				c.shown(fmt.Sprintf("%s-%s%s.png", size.name, scheme, strings.ReplaceAll(strings.SplitN(at, "/", 3)[1], "/", "-")))
				c.accessible(size.name + " " + scheme + " " + at)
			}
		}
	}
	c.wellBehaved()
}

// accessible asks axe-core, if AXE says where it is: make interop INTEROP=axe.
func (c *console) accessible(where string) {
	c.t.Helper()
	path := os.Getenv("AXE")
	if path == "" {
		return
	}
	axe, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	c.do(chromedp.Evaluate[chromedp.Void](string(axe) + ";0"))
	if got := c.js(`axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 140) + ' ' + n.failureSummary).join('; ')).join('\n'))`); got != "" {
		c.t.Errorf("%s: %s", where, got)
	}
}

// furnish makes a house of topics.
func (c *console) furnish() {
	rooms := []string{"kitchen", "bath", "living room", "office", "cellar"}
	for step := range 40 {
		for i, room := range rooms {
			c.publish("home/"+room+"/climate", fmt.Sprintf(`{"temperature":%.2f,"humidity":%d,"battery":{"percent":%d,"low":false},"ids":["a1","b2"]}`, 20+float64((step*7+i*13)%30)/10, 40+(step+i)%9, 90-i*7), true)
		}
		c.publish("home/meter/power", fmt.Sprintf("%.1f", 400+float64((step*37)%90)), false)
	}
	c.publish("home/office/lamp", "on", true)
	c.publish("home/door/camera", "\xff\xd8\xff\xe0\x00\x10JFIF", false)
	c.publish("home/door/bell", "", false)
	c.publish("vehicle/1/position", "52.5200,13.4050", false)
	c.until(`row('vehicle') && row('home/office/lamp')`)
}
