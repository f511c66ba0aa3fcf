package test

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// What an operator does in a day, by keyboard alone: find the loudest topic,
// watch a field of it as a chart, see a gap, command a device and see its
// answer, clear a retained message, save what was seen.
func TestConsoleServesADayByKeyboard(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil, [2]string{"stat/lamp/POWER", "OFF"}, [2]string{"old/config", "stale"})
	for i := range 60 {
		c.publish("pump/2/state", fmt.Sprintf(`{"rpm":%d,"ok":true}`, 1400+i), false)
	}
	focus := func(selector string) {
		t.Helper()
		c.until(fmt.Sprintf("document.querySelector(%q).checkVisibility()", selector))
		c.do(chromedp.Focus(chromedp.CSS(selector)))
	}

	// The loudest topic.
	c.until(`row('pump/2/state').querySelector('.count').innerText === '60'`)
	focus("#tree-order")
	c.key("l")
	c.until(`document.querySelector('#tree [aria-posinset="1"]').dataset.topic === 'pump/2/state'`)
	focus("#tree")
	c.key(kb.Home, kb.Enter)
	c.until(`words('topic-name') === 'pump/2/state' && words('chart-words').includes('last 1459')`)

	// One of its fields, point by point.
	c.want(`part('chart-field').value`, "rpm")
	focus("#chart")
	c.key(kb.ArrowLeft, kb.ArrowLeft)
	c.until(`/ 1458$/.test(words('chart-words'))`)
	focus("#history")
	c.key(kb.ArrowDown, kb.ArrowDown, kb.ArrowDown)
	c.until(`words('value').includes('rpm: 1457') && words('changes') === 'rpm: 1456 → 1457'`)
	c.key(kb.Escape)
	c.until(`words('value').includes('rpm: 1459')`)

	// A gap.
	c.broker.Stop()
	c.until(`words('state').includes('broker lost')`)
	c.broker.StartAgain()
	c.raw = brokertest.Dial(t, c.broker.Addr())
	c.until(`words('gaps').includes('broker_connection_lost') && words('state').includes('live')`)
	focus("#gap-button")
	c.key(kb.Enter)
	c.until(`document.querySelector('#gap-dialog').open && document.querySelector('#gap-list').innerText.includes('had lost its broker')`)
	c.key(kb.Escape)
	c.until(`!document.querySelector('#gap-dialog').open`)

	// A command, and the device's answer.
	device := brokertest.Dial(t, c.broker.Addr())
	device.Subscribe("cmnd/lamp/POWER", 1)
	answered := make(chan error, 1)
	go func() {
		m := device.WaitCount(1, patience)
		answered <- device.Publish("stat/lamp/POWER", m[0].Payload, 1, true)
	}()
	focus("#tab-publish")
	c.key(kb.Enter)
	focus("#publish-topic")
	c.do(chromedp.KeyEvent("cmnd/lamp/POWER"))
	c.key(kb.Tab)
	c.do(chromedp.KeyEvent("ON"))
	focus("#publish-send")
	c.key(kb.Enter)
	c.until(`words('publish-result').includes('200 acknowledged')`)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	focus("#tab-topic") // out of the field, so that / is no letter
	c.key("/")
	c.do(chromedp.KeyEvent("lamp stat"))
	c.until(`document.querySelectorAll('#tree .row:not([hidden])').length === 1`)
	c.key(kb.Enter, kb.Home, kb.Enter)
	c.until(`words('topic-name') === 'stat/lamp/POWER' && words('value') === 'ON'`)

	// A retained message that nobody needs.
	c.publish("old/config", "stale", true)
	focus("#tree-filter")
	c.key(kb.Escape)
	c.do(chromedp.KeyEvent("old"))
	c.until(`row('old/config') && document.querySelectorAll('#tree .row:not([hidden])').length === 1`)
	c.key(kb.Enter, kb.Enter)
	c.until(`words('topic-name') === 'old/config'`)
	focus("#clear")
	c.key(kb.Enter)
	c.until(`document.querySelector('#clear-dialog').open`)
	c.want(`document.activeElement.innerText`, "Keep it") // a second Enter does no harm
	c.key(kb.Tab, kb.Enter)
	c.until(`words('topic-said').startsWith('Cleared')`)

	// What was seen.
	focus("#tab-stream")
	c.key(kb.Enter)
	c.until(`words('stream-facts').includes('kept')`)
	c.publish("pump/2/state", `{"rpm":0,"ok":false}`, false)
	c.until(`part('stream').innerText.includes('"rpm":0')`)
	c.js(`(URL.createObjectURL = b => (b.text().then(t => window.saved = t), '#'), document.addEventListener('click', e => e.target.download && e.preventDefault(), true), 'ready')`)
	focus("#stream-save")
	c.key(kb.Enter)
	c.until(`saved.trim().split('\n').map(JSON.parse).some(m => m.topic === 'pump/2/state' && m.payload.rpm === 0)`)
	c.wellBehaved()
}

func mustUnescape(path string) string {
	s, err := url.PathUnescape(path)
	if err != nil {
		panic(err)
	}
	return s
}
