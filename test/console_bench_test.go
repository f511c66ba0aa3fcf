package test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// BenchmarkConsole shows 5000 topics at 1000 messages a second for SECONDS (60)
// and prints how the page behaves: how long it was stuck at most, how long an
// input waits until it is drawn, and what it holds, minute by minute.
//
//	go test -run '^$' -bench Console -benchtime 1x ./test
func BenchmarkConsole(b *testing.B) {
	seconds, _ := strconv.Atoi(os.Getenv("SECONDS"))
	if seconds == 0 {
		seconds = 60
	}
	broker := brokertest.Start(b)
	g := startReady(b, broker.URL(), nil)
	raw := brokertest.Dial(b, broker.Addr())
	tab := openTab(b)
	tab.do(chromedp.Navigate(g.url+"/"), chromedp.Evaluate[chromedp.Void](consoleScript))
	tab.js(`until(() => words('state').includes('live'))`)
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		tick, n := time.NewTicker(10*time.Millisecond), 0
		defer tick.Stop()
		for {
			select {
			case <-stop:
				done <- n
				return
			case <-tick.C:
			}
			for range 10 {
				topic := n * 7919 % 5000
				if raw.Publish(fmt.Sprintf("plant/line%d/machine%d/sensor", topic/250, topic%250), fmt.Appendf(nil, `{"n":%d,"t":%d.50,"state":"running"}`, n, n%90), 0, false) != nil {
					done <- n
					return
				}
				n++
			}
		}
	}()
	tab.js(`until(() => +document.querySelector('#tree-size').innerText.replace(/\D/g, '') === 5000)`)
	tab.js(`(document.querySelector('#tree-order').value = 'loudest', document.querySelector('#tree-order').dispatchEvent(new Event('change')), until(() => document.querySelector('#tree [aria-posinset="1"]')))`)
	tab.js(`(document.querySelector('#tree [aria-posinset="1"]').click(), location.hash = '#/stream/%%23', until(() => words('stream-facts').includes('kept')))`)
	heap := func() string {
		if _, err := chromedp.Call(tab.ctx, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
			b.Fatal(err)
		}
		return tab.js(`(performance.memory.usedJSHeapSize / 1e6).toFixed(1)`)
	}
	for left := seconds; left > 0; left -= 60 {
		b.Logf("heap %s MB; %s", heap(), tab.watchConsole(min(left, 60)))
	}
	close(stop)
	b.Logf("%d messages; heap %s MB at the end", <-done, heap())
}

// watchConsole types into the filter for some seconds, and says how the page
// behaves meanwhile.
func (b *tab) watchConsole(seconds int) string {
	return b.js(`new Promise(resolve => {
		const stuck = [], waits = [], typed = ['line', 'line1', 'machine 9', ''], end = performance.now() + %d * 1000;
		new PerformanceObserver(list => stuck.push(...list.getEntries().map(e => e.duration))).observe({type: 'longtask'});
		let n = 0;
		const step = () => {
			if (performance.now() > end) {
				const sorted = waits.sort((a, b) => a - b), at = q => sorted[Math.floor(sorted.length * q)].toFixed(0);
				return resolve('stuck at most ' + Math.max(0, ...stuck).toFixed(0) + ' ms, over 50 ms ' + stuck.length + ' times; an input is drawn after p50 ' + at(0.5) + ' p95 ' + at(0.95) + ' most ' + at(0.999) + ' ms');
			}
			const began = performance.now();
			type('tree-filter', typed[n++ %% typed.length]);
			requestAnimationFrame(() => setTimeout(() => { waits.push(performance.now() - began); setTimeout(step, 200); }));
		};
		step();
	})`, seconds)
}
