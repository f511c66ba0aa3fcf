package test

import (
	"fmt"
	"strings"
	"testing"
)

// Large values are shown: what is cut says so, and nothing is read twice that
// need not be. Their figures are those of BenchmarkConsole's machine: a JSON of
// 4 MB holds the page up for less than 0.3 s, a picture of 8 MB for 0.15 s.
func TestConsoleShowsLargeValues(t *testing.T) {
	t.Parallel()
	c := openConsole(t, map[string]string{"GATEWAY_MAX_PAYLOAD_BYTES": "8388608", "GATEWAY_CLIENT_QUEUE_BYTES": "33554432"})
	var b strings.Builder
	for i := range 60000 {
		fmt.Fprintf(&b, `,{"id":%d,"name":"element %d","value":%d.50,"tags":["a","b"]}`, i, i, i)
	}
	c.js(`(window.stuck = [], new PerformanceObserver(l => stuck.push(...l.getEntries().map(e => Math.round(e.duration)))).observe({type: 'longtask'}), 'watched')`)
	c.publish("big/json", `{"list":[`+b.String()[1:]+`]}`, true)
	c.open("big/json")
	c.until(`words('value').includes('list: [ 60 000 elements ]')`)
	c.js(`(part('value').querySelectorAll('details')[1].open = true, 'open')`)
	c.until(`words('value').includes('Show 200 of 59 800 more')`)
	c.publish("big/image", "\xff\xd8\xff"+strings.Repeat("x", 8000000), true)
	c.open("big/image")
	c.until(`words('value').includes('JPEG image, 8.0 MB, which cannot be shown')`)
	c.js(`(document.querySelector('[data-view=hex]').click(), 'hex')`)
	c.until(`words('value').includes('The first 4 096 of 8 000 003 bytes.')`)
	t.Logf("the page was stuck for %s ms", c.js(`stuck`))
	c.wellBehaved()
}
