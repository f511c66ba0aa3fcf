package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// A topic of which nothing is known shows nothing of the one before, and the
// chart's field is always named.
func TestConsoleShowsNothingOfTheTopicBefore(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil, [2]string{"v/text", "on"}, [2]string{"v/n", "7"}, [2]string{"v/json", `{"t":1}`})
	c.open("v/json")
	c.publish("v/json", `{"t":2}`, true)
	c.until(`words('changes') === 't: 1 → 2' && part('chart').checkVisibility() && part('chart-field').selectedOptions[0].text === 't'`)
	c.js(`(location.hash = '#/topic/not/there', 'gone')`)
	c.until(`words('topic-meta') === 'Nothing was seen on this topic yet.'`)
	c.want(`['changes', 'value', 'chart'].filter(id => part(id).checkVisibility()).join()`, "")
	c.open("v/text")
	c.until(`words('value') === 'on' && !part('chart').checkVisibility()`)
	c.open("v/n")
	c.until(`words('value') === '7' && part('chart-field').selectedOptions[0]?.text === 'the value'`)
	c.open("v/text")
	c.until(`words('value') === 'on'`)
	c.open("v/json")
	c.until(`part('chart-field').selectedOptions[0]?.text === 't' && words('chart-words').startsWith('last 2')`)
	// A field that the newest message lacks is still the chart's.
	c.publish("v/json", `{"u":3}`, true)
	c.until(`words('changes').includes('u: (absent) → 3') && part('chart-field').selectedOptions[0]?.text === 't'`)
	c.wellBehaved()
}

// The stream shows the newest until the reader scrolls away from it, also when
// another tab was looked at meanwhile.
func TestConsoleStreamFollowsTheNewest(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil)
	c.js(`(location.hash = '#/stream/s/%%23', 'gone')`)
	c.js(`type('stream-pace', '')`)
	eventually(t, "the stream is subscribed", func() bool { return c.g.metric("gateway_subscriptions") == 2 })
	sent := 0
	send := func(n int) {
		for range n {
			c.publish("s/n", fmt.Sprint(sent), false)
			sent++
		}
	}
	const seen = `[...part('stream').querySelectorAll('.line:not([hidden]) .value')].some(e => e.innerText === '%d' && e.getBoundingClientRect().bottom <= part('stream').getBoundingClientRect().bottom + 1)`
	send(200)
	c.until(fmt.Sprintf(seen, 199))
	c.js(`(location.hash = '#/publish', 'gone')`)
	c.until(`document.body.dataset.view === 'publish'`)
	send(100)
	c.until(`row('s/n')?.querySelector('.value').innerText === '299'`)
	c.js(`(location.hash = '#/stream', 'back')`)
	c.until(fmt.Sprintf(seen, 299) + ` && !words('stream-facts').includes('scroll to the end')`)
	send(100)
	c.until(fmt.Sprintf(seen, 399))
	c.js(`(part('stream').scrollTop = 0, 'up')`)
	c.until(`words('stream-facts').includes('scroll to the end to follow')`)
	send(50)
	c.until(`words('stream-facts').startsWith('450 kept')`)
	c.until(fmt.Sprintf(seen, 0))
	c.js(`(part('stream').scrollTop = 1e6, 'down')`)
	send(1)
	c.until(fmt.Sprintf(seen, 450) + ` && !words('stream-facts').includes('scroll to the end')`)
	c.wellBehaved()
}

// Each place of the page has its address and its title, and an address leads to
// its place.
func TestConsoleAddressesAndTitles(t *testing.T) {
	t.Parallel()
	c := &console{t: t, broker: brokertest.Start(t)}
	c.g = startReady(t, c.broker.URL(), nil)
	c.proxy = brokertest.StartProxy(t, c.g.host())
	c.raw = brokertest.Dial(t, c.broker.Addr())
	for i := range 100 {
		c.publish(fmt.Sprintf("many/%d/n", i), "1", true)
	}
	deep := "deep" + strings.Repeat("/level", 30) + "/last"
	c.publish(deep, "1", true)
	c.tab = openTab(t)
	c.load("/#/topic/many/97/n")
	const inView = `(r => r.top >= part('tree').getBoundingClientRect().top && r.bottom <= part('tree').getBoundingClientRect().bottom + 1)(%s.getBoundingClientRect())`
	c.until(fmt.Sprintf(inView, `row('many/97/n')`))
	c.want(`document.title`, "many/97/n · Vulture Gateway")
	c.want(`document.getElementById(part('tree').getAttribute('aria-activedescendant')).dataset.topic`, "many/97/n")

	// However deep a topic is, its name is to be seen.
	c.js(`(location.hash = '#/topic/%s', 'deep')`, deep)
	c.until(fmt.Sprintf(`((name, label) => label.width > 20 && label.left + 20 < name.right)(...['.name', '.label'].map(s => row(%q).querySelector(s).getBoundingClientRect()))`, deep))

	// To publish there, one types at once.
	c.js(`(document.querySelector('#publish-here').click(), 'clicked')`)
	c.until(`document.activeElement.id === 'publish-payload' && document.title === 'Publish · Vulture Gateway'`)
	c.do(chromedp.KeyEvent("typed"))
	c.want(`[part('publish-topic').value, part('publish-payload').value].join()`, deep+",typed")

	c.js(`(document.querySelector('#tab-stream').click(), 'stream')`)
	c.until(`location.hash === '#/stream/%23' && document.title === 'Stream of # · Vulture Gateway'`)
	c.js(`(type('stream-filter', 'many/+/n'), document.querySelector('#stream-form .main').click(), 'streamed')`)
	c.until(`location.hash === '#/stream/many/%2B/n' && document.title === 'Stream of many/+/n · Vulture Gateway'`)
	c.until(`part('stream').querySelectorAll('.line:not([hidden])').length > 3`)
	c.js(`(history.back(), 'back')`)
	c.until(`part('stream-filter').value === '#' && document.title === 'Stream of # · Vulture Gateway'`)
	c.js(`(location.hash = '#/', 'top')`)
	c.until(`document.title === 'Vulture Gateway'`)
	c.wellBehaved()
}

// What is copied as curl reads the very topic, also with levels that curl would
// take for a way up.
func TestConsoleCopiesACurlThatReads(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil, [2]string{"x/../y", "dots"}, [2]string{"y", "another"})
	c.js(`(navigator.clipboard.writeText = async text => { window.copied = text; }, 'ready')`)
	c.open("x/../y")
	c.js(`press('copy-curl')`)
	c.until(`copied && words('topic-said') === 'The curl command is copied.'`)
	if out, err := exec.Command("sh", "-c", c.js(`copied`)+" -s").CombinedOutput(); err != nil || string(out) != "dots" {
		t.Errorf("%s: got %q %v, want dots", c.js(`copied`), out, err)
	}
	c.wellBehaved()
}

// Where the page gives advice, it is about an error that there is.
func TestConsoleAdvisesOnErrorsThatExist(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile(filepath.Join("..", "internal", "console", "page", "publish.js"))
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile(filepath.Join("..", "docs", "errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(script), "const advice = {")
	list, _, _ = strings.Cut(list, "};")
	codes := regexp.MustCompile(`(?m)^  (\w+):`).FindAllStringSubmatch(list, -1)
	if len(codes) < 5 {
		t.Fatalf("got the codes %q, want more", codes)
	}
	for _, code := range codes {
		if code[1] != "not_connected" && !strings.Contains(string(docs), "### "+code[1]+"\n") { // that one is the client's own
			t.Errorf("the gateway has no error %s", code[1])
		}
	}
}

// What a decoder makes of a payload is what the history, the stream and the
// changes speak of.
func TestConsoleSpeaksOfDecodedValues(t *testing.T) {
	t.Parallel()
	decoders := filepath.Join(t.TempDir(), "decoders.yaml")
	if err := os.WriteFile(decoders, []byte(exampleDecoders), 0o600); err != nil {
		t.Fatal(err)
	}
	c := openConsole(t, map[string]string{"GATEWAY_DECODERS_FILE": decoders}, [2]string{"pi/3/imu", "\x82\xa1t\x15\xa1o\xc3"})
	c.open("pi/3/imu")
	c.until(`words('value').includes('t: 21')`)
	c.publish("pi/3/imu", "\x82\xa1t\x16\xa1o\xc3", true)
	c.until(`words('changes') === 't: 21 → 22' && words('history').includes('{"t":22,"o":true} ← bytes, 7 B')`)
	c.publish("pi/3/imu", "\x82\xa1o\xc3\xa1t\x16", true)
	c.until(`words('changes') === 'the same value, written otherwise'`)
	c.publish("pi/3/imu", "\x82\xa1o\xc3\xa1t\x16", true)
	c.until(`words('changes') === 'The same as the message before.'`)
	c.wellBehaved()
}
