package test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/brokertest"
	sdkjs "github.com/vulturepi/gateway/sdk/js"
)

func TestSDKIsSmall(t *testing.T) {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	_, _ = w.Write(sdkjs.Source)
	_ = w.Close()
	if b.Len() > 6<<10 {
		t.Errorf("sdk.js has %d bytes gzipped, want at most 6144", b.Len())
	}
	if g := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1"}); g.get(g.url+"/sdk.js") != string(sdkjs.Source) {
		t.Error("/sdk.js is not sdk/js/sdk.js")
	}
}

// sdkScript is what the tests' pages do with the module. They count timers, so
// that one which is left can be seen.
const sdkScript = `
window.timers = new Set();
const set = window.setTimeout, clear = window.clearTimeout;
window.setTimeout = (f, ms, ...args) => { const t = set(() => { timers.delete(t); f(...args); }, ms); timers.add(t); return t; };
window.clearTimeout = t => { timers.delete(t); clear(t); };
window.until = condition => new Promise(resolve => {
  const timer = setInterval(() => { if (condition()) { clearInterval(timer); resolve('yes'); } }, 5);
});
window.states = [];
window.open_ = async options => {
  const sdk = window.sdk = await import('/sdk.js');
  const gw = window.gw = sdk.connect(options);
  gw.onstate = s => states.push(s.state);
  return until(() => gw.state === 'open');
};
window.watch = (filter, options) => {
  const log = [];
  log.sub = gw.subscribe(filter, {
    ...options, onMessage: m => log.push(m), onGap: g => log.push(g), onReady: () => log.ready = (log.ready || 0) + 1, onError: e => log.push({type: 'error', code: e.code, status: e.status}),
  });
  return log;
};
window.payloads = log => log.map(x => x.type === 'message' ? x.payload : x.type + ' ' + (x.reason || x.code)).join();
window.outcome = promise => promise.then(r => r === null ? 'null' : r.payload ?? [r.status, r.delivery].join(' '), e => [e.name, e.status, e.code, e.retryable].join(' '));
`

// sdkPage is a page of g that has connected; messages go through a proxy that
// can spoil the connection.
func sdkPage(t *testing.T, env map[string]string, options string) (*tab, *gateway, *brokertest.Proxy, func(topic, payload string, retain bool)) {
	t.Helper()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), env)
	proxy := brokertest.StartProxy(t, g.host())
	g.url = "http://" + proxy.Addr()
	b := openTab(t)
	b.do(chromedp.Navigate(g.url+"/livez"), chromedp.Evaluate[chromedp.Void](sdkScript))
	b.js(`open_(%s)`, options)
	raw := brokertest.Dial(t, broker.Addr())
	return b, g, proxy, func(topic, payload string, retain bool) {
		t.Helper()
		if err := raw.Publish(topic, []byte(payload), 1, retain); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *tab) want(expression, want string) {
	b.t.Helper()
	if got := b.js("%s", expression); got != want {
		b.t.Errorf("%s: got %.600s, want %.600s", expression, got, want)
	}
}

func numbers(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(i)
	}
	return strings.Join(all, ",")
}

func TestSDKPublishesReadsAndAsks(t *testing.T) {
	t.Parallel()
	b, _, _, publish := sdkPage(t, nil, "")
	publish("k/kept", "21.50", true)
	b.js(`(window.all = watch('k/#'), until(() => all.ready))`)
	b.want(`all.map(m => [m.topic, m.payload, m.retain, m.cursor === undefined].join(' ')).join()`, "k/kept 21.5 true true")
	b.want(`JSON.stringify(JSON.parse(all[0].json)) !== all[0].json && all[0].json.includes('"payload":21.50,')`, "true")
	b.want(`outcome(gw.publish('k/text', 'on'))`, "200 acknowledged")
	b.want(`outcome(gw.publish('k/json', {a: [1, null]}, {qos: 0}))`, "202 sent")
	b.want(`outcome(gw.publish('k/raw', new Uint8Array([255, 254, 0])))`, "200 acknowledged")
	b.want(`outcome(gw.publish('k/buffer', new Uint8Array([255]).buffer, {retain: true}))`, "200 acknowledged")
	b.js(`until(() => all.length === 5)`)
	b.want(`all.slice(1).map(m => m.topic.slice(2) + ' ' + (m.payload instanceof Uint8Array ? 'bytes ' + [...m.payload] : JSON.stringify(m.payload))).sort().join('|')`,
		`buffer bytes 255|json {"a":[1,null]}|raw bytes 255,254,0|text "on"`)
	b.want(`outcome(gw.publish('k/once', 'x', {key: 'k-1'}))`, "200 acknowledged")
	b.want(`outcome(gw.publish('k/once', 'x', {key: 'k-1'}))`, "200 acknowledged")
	b.want(`outcome(gw.publish('k/large', 'x'.repeat(250000)))`, "200 acknowledged")
	b.js(`until(() => all.some(m => m.topic === 'k/large' && m.payload.length === 250000))`)
	b.want(`all.filter(m => m.topic === 'k/once').length`, "1")
	b.want(`outcome(gw.publish('k/+', 'x'))`, "GatewayError 422 topic_wildcard false")
	b.want(`outcome(gw.publish('k/x'))`, "GatewayError 400 invalid_payload false")
	b.want(`outcome(gw.publish('k/x', 'a'.repeat(300000)))`, "GatewayError 413 payload_too_large false")
	b.want(`outcome(gw.get('k/kept'))`, "21.5")
	b.want(`outcome(gw.get('k/never seen/ü?'))`, "null")
	// A URL cannot have the levels . and .., which lead to other topics there.
	for _, topic := range []string{"k/kept/x/..", "k/./kept", "../k/kept", "k/kept/."} {
		b.want(fmt.Sprintf(`outcome(gw.get('%s'))`, topic), "null")
	}
	publish("k/../dots", "3", true)
	b.js(`until(() => all.some(m => m.topic === 'k/../dots'))`)
	b.want(`outcome(gw.get('k/../dots'))`, "3")
	b.want(`outcome(gw.request('k/set', 'on', {reply: 'k/set', timeout: 60000}))`, "on")
	b.want(`outcome(gw.request('k/set', 'on', {reply: 'k/nobody', timeout: '1s'}))`, "GatewayError 504 no_reply false")
	b.want(`(window.bad = watch(['k/#/x', 'k/good']), until(() => bad.ready).then(() => payloads(bad)))`, "error filter_syntax")
	b.want(`states.join()`, "connecting,open")
	b.js(`(window.asked = gw.publish('k/last', 1), gw.close(), 'done')`)
	b.want(`outcome(asked)`, "GatewayError 504 outcome_unknown false")
	b.want(`outcome(gw.publish('k/late', 1, {queue: true}))`, "GatewayError 503 not_connected true")
	b.want(`[gw.state, timers.size].join()`, "closed,0")
	if got := b.complaints(); len(got) > 0 && !strings.Contains(strings.Join(got, " "), "status of 4") {
		t.Errorf("mistakes on the page: %q", got)
	}
}

// One socket carries all subscriptions, and each of them gets what it would get
// alone: whoever comes later, with a filter that others have, or from an
// earlier place.
func TestSDKSubscriptionsShareOneSocket(t *testing.T) {
	t.Parallel()
	b, g, _, publish := sdkPage(t, nil, "")
	publish("s/a", "old", true)
	b.js(`(window.one = watch('s/#'), until(() => one.ready))`)
	for i := range 20 {
		publish("s/n", fmt.Sprint(i), false)
	}
	b.js(`until(() => one.length === 21)`)
	// The same filter again, an overlapping one, and the past.
	b.js(`(window.two = watch('s/#'), window.three = watch(['s/+', 's/a'], {minInterval: '100ms'}), window.past = watch('s/n', {since: '1h'}), window.more = watch(['s/n', 's/m'], {since: '1h'}), until(() => two.ready && three.ready && past.ready && more.ready))`)
	b.want(`payloads(past)`, numbers(20))
	b.want(`payloads(more)`, numbers(20))
	b.want(`two.map(m => m.topic + ' ' + m.payload).sort().join()`, "s/a old,s/n 19")
	b.want(`three.filter(m => m.topic === 's/a').map(m => m.payload).join()`, "old")
	b.js(`(three.sub.close(), 'done')`)
	for i := 20; i < 30; i++ {
		publish("s/n", fmt.Sprint(i), false)
	}
	b.js(`until(() => [one, two, past, more].every(l => l.at(-1).payload === 29))`)
	b.want(`payloads(past)`, numbers(30))
	b.want(`payloads(more)`, numbers(30))
	b.want(`payloads(one)`, "old,"+numbers(30))
	b.want(`payloads(two.filter(m => m.cursor))`, "20,21,22,23,24,25,26,27,28,29")
	b.want(`three.some(m => m.payload >= 20)`, "false")
	if n := g.metric(`gateway_subscribers{transport="websocket"}`); n != 1 {
		t.Errorf("got %v sockets, want 1", n)
	}
	b.js(`(one.sub.close(), two.sub.close(), past.sub.close(), more.sub.close(), 'done')`)
	eventually(t, "no filter is left", func() bool { return g.metric("gateway_subscriptions") == 0 })
}

func TestSDKLosesNothingOverCutsAndStalls(t *testing.T) {
	t.Parallel()
	b, _, proxy, publish := sdkPage(t, nil, "{heartbeat: 1000}")
	b.js(`(window.all = watch('c/#'), window.some = watch('c/n'), window.slow = watch(['c/n', 'c/x'], {overflow: 'latest'}), until(() => all.ready && some.ready && slow.ready))`)
	b.js(`(window.listed = [], (async () => { for await (const m of gw.messages('c/n')) listed.push(m); })(), window.late = watch('c/n'), until(() => late.ready))`)
	n := 0
	more := func() {
		for range 20 {
			publish("c/n", fmt.Sprint(n), false)
			n++
		}
	}
	for _, name := range []string{"past", "older"} {
		more()
		proxy.Refuse(true)
		proxy.Cut()
		more() // while it is away
		b.js(`until(() => gw.state === 'waiting')`)
		b.js(`(window.%s = watch('c/+', {since: '1h'}), 'begun')`, name) // joins with those who resume, from elsewhere
		proxy.Refuse(false)
		b.js(`(gw.wake(), until(() => gw.state === 'open'))`)
		more()
	}
	proxy.Stall(true, true) // the socket stays open, and nothing passes
	more()
	b.js(`until(() => gw.state === 'waiting')`)
	proxy.Cut()
	proxy.Heal()
	more()
	for _, log := range []string{"all", "some", "slow", "late", "listed", "past", "older"} {
		b.js(`until(() => %s.some(m => m.payload === %d))`, log, n-1)
		b.want("payloads("+log+")", numbers(n))
	}
	b.want(`(gw.close(), [gw.state, timers.size].join())`, "closed,0")
}

// The answer to a ping of the heartbeat belongs to no op, so it ends none.
func TestSDKsHeartbeatIsQuiet(t *testing.T) {
	t.Parallel()
	b, _, _, publish := sdkPage(t, nil, `{heartbeat: 1000, WebSocket: class extends WebSocket {
		set onmessage(f) { super.onmessage = e => { window.pongs = (window.pongs || 0) + (e.data === '{"type":"pong"}'); f(e) } }
	}}`)
	b.js(`until(() => window.pongs > 0)`) // nothing is under way
	b.js(`(window.log = watch('h/#'), until(() => log.ready))`)
	b.js(`(window.pongs = 0, until(() => pongs > 0))`)
	publish("h/x", "1", false)
	b.js(`until(() => log.length)`)
	b.want(`payloads(log)`, "1")
	b.noMistakes()
}

// A device that sets its clock back by an hour does not give up its socket.
func TestSDKIgnoresAClockThatIsSet(t *testing.T) {
	t.Parallel()
	b, _, _, publish := sdkPage(t, nil, `{heartbeat: 2000, WebSocket: class extends WebSocket {
		set onmessage(f) { super.onmessage = e => { window.pongs = (window.pongs || 0) + (e.data === '{"type":"pong"}'); f(e) } }
	}}`)
	b.js(`(window.log = watch('h/#'), until(() => log.ready))`)
	b.js(`until(() => window.pongs > 0)`)
	b.js(`(window.clock = Date.now, Date.now = () => clock() - 3600e3, 'back')`)
	publish("h/x", "1", false)
	b.js(`until(() => log.length)`)
	b.js(`(window.pongs = 0, until(() => pongs > 1 || states.includes('waiting')))`)
	b.want(`states.includes('waiting') ? 'given up' : 'kept'`, "kept")
}

// noMistakes fails if the page made some; that it has no icon is none.
func (b *tab) noMistakes() {
	b.t.Helper()
	for _, mistake := range b.complaints() {
		if !strings.Contains(mistake, "favicon.ico") {
			b.t.Errorf("mistake on the page: %s", mistake)
		}
	}
}

func TestSDKTellsGaps(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_HISTORY_BYTES": "3000"})
	proxy := brokertest.StartProxy(t, g.host())
	b := openTab(t)
	b.do(chromedp.Navigate("http://"+proxy.Addr()+"/livez"), chromedp.Evaluate[chromedp.Void](sdkScript))
	b.js(`open_()`)
	raw := brokertest.Dial(t, broker.Addr())
	publish := func(payload string) {
		if err := raw.Publish("g/n", []byte(payload), 1, true); err != nil {
			t.Fatal(err)
		}
	}
	b.js(`(window.log = watch('g/n'), until(() => log.ready))`)
	publish("0")
	b.js(`until(() => log.length === 1)`)
	proxy.Refuse(true)
	proxy.Cut()
	b.js(`until(() => gw.state === 'waiting')`)
	for i := range 100 { // more than the history holds
		publish(fmt.Sprint(1000 + i))
	}
	eventually(t, "the gateway has them all", func() bool { return g.metric("gateway_messages_received_total") >= 101 })
	proxy.Refuse(false)
	b.js(`(gw.wake(), until(() => log.some(m => m.payload === 1099)))`)
	b.want(`payloads(log)`, "0,gap history_expired,1099")
	// The broker goes and comes back.
	broker.Stop()
	b.js(`(window.brokers = [], gw.onbroker = b => brokers.push(b.connected), 'done')`)
	g.waitReady(503)
	broker.StartAgain()
	g.waitReady(200)
	b.js(`until(() => log.some(m => m.reason === 'broker_connection_lost'))`)
	b.want(`log.filter(m => m.reason === 'broker_connection_lost').length`, "1")
}

func TestSDKQueuesOnlyWhenAskedTo(t *testing.T) {
	t.Parallel()
	b, _, proxy, _ := sdkPage(t, nil, "")
	b.js(`(window.log = watch('q/#'), until(() => log.ready))`)
	proxy.Refuse(true)
	proxy.Cut()
	b.js(`until(() => gw.state === 'waiting')`)
	b.want(`outcome(gw.publish('q/a', 1))`, "GatewayError 503 not_connected true")
	b.want(`outcome(gw.request('q/a', 1, {reply: 'q/b'}))`, "GatewayError 503 not_connected true")
	b.js(`(window.queued = Array.from({length: 100}, (_, i) => gw.publish('q/n', i, {queue: true})), 'done')`)
	b.want(`outcome(gw.publish('q/n', 100, {queue: true}))`, "GatewayError 503 not_connected true")
	proxy.Refuse(false)
	b.want(`(gw.wake(), Promise.all(queued).then(all => all.filter(r => r.status === 200).length))`, "100")
	b.js(`until(() => log.length === 100)`)
	b.want(`payloads(log)`, numbers(100))
}

// Whoever comes back does not come back with all others: each pause is drawn
// between nothing and a limit that doubles from half a second to 20 seconds.
func TestSDKWaitsWithFullJitter(t *testing.T) {
	t.Parallel()
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1"})
	b := openTab(t)
	// A page without scripts, which would have timers of their own.
	b.do(chromedp.Navigate(g.url+"/livez"), chromedp.Evaluate[chromedp.Void](sdkScript))
	const pauses = `import('/sdk.js').then(async sdk => {
		class Refused { constructor() { setTimeout_(() => this.onclose({code: 1006, reason: ''}), 0) } readyState = 0; close() {} send() {} }
		const setTimeout_ = window.setTimeout, random = Math.random, all = [];
		window.setTimeout = (f, ms) => (all.push(ms), setTimeout_(f, 0));
		Math.random = () => %s;
		const gw = sdk.connect({WebSocket: Refused, heartbeat: 1e9});
		await until(() => all.filter(ms => ms < 1e8).length >= 9);
		gw.close();
		window.setTimeout = setTimeout_, Math.random = random;
		return all.filter(ms => ms < 1e8).slice(0, 9).join();
	})`
	for random, want := range map[string]string{"1": "500,1000,2000,4000,8000,16000,20000,20000,20000", "0": "0,0,0,0,0,0,0,0,0", "0.5": "250,500,1000,2000,4000,8000,10000,10000,10000"} {
		if got := b.js(pauses, random); got != want {
			t.Errorf("with random %s: got %s, want %s", random, got, want)
		}
	}
}

// A copy that overtakes its own live message is not followed by that, and what
// is live behind it comes.
func TestSDKTellsACopyFromItsLiveMessage(t *testing.T) {
	t.Parallel()
	b, _, _, publish := sdkPage(t, nil, `{heartbeat: 200, WebSocket: class extends WebSocket {
		set onmessage(f) { super.onmessage = e => window.held ? held.push(() => f(e)) : f(e) }
	}}`)
	publish("c/x", "1", true)
	b.js(`(window.first = watch('c/#'), until(() => first.ready && first.length === 1))`)
	b.js(`(() => {
		const real = window.fetch;
		window.fetch = async (url, init) => {
			if (!String(url).includes('topics')) return real(url, init);
			window.fetch = real;
			window.held = [];
			await real('/topics/c/x', {method: 'POST', body: '2'});
			await until(() => held.length);
			return real(url, init);
		};
		window.second = watch('c/#');
		return until(() => second.length === 1);
	})()`)
	b.js(`(() => { const all = held; window.held = undefined; all.forEach(f => f()); return until(() => second.ready) })()`)
	publish("c/x", "3", false)
	b.js(`until(() => first.length === 3 && second.length > 1)`)
	b.want(`payloads(second)`, "2,3")
	b.want(`payloads(first)`, "1,2,3")
	b.js(`new Promise(r => setTimeout(() => r('a few heartbeats later'), 1000))`)
	b.noMistakes()
}
