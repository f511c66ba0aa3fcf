package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// The console says who is at the broker, live, and what went quiet; and what it
// cannot know.
func TestConsoleShowsDevices(t *testing.T) {
	t.Parallel()
	c := &console{t: t, broker: brokertest.Start(t, brokertest.Conf("log_dest topic"))}
	c.g = startReady(t, c.broker.URL(), map[string]string{"GATEWAY_DEVICE_TOPICS": "{id}/LWT=Online|Offline", "GATEWAY_SILENT": "beat/+=1s"})
	c.proxy = brokertest.StartProxy(t, c.g.host())
	c.raw = brokertest.Dial(t, c.broker.Addr(), brokertest.ClientID("raw"))
	c.tab = openTab(t)
	c.load("/#/devices")
	const device = `((id, state) => document.querySelector('[data-testid="device"]:not([hidden])[data-device="' + id + '"]')?.innerText.startsWith(state))(%q, %q)`
	c.until(fmt.Sprintf(device, "raw", "online") + ` && words('devices-facts').includes('online')`)

	// What happens is seen as it happens.
	other := brokertest.Dial(t, c.broker.Addr(), brokertest.ClientID("pi-7"))
	c.until(fmt.Sprintf(device, "pi-7", "online"))
	other.Close()
	c.until(fmt.Sprintf(device, "pi-7", "offline") + ` && document.querySelector('[data-device="pi-7"]').innerText.includes('disconnected')`)
	c.publish("lamp/LWT", "Offline", true)
	c.until(fmt.Sprintf(device, "lamp", "offline") + ` && document.querySelector('[data-device="lamp"]').innerText.includes('reported')`)
	c.publish("beat/1", "1", false)
	c.until(`words('silent').includes('beat/1')`)
	eventually(t, "the topic that is back is silent no more", func() bool {
		c.publish("beat/1", "2", false)
		return c.js(`String(part('silent').querySelectorAll('li').length === 0)`) == "true"
	})

	// In the order of people, and each state is a whole word below its heading.
	for i := range 40 {
		c.publish(fmt.Sprintf("pump-%d/LWT", i), "Offline", true)
	}
	c.until(`(at => at('pump-1') < at('pump-2') && at('pump-2') < at('pump-10'))(id => +document.querySelector('[data-testid="device"]:not([hidden])[data-device="' + id + '"]').style.top.slice(0, -2))`)
	c.want(`document.querySelector('.device:not([hidden]) .reason').getBoundingClientRect().left === document.querySelector('.device-columns .reason').getBoundingClientRect().left`, "true")

	// Finding one, with the keyboard.
	c.js(`(type('devices-state', 'offline'), 'chosen')`)
	c.until(`!document.querySelector('[data-device="raw"]:not([hidden])') && document.querySelector('[data-device="lamp"]:not([hidden])')`)
	c.js(`(type('devices-state', ''), type('devices-filter', 'PI-'), 'typed')`)
	c.until(`document.querySelectorAll('[data-testid="device"]:not([hidden])').length === 1`)
	c.js(`(part('devices').focus(), 'focused')`)
	c.key(kb.ArrowDown)
	c.until(`document.getElementById(part('devices').getAttribute('aria-activedescendant')).dataset.device === 'pi-7' && /pi-7 is offline · for \d+ s · disconnected · said by the broker’s log · last seen .* · at 127.0.0.1:/.test(words('devices-chosen'))`)
	c.js(`(type('devices-filter', ''), 'typed')`)
	for name, size := range map[string][2]int64{"devices-wide.png": {1280, 800}, "devices-narrow.png": {390, 800}} {
		for _, scheme := range []string{"light", "dark"} {
			c.viewport(size[0], size[1], scheme)
			c.until(`document.documentElement.scrollWidth <= innerWidth && document.querySelector('[data-device="pi-7"]:not([hidden])').innerText.startsWith('offline')`)
			c.shown(scheme + "-" + name)
		}
	}
	c.viewport(1280, 800, "light")

	// The gateway away, and back; then the broker, of which all is unknown until it is told.
	c.proxy.Refuse(true)
	c.proxy.Cut()
	c.until(`words('devices-said').includes('cannot be reached')`)
	c.proxy.Refuse(false)
	c.until(`words('devices-said') === ''`)
	c.js(`(type('devices-filter', 'raw'), 'typed')`)
	c.broker.Stop()
	c.until(fmt.Sprintf(device, "raw", "unknown"))
	c.want(`[...document.querySelectorAll('.device:not([hidden]) .state')].every(e => e.scrollWidth <= e.clientWidth)`, "true")
	c.wellBehaved()
}

// Where nobody says who is there, the page says how that is turned on; where a
// key may not know of devices, it says that.
func TestConsoleSaysWhyThereAreNoDevices(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil)
	c.load("/#/devices")
	c.until(`document.querySelector('#devices-empty').innerText.includes('log_dest topic')`)
	c.wellBehaved()

	c = &console{t: t, broker: brokertest.Start(t)}
	rules := strings.Replace(accessRules(""), "anonymous:\n  subscribe: [\"public/#\"]\n", "anonymous:\n  publish: [\"public/#\"]\n", 1)
	env, _ := withAccess(t, rules)
	c.g = startReady(t, c.broker.URL(), env)
	c.tab = openTab(t)
	c.do(chromedp.Navigate(c.g.url+"/#/devices"), chromedp.Evaluate[chromedp.Void](consoleScript))
	c.until(`/You may not read this: .*unauthenticated/.test(words('devices-said'))`)
}

// What was forgotten adds up, and an id is never markup.
func TestConsoleAddsUpForgottenDevices(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil)
	c.load("/")
	c.js(`(() => {
		const lines = [
			{ type: 'device', id: '<img src=x onerror="document.title = 1">', state: 'online', reason: 'connected', source: 'log' },
			{ type: 'snapshot_end' }, { type: 'forgotten', count: 2 }, { type: 'forgotten', count: 3 },
		].map(x => JSON.stringify(x) + '\n').join('');
		const fetched = window.fetch;
		window.fetch = (url, options) => String(url).includes('devices=true')
			? Promise.resolve(new Response(new ReadableStream({ start: to => to.enqueue(new TextEncoder().encode(lines)) })))
			: fetched(url, options);
		location.hash = '#/devices';
		return 'replaced';
	})()`)
	c.until(`/1 online .* 5 more were forgotten/.test(words('devices-facts')) && words('devices').includes('<img src=x') && !part('devices').querySelector('img')`)
}
