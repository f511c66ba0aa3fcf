package test

import (
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/spectest"
)

// Two thousand clients that lose a gateway in one moment come back spread over
// the time: played by a clock of the test's, for a minute in which it stays away.
func TestSDKsOfAStormDoNotStampede(t *testing.T) {
	t.Parallel()
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1"})
	b := openTab(t)
	b.do(chromedp.Navigate(g.url+"/livez"), chromedp.Evaluate[chromedp.Void](sdkScript))
	const clients = 2000
	type storm struct{ First, Later, All int }
	got := spectest.Decode[storm](t, b.js(`import('/sdk.js').then(async sdk => {
		const real = [window.setTimeout, window.clearTimeout], timers = new Map(), dials = [];
		let now = 0, ids = 0;
		window.setTimeout = (f, ms = 0) => (timers.set(++ids, {f, at: now + ms}), ids);
		window.clearTimeout = id => timers.delete(id);
		class Gone { constructor() { dials.push(now); gone.push(this); } readyState = 0; close() {} send() {} }
		let gone = [];
		const all = Array.from({length: %d}, () => sdk.connect({WebSocket: Gone, heartbeat: 1e9}));
		const {port1, port2} = new MessageChannel(), turn = () => new Promise(r => { port1.onmessage = r; port2.postMessage(0); });
		await turn();
		dials.length = 0;
		for (now = 0; now < 60000; now += 10) {
			const closing = gone;
			gone = [];
			closing.forEach(s => s.onclose?.({code: 1006, reason: ''}));
			let due = false;
			for (const [id, t] of timers) if (t.at <= now) timers.delete(id), t.f(), due = true;
			if (due || closing.length) await turn();
		}
		const most = (from, width) => { const n = {}; dials.filter(d => d >= from).forEach(d => n[d / width | 0] = (n[d / width | 0] ?? 0) + 1); return Math.max(...Object.values(n)); };
		all.forEach(gw => gw.close());
		[window.setTimeout, window.clearTimeout] = real;
		return {First: most(0, 50), Later: most(30000, 1000), All: dials.length};
	})`, clients))
	// The first pauses lie in half a second; from the seventh on a client comes every ten seconds.
	if got.First > clients/5 || got.Later > clients/4 || got.All < 5*clients {
		t.Errorf("of %d clients %d come in one 50 ms, later %d in one second, %d in all; want 400 and 500 at most, and five tries each", clients, got.First, got.Later, got.All)
	}
	t.Logf("%+v", got)
}

// Node.js 20 and 22 tell of a connection that cannot be made by an error alone,
// while the socket says that it still connects.
func TestSDKTriesAgainAfterAnErrorAlone(t *testing.T) {
	t.Parallel()
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1"})
	b := openTab(t)
	b.do(chromedp.Navigate(g.url+"/livez"), chromedp.Evaluate[chromedp.Void](sdkScript))
	b.want(`import('/sdk.js').then(async sdk => {
		let tried = 0;
		class Refused { constructor() { tried++; setTimeout(() => this.onerror({}), 0) } readyState = 0; close() {} send() {} }
		const gw = sdk.connect({WebSocket: Refused, heartbeat: 1e9});
		await until(() => tried > 1);
		gw.close();
		return 'tried again';
	})`, "tried again")
}

// A token goes in the first frame and never into the URL.
func TestSDKShowsItsTokenInTheFirstFrame(t *testing.T) {
	t.Parallel()
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1"})
	b := openTab(t)
	b.do(chromedp.Navigate(g.url+"/livez"), chromedp.Evaluate[chromedp.Void](sdkScript))
	b.js(`import('/sdk.js').then(sdk => {
		window.made = [];
		window.Played = class {
			constructor(url) { this.url = url; this.sent = []; made.push(this); queueMicrotask(() => this.say({type: 'welcome', epoch: 'e', cursor: 'e-0', limits: {}})); }
			readyState = 1;
			send(text) { this.sent.push(JSON.parse(text)); }
			say(frame) { this.onmessage?.({data: JSON.stringify(frame)}); }
			close() {}
		};
		window.tokens = 0;
		window.gw = sdk.connect({WebSocket: Played, token: async () => 'secret-' + ++tokens});
		window.log = watch('a/#');
		return 'done';
	})`)
	b.js(`until(() => made[0]?.sent.length)`)
	b.want(`JSON.stringify(made[0].sent) + made[0].url.split('/').at(-1)`, `[{"op":"auth","token":"secret-1","id":1}]ws`)
	b.js(`made[0].say({type: 'ack', id: 1, principal: 'me', expires: new Date(Date.now() + 30500).toISOString()}) || 'done'`)
	b.js(`until(() => made[0].sent.some(f => f.op === 'subscribe'))`)
	b.js(`until(() => made[0].sent.some(f => f.token === 'secret-2'))`) // before it expires
	b.js(`made[0].onclose({code: 4005, reason: 'token expired'}) || 'done'`)
	b.js(`(gw.wake(), until(() => made[1]?.sent.length))`)
	b.want(`made[1].sent[0].token`, "secret-3")
	b.js(`made[1].say({type: 'error', id: made[1].sent[0].id, problem: {status: 401, code: 'unauthenticated', detail: 'no'}}) || 'done'`)
	b.js(`until(() => gw.state === 'closed')`)
	b.want(`[made.length, timers.size].join()`, "2,0")
	// A ticket goes where it belongs, and no token with it.
	b.js(`import('/sdk.js').then(sdk => { window.gw = sdk.connect({WebSocket: Played, token: 'secret', ticket: async () => 't 1'}); return until(() => gw.state === 'open'); })`)
	b.want(`made[2].url.split('/').at(-1) + made[2].sent.length`, "ws?ticket=t+10")
	b.js(`made[2].onclose({code: 4503, reason: 'rights lost'}) || 'done'`)
	b.want(`gw.state`, "closed")
}

// Whoever closes in a callback leaves nothing behind, either.
func TestSDKMayBeClosedAtAnyTime(t *testing.T) {
	t.Parallel()
	b, _, proxy, publish := sdkPage(t, nil, "")
	publish("e/kept", "1", true)
	b.js(`(gw.close(), 'closed')`)
	const closing = `new Promise(resolve => {
		const gw = window.gw = sdk.connect(), end = () => { gw.close(); setTimeout(() => resolve([gw.state, timers.size].join()), 50); };
		gw.onstate = s => s.state === '%[1]s' && end();
		gw.onbroker = () => '%[1]s' === 'broker' && end();
		gw.subscribe('e/#', {onReady: () => '%[1]s' === 'ready' && end(), onMessage: () => '%[1]s' === 'message' && end()});
	})`
	for _, at := range []string{"connecting", "broker", "open", "message", "ready"} {
		if got := b.js(closing, at); got != "closed,0" {
			t.Errorf("closed at %s: got state and timers %s, want closed,0", at, got)
		}
	}
	proxy.Refuse(true)
	if got := b.js(closing, "waiting"); got != "closed,0" {
		t.Errorf("closed while waiting: got state and timers %s, want closed,0", got)
	}
	b.want(`outcome(gw.publish('e/x', 1))`, "GatewayError 503 not_connected true")
}
