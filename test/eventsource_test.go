package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// eventSourceScript opens an EventSource and remembers what it gets.
const eventSourceScript = `
window.watch = url => {
  const got = window.got = [], opened = window.opened = [];
  const es = window.es = new EventSource(url);
  const note = e => got.push({event: e.type, id: e.lastEventId, ...JSON.parse(e.data)});
  ['message', 'ack', 'gap', 'snapshot_end', 'broker'].forEach(type => es.addEventListener(type, note));
  es.onopen = () => opened.push(es.readyState);
};
window.until = condition => new Promise(resolve => {
  const timer = setInterval(() => { if (condition()) { clearInterval(timer); resolve('yes'); } }, 5);
});`

// eventSource opens a page of g with an EventSource of the query.
func eventSource(t *testing.T, g *gateway, query string) *tab {
	t.Helper()
	b := openTab(t)
	b.do(chromedp.Navigate(g.url+"/docs"), chromedp.Evaluate[chromedp.Void](eventSourceScript+"watch('/events?"+query+"')"))
	b.js(`until(() => got.some(e => e.event === 'ack'))`)
	return b
}

func TestEventSourceGetsMessagesAndNamedEvents(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	raw := brokertest.Dial(t, broker.Addr())
	if err := raw.Publish("es/kept", []byte("old"), 1, true); err != nil {
		t.Fatal(err)
	}
	b := eventSource(t, g, "topic=es/%23&snapshot=true")
	b.js(`until(() => got.some(e => e.event === 'snapshot_end'))`)
	if err := raw.Publish("es/live", []byte("a\n\nevent: gap\nid: 9\ndata: x\n\n"), 1, false); err != nil {
		t.Fatal(err)
	}
	b.js(`until(() => got.some(e => e.topic === 'es/live'))`)
	broker.Stop()
	b.js(`until(() => got.some(e => e.event === 'broker' && !e.connected))`)
	broker.StartAgain()
	b.js(`until(() => got.some(e => e.event === 'broker' && e.connected))`)
	want := strings.Join([]string{"ack", "message es/kept old", "snapshot_end", "message es/live a\n\nevent: gap\nid: 9\ndata: x\n\n", "broker false", "gap", "broker true"}, "|")
	if got := b.js(`got.map(e => [e.event, e.topic, e.payload, e.connected].filter(v => v !== undefined).join(' ')).join('|')`); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := b.js(`got.every(e => e.event === e.type) && got.filter(e => e.cursor && e.event !== 'ack' && e.id !== e.cursor || e.event === 'gap' && e.id !== e.before).length`); got != "0" {
		t.Errorf("got %s events whose id is not their cursor, want 0", got)
	}
	// Until the snapshot is complete there is nowhere to resume from.
	if got := b.js(`[got.find(e => e.event === 'ack').id === '', got.find(e => e.event === 'snapshot_end').id === got.find(e => e.event === 'ack').cursor].join()`); got != "true,true" {
		t.Errorf("ack without id, snapshot_end with its cursor: got %s", got)
	}
	if got := b.complaints(); len(got) > 0 {
		t.Errorf("mistakes on the page: %q", got)
	}
}

// The browser comes back by itself after each cut, with the last id it has
// seen, and the page misses nothing and sees nothing twice.
func TestEventSourceReconnectsWithoutALoss(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	proxy := brokertest.StartProxy(t, g.host())
	g.url = "http://" + proxy.Addr()
	raw := brokertest.Dial(t, broker.Addr())
	b := eventSource(t, g, "topic=es/n")
	published := 0
	publish := func(n int) {
		for range n {
			if err := raw.Publish("es/n", fmt.Append(nil, published), 1, false); err != nil {
				t.Fatal(err)
			}
			published++
		}
	}
	for cut := range 2 {
		publish(20)
		b.js(`until(() => got.some(e => e.event === 'message' && e.payload === %d))`, published-1)
		proxy.Refuse(true)
		proxy.Cut()
		publish(20) // while it is away
		b.js(`until(() => es.readyState === EventSource.CONNECTING)`)
		proxy.Refuse(false)
		b.js(`until(() => got.filter(e => e.event === 'ack').length > %d)`, cut+1)
	}
	publish(20)
	b.js(`until(() => got.some(e => e.event === 'message' && e.payload === %d))`, published-1)
	var want []string
	for i := range published {
		want = append(want, fmt.Sprint(i))
	}
	if got := b.js(`got.filter(e => e.event === 'message').map(e => e.payload).join()`); got != strings.Join(want, ",") {
		t.Errorf("got %s, want every number to %d once", got, published-1)
	}
	if got := b.js(`got.filter(e => e.event !== 'message').map(e => e.event + ' ' + (e.resumed ?? '-')).join()`); got != "ack -,ack true,ack true" {
		t.Errorf("got %s, want two resumes without a gap", got)
	}
}
