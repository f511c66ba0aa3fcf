package test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/spectest"
)

func TestCurlGetsAFewLines(t *testing.T) {
	t.Parallel()
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1"})
	got := g.do(request{method: "GET", path: "/", header: map[string]string{"Accept": "*/*"}})
	if got.status != 200 || strings.Count(got.body, "\n") != 4 || strings.Count(got.body, "http://"+g.host()+"/") != 3 || got.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("got %d %s %q, want four lines with three addresses", got.status, got.header.Get("Content-Type"), got.body)
	}
	page := g.do(request{method: "GET", path: "/", header: map[string]string{"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}})
	if page.status != 200 || !strings.HasPrefix(page.body, "<!doctype html>") {
		t.Fatalf("a browser gets %d %.80q, want the page", page.status, page.body)
	}
	if policy := page.header.Get("Content-Security-Policy"); strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("got the policy %q, want one without unsafe", policy)
	}
	files := regexp.MustCompile(`(?:href|src)="(console/[^"]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(files) != 2 {
		t.Fatalf("the page has the files %q, want two, relative", files)
	}
	for _, f := range files {
		got := g.do(request{method: "GET", path: "/" + f[1]})
		if got.status != 200 || !strings.Contains(got.header.Get("Cache-Control"), "immutable") || !regexp.MustCompile(`\.[0-9a-f]{16}\.`).MatchString(f[1]) {
			t.Errorf("%s: got %d %q, want a file that may be kept for good", f[1], got.status, got.header.Get("Cache-Control"))
		}
	}
	// Behind a proxy that has the certificate, and passes a path on.
	below := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1", "GATEWAY_BASE_PATH": "/mqtt"})
	got = below.do(request{method: "GET", path: "/mqtt/?", header: map[string]string{"Accept": "*/*", "X-Forwarded-Proto": "https"}})
	if strings.Count(got.body, "https://"+below.host()+"/mqtt/") != 3 || !strings.Contains(got.body, "reference at /mqtt/docs") {
		t.Errorf("below a path: got %q, want its addresses", got.body)
	}
	without := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1", "GATEWAY_CONSOLE": "false"})
	if got := without.do(request{method: "GET", path: "/", header: map[string]string{"Accept": "text/html"}}); got.status != 404 {
		t.Errorf("without a console: got %d, want 404", got.status)
	}
}

// What the few lines for curl say works, also below a base path and over TLS, and
// no link of the page leads nowhere.
func TestFirstLinesAndLinksLead(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for name, env := range map[string]map[string]string{"plain": {}, "base path": {"GATEWAY_BASE_PATH": "/mqtt"}, "TLS": a.env()} {
		env["GATEWAY_MQTT_URL"] = "mqtt://127.0.0.1:1"
		g := start(t, env)
		if name == "TLS" {
			g.secure(a, false)
		}
		base := g.url + env["GATEWAY_BASE_PATH"] + "/"
		get := func(path, accept string) answer {
			return g.do(request{method: "GET", path: env["GATEWAY_BASE_PATH"] + path, header: map[string]string{"Accept": accept}})
		}
		lines := get("/", "*/*").body
		if strings.Count(lines, base) != 3 || strings.Count(lines, "://") != 3 || !strings.Contains(lines, env["GATEWAY_BASE_PATH"]+"/docs.") {
			t.Errorf("%s: got %q, want %s three times", name, lines, base)
		}
		for _, link := range regexp.MustCompile(`(?:href|src)="([^"#:]+)"`).FindAllStringSubmatch(get("/", "text/html").body, -1) {
			if got := get("/"+link[1], "*/*"); got.status != http.StatusOK {
				t.Errorf("%s: the page links to %s: got %d, want 200", name, link[1], got.status)
			}
		}
	}
}

// The first load is small, and the page works below a prefix.
func TestConsoleLoadsFewAndSmallFiles(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil)
	c.until(`performance.getEntriesByType('resource').some(r => r.name.endsWith('whoami'))`)
	const sum = `[performance.getEntriesByType('navigation')[0], ...performance.getEntriesByType('resource')].filter(r => !r.name.startsWith('data:'))`
	if got := c.js(sum + `.length`); got > "5" || len(got) > 1 {
		t.Errorf("got %s requests, want at most 5: %s", got, c.js(sum+`.map(r => r.name)`))
	}
	if got := c.js(sum + `.reduce((n, r) => n + r.decodedBodySize, 0) < 150000`); got != "true" {
		t.Errorf("the first load has %s bytes, want less than 150000", c.js(sum+`.reduce((n, r) => n + r.decodedBodySize, 0)`))
	}
	c.wellBehaved()
}

// A copy that the broker kept may be of any age, so none is shown.
func TestConsoleDoesNotInventAges(t *testing.T) {
	t.Parallel()
	c := openConsole(t, map[string]string{"GATEWAY_WATCH": ""}, [2]string{"pi/3/state", "offline"})
	c.open("pi/3/state")
	c.until(`words('value') === 'offline'`)
	c.want(`row('pi/3/state').querySelector('.age').innerText + row('pi').querySelector('.age').innerText`, "")
	c.want(`/^retained, read at [0-9:.]+ · /.test(words('topic-meta'))`, "true")
	c.publish("pi/3/state", "online", true)
	c.until(`/ s$/.test(row('pi/3/state').querySelector('.age').innerText) && words('value') === 'online'`)
	c.want(`/ ago\) · /.test(words('topic-meta'))`, "true")
	c.wellBehaved()
}

func TestConsoleShowsTheTree(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil)
	c.until(`document.querySelector('#tree-empty pre').checkVisibility()`)
	if got := c.js(`document.querySelector('#tree-empty pre').innerText`); !strings.Contains(got, "curl -d 21.5 http://"+c.proxy.Addr()+"/topics/pi/3/battery\nmosquitto_pub ") {
		t.Errorf("an empty tree says %q, want two lines to paste", got)
	}
	c.publish("pi/3/battery", "21.50", true)
	c.publish("pi/3/led", "on", false)
	c.publish("pi/10/led", "off", false)
	c.publish("raw", "\xff\xfe\x00", false)
	c.until(`row('raw') && row('pi/10/led')`)
	c.until(`row('pi/3/battery').innerText.includes('21.50')`)
	c.want(`row('pi/3/led').innerText.split('\n').filter(Boolean).slice(0, 2).join()`, "led,on")
	c.want(`row('raw').innerText.includes('bytes, 3 B')`, "true")
	c.want(`row('pi').innerText.includes('3 topics')`, "true")
	for range 3 {
		c.publish("pi/3/led", "blink", false)
	}
	c.until(`row('pi/3/led').querySelector('.count').innerText === '4' && row('pi/3/led').innerText.includes('blink')`)
	c.until(`/ s$/.test(row('pi/3/led').querySelector('.age').innerText)`)
	c.js(`type('tree-filter', 'PI bat')`)
	c.until(`!row('raw') && row('pi/3/battery') && !row('pi/3/led')`)
	c.js(`type('tree-filter', '+/10/#')`)
	c.until(`row('pi/10/led') && !row('pi/3/battery')`)
	c.js(`type('tree-filter', '')`)
	c.until(`row('raw')`)
	c.js(`(document.querySelector('#tree-fold').click(), 'folded')`)
	c.until(`!row('pi/3') && row('pi')`)
	// By keyboard: down to pi, unfold, into it, choose.
	c.do(chromedp.Focus(chromedp.CSS("#tree")))
	c.key(kb.Home, kb.ArrowRight, kb.ArrowRight, kb.ArrowRight, kb.ArrowRight, kb.Enter)
	c.until(`words('topic-name') === 'pi/3/battery'`)
	c.want(`location.hash`, "#/topic/pi/3/battery")
	c.until(`row('pi/3/battery').getAttribute('aria-selected') + row('pi/3/battery').getAttribute('aria-level') + row('pi/3').getAttribute('aria-expanded') === 'true3true'`)
	c.key("/")
	c.want(`document.activeElement.id`, "tree-filter")
	c.load("/#/topic/pi/10/led")
	c.until(`words('topic-name') === 'pi/10/led' && words('value') === 'off'`)
	c.wellBehaved()
}

func TestConsoleShowsAValueInAllItsViews(t *testing.T) {
	t.Parallel()
	decoders := filepath.Join(t.TempDir(), "decoders.yaml")
	if err := os.WriteFile(decoders, []byte(exampleDecoders), 0o600); err != nil {
		t.Fatal(err)
	}
	png := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x00\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\x00\x05\x00\x01\xff\x89\x99=\x1d\x00\x00\x00\x00IEND\xaeB`\x82"
	c := openConsole(t, map[string]string{"GATEWAY_DECODERS_FILE": decoders},
		[2]string{"v/json", `{"t":21.50,"big":12345678901234567890,"deep":{"a":[1,2,{"b":null}]}}`}, [2]string{"v/long", strings.Repeat("line of text\n", 10000)},
		[2]string{"v/image", png}, [2]string{"v/tricky", `{"a":1.0,"encoding":"json","qos":{"b":2.50,"encoding":"json"}}`}, [2]string{"v/empty", " "}, [2]string{"v/n", "1"})
	c.open("v/json")
	c.until(`words('value').includes('t: 21.50') && words('value').includes('big: 12345678901234567890')`)
	c.want(`words('value').includes('{ 1 field }') && !words('value').includes('null')`, "true")
	c.js(`([...part('value').querySelectorAll('details')].at(-1).open = true, 'open')`)
	c.until(`words('value').includes('a: [ 3 elements ]')`)
	c.publish("v/json", `{"t":22,"big":12345678901234567890,"deep":{"a":[1,2,{"b":null}]},"new":true}`, true)
	c.until(`words('changes') === 't: 21.5 → 22 new: (absent) → true'`)
	c.want(`words('value').includes('a: [ 3 elements ]')`, "true") // it stays open
	c.js(`(document.querySelector('[data-view=text]').click(), 'text')`)
	c.until(`words('value').startsWith('{"t":22,"big":12345678901234567890')`)
	c.js(`(document.querySelector('[data-view=hex]').click(), 'hex')`)
	c.until(`words('value').startsWith('000000 7b 22 74 22 3a 32 32')`)

	c.open("v/long")
	c.until(`words('value').includes('The first 20 000 of 130 000 characters.')`)
	c.js(`([...part('value').querySelectorAll('button')].find(b => b.innerText === 'Show all').click(), 'all')`)
	c.want(`part('value').querySelector('pre').textContent.length`, "130000")
	c.open("v/tricky")
	c.js(`(document.querySelector('[data-view=text]').click(), 'text')`)
	c.until(`words('value') === '{"a":1.0,"encoding":"json","qos":{"b":2.50,"encoding":"json"}}'`)
	c.open("v/image")
	c.until(`words('value').includes('PNG image, 70 B, 1 × 1')`)

	// Numbers are charted, and the history has them all; a row brings one back.
	c.open("v/n")
	for i := 2; i <= 9; i++ {
		c.publish("v/n", fmt.Sprint(i), true)
	}
	c.until(`words('value') === '9' && words('chart-words').startsWith('last 9 least 1 most 9 mean 5 9 points')`)
	c.want(`[...part('history').querySelectorAll('.entry:not([hidden]) .value')].map(e => +e.innerText).sort().join()`, "1,2,3,4,5,6,7,8,9")
	c.want(`(() => { const p = part('chart').getContext('2d').getImageData(0, 0, part('chart').width, part('chart').height).data; return p.some(v => v > 0); })()`, "true")
	c.js(`([...part('history').querySelectorAll('.entry')].find(e => e.querySelector('.value').innerText === '4').click(), 'pinned')`)
	c.until(`words('value') === '4' && words('changes') === '3 → 4'`)
	c.js(`press('newest')`)
	c.until(`words('value') === '9'`)
	c.open("v/json")
	c.until(`[...part('chart-field').options].some(o => o.value === 'big')`)
	c.js(`type('chart-field', 'big')`)
	c.until(`words('chart-words').startsWith('last 1.235e+19')`)
	c.shown("value.png")
	c.wellBehaved()
}

func TestConsoleClearsARetainedMessage(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil, [2]string{"c/kept", "old"})
	c.open("c/kept")
	c.until(`words('value') === 'old'`)
	c.js(`press('clear')`)
	c.want(`document.querySelector('#clear-topic').innerText`, "c/kept")
	c.js(`press('clear-confirm')`)
	c.until(`words('topic-said').startsWith('Cleared')`)
	c.until(`words('value').startsWith('(empty')`)
	if got := c.g.do(request{method: "GET", path: "/topics/c/kept"}); got.status != http.StatusNotFound {
		t.Errorf("the gateway still has it: got %d, want 404", got.status)
	}
	c.wellBehaved()
}

func TestConsoleStreams(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil)
	c.js(`(location.hash = '#/stream/s/%%23', 'gone')`)
	c.until(`part('stream-filter').value === 's/#'`)
	c.js(`type('stream-pace', '')`)
	c.until(`words('stream-facts').startsWith('0 kept')`)
	lines := `[...part('stream').querySelectorAll('.line:not([hidden]) .value')].map(e => e.innerText)`
	eventually(t, "the stream is subscribed", func() bool { return c.g.metric("gateway_subscriptions") == 2 })
	for i := range 10 {
		c.publish("s/n", fmt.Sprint(i), false)
	}
	c.until(lines + `.length === 10`)
	c.js(`press('pause')`)
	for i := 10; i < 20; i++ {
		c.publish("s/n", fmt.Sprint(i), false)
	}
	c.until(`words('stream-facts').startsWith('paused; 10 wait')`)
	c.want(lines+`.length`, "10")
	c.js(`press('pause')`)
	c.until(lines + `.length === 20`)
	c.want(lines+`.map(Number).sort((a, b) => a - b).join()`, numbers(20))
	c.js(`type('stream-search', 'nowhere')`)
	c.until(lines + `.length === 0`)
	c.js(`type('stream-search', '"payload":13,')`)
	c.until(lines + `.join() === '13'`)
	c.js(`type('stream-search', '')`)
	// A gap stands where it is, in words.
	c.broker.Stop()
	c.until(`words('state').includes('broker lost')`)
	c.broker.StartAgain()
	c.raw = brokertest.Dial(t, c.broker.Addr())
	c.until(`part('stream').innerText.includes('broker_connection_lost')`)
	c.until(`words('gaps').includes('the gateway had lost its broker')`)
	c.js(`type('stream-pace', '200ms')`)
	c.until(`words('state').includes('broker connected')`)
	eventually(t, "the gateway skips some, once the new pace is in force", func() bool {
		for i := range 10 {
			c.publish("s/fast", fmt.Sprint(i), false)
		}
		return c.js(`/ skipped by the gateway/.test(words('stream-facts'))`) == "true"
	})
	c.js(`type('stream-filter', 'bad/#/x')`)
	c.js(`([...document.querySelectorAll('#stream-form button')][0].click(), 'refused')`)
	c.until(`words('stream-said').includes('filter_syntax')`)
	// What was seen can be saved.
	c.js(`(window.saved = undefined, URL.createObjectURL = b => (b.text().then(t => saved = t), '#'), type('stream-filter', 's/+'), [...document.querySelectorAll('#stream-form button')][0].click(), 'again')`)
	c.until(`words('stream-facts').startsWith('0 kept')`)
	eventually(t, "the stream is subscribed again", func() bool { return c.g.metric("gateway_subscriptions") == 2 })
	c.publish("s/last", "1.50", false)
	c.until(`words('stream-facts').startsWith('1 kept')`)
	c.js(`(document.addEventListener('click', e => e.target.download && e.preventDefault(), true), press('stream-save'))`)
	c.until(`saved && JSON.parse(saved).topic === 's/last' && saved.includes('"payload":1.50,')`)
	c.shown("stream.png")
	c.wellBehaved()
}

func TestConsolePublishes(t *testing.T) {
	t.Parallel()
	c := openConsole(t, nil)
	c.raw.Subscribe("p/#", 1)
	c.js(`(location.hash = '#/publish', type('publish-topic', 'p/led'), type('publish-payload', 'on'), press('publish-send'))`)
	c.until(`words('publish-result').includes('200 acknowledged')`)
	c.js(`(type('publish-qos', '0'), type('publish-retain', 'true'), press('publish-send'))`)
	c.until(`words('publish-result').includes('202 sent')`)
	c.js(`(type('publish-qos', '2'), type('publish-encoding', 'base64'), type('publish-payload', '//4='), press('publish-send'))`)
	if got := c.raw.WaitCount(3, patience); len(got) != 3 || string(got[2].Payload) != "\xff\xfe" || string(got[0].Payload) != "on" {
		t.Errorf("the broker got %v, want three messages", got)
	}
	c.until(`words('publish-result').includes('200 acknowledged')`)
	c.js(`(type('publish-encoding', 'json'), type('publish-payload', '{'), press('publish-send'))`)
	c.until(`words('publish-result').includes('The payload is no JSON')`)
	c.js(`(type('publish-encoding', 'text'), type('publish-topic', 'p/+'), press('publish-send'))`)
	c.until(`words('publish-result').includes('422 · topic_wildcard')`)
	c.js(`(type('publish-topic', 'p/empty'), type('publish-payload', ''), press('publish-send'))`)
	c.until(`/422 · \w+ ·/.test(words('publish-result'))`)
	// Saved ones stay in the browser, and no key with them.
	c.js(`(type('publish-payload', 'kept'), press('publish-save'))`)
	c.until(`words('publish-saved').includes('p/empty kept')`)
	c.load("/#/publish")
	c.until(`words('publish-saved').includes('p/empty kept')`)
	c.js(`(part('publish-saved').querySelector('.load').click(), 'loaded')`)
	c.want(`[part('publish-topic').value, part('publish-payload').value, part('publish-qos').value, part('publish-retain').checked].join()`, "p/empty,kept,2,true")
	// It repeats until it fails.
	c.js(`(document.querySelector('#publish-every').value = '0.1', press('publish-repeat'))`)
	c.until(`/Stop \([3-9] sent\)/.test(words('publish-repeat'))`)
	c.broker.Stop()
	c.until(`/broker_unavailable/.test(words('publish-result')) || /outcome_unknown/.test(words('publish-result'))`)
	c.until(`words('publish-repeat') === 'Repeat'`)
	c.until(`words('notice').includes('Publishing is answered with 503')`)
	c.js(`press('publish-send')`)
	c.until(`/503 · broker_unavailable · .* It is safe to send again/.test(words('publish-result'))`)
	c.wellBehaved()
}

// The form has what MQTT 5 has, and a topic's page shows it. Where the broker
// speaks MQTT 3.1.1 only, it says so.
func TestConsolePublishesWithProperties(t *testing.T) {
	t.Parallel()
	const fill = `(location.hash = '#/publish', type('publish-topic', 'p/led'), type('publish-payload', 'on'), type('publish-retain', 'true'),
		type('publish-content-type', 'text/x'), type('publish-expiry', '1h'), type('publish-response-topic', 're/ply'), type('publish-correlation', 'AP8='),
		type('publish-properties', 'unit=C\ntag=a\ntag=b=c'), press('publish-send'))`
	c := openConsole(t, nil)
	c.js(fill)
	c.until(`words('publish-result').includes('200 acknowledged')`)
	got := c.g.do(request{method: "GET", path: "/topics/p/led", header: map[string]string{"Accept": "application/json"}}).body
	const want = `{"content_type":"text/x","response_topic":"re/ply","correlation":"AP8=","user_properties":{"tag":["a","b=c"],"unit":"C"}}`
	if p := spectest.Decode[properties](t, got); p.Expiry == "" {
		t.Errorf("got %s, want an expiry", got)
	} else if p.Expiry = ""; string(spectest.Encode(t, p)) != want {
		t.Errorf("got %s, want %s", spectest.Encode(t, p), want)
	}
	c.open("p/led")
	c.until(`words('topic-meta').includes('text/x') && /expires after \S+ · answers go to re.ply · correlation AP8= · unit=C · tag=a · tag=b=c|tag=a · tag=b=c · unit=C/.test(words('topic-properties'))`)
	c.js(`(location.hash = '#/publish', type('publish-properties', 'no equals sign'), press('publish-send'))`)
	c.until(`words('publish-result').includes('lines of name=value')`)
	c.wellBehaved()

	c = openConsole(t, map[string]string{"GATEWAY_MQTT_VERSION": "4"})
	c.js(fill)
	c.until(`/422 · needs_mqtt5 · .* leave the MQTT 5 fields empty/.test(words('publish-result'))`)
	c.wellBehaved()
}

// Topics and payloads of others can do nothing to the page.
func TestConsoleIsNotImpressedByHostileTopics(t *testing.T) {
	t.Parallel()
	const script = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`
	c := openConsole(t, nil, [2]string{"x/" + script, script}, [2]string{"x/json", `{"` + strings.ReplaceAll(script, `"`, `\"`) + `":"` + strings.ReplaceAll(script, `"`, `\"`) + `","__proto__":{"polluted":1},"constructor":1}`},
		[2]string{"x/__proto__/constructor", "1"}, [2]string{"x/\"'`\\ ", "\x1b]0;title\x07\u202edrow"}, [2]string{"x/ü 🛰", "{"}, [2]string{"/", "slash"}, [2]string{"x//", "empty levels"}, [2]string{"x/../y", "dots"})
	c.until(`document.querySelectorAll('#tree [data-testid=topic]').length === 8`)
	for _, topic := range []string{"x/" + script, "x/json", "x/__proto__/constructor", "x/\"'`\\ ", "x/ü 🛰", "/", "x//", "x/../y"} {
		c.js(`([...document.querySelectorAll('#tree [data-testid=topic]')].find(r => r.dataset.topic === %s).click(), 'clicked')`, quoteJS(topic))
		c.until(fmt.Sprintf(`part('topic-name').textContent === %s && words('value').length > 0 && part('history').querySelectorAll('.entry:not([hidden])').length > 0`, quoteJS(topic)))
	}
	// What is copied is one word for a shell, whatever is in it.
	const hostile = "x/'; touch hacked; '\"$(touch hacked)`touch hacked`"
	c.js(`(navigator.clipboard.writeText = async text => { window.copied = text; }, location.hash = '#/publish', type('publish-topic', %s), type('publish-payload', %[1]s + '\n!'), document.querySelector('#publish-curl').click(), 'copied')`, quoteJS(hostile))
	c.until(`copied`)
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", c.js(`copied`)+" -s")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), `"delivery":"acknowledged"`) {
		t.Errorf("the copied command says %s %v", out, err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("the copied command has left %v", left)
	}
	c.until(`[...document.querySelectorAll('#tree [data-testid=topic]')].some(r => r.dataset.topic === ` + quoteJS(hostile) + `)`)
	c.js(`(location.hash = '#/stream/%%23', 'stream')`)
	c.publish("x/"+script, script, false)
	c.until(`part('stream').innerText.includes('<img src=x')`)
	c.load("/#/topic/" + "%3Cimg%20src%3Dx%20onerror%3D%22window.hacked%3D1%22%3E")
	c.until(`words('topic-name').startsWith('<img src=x')`)
	c.want(`[window.hacked, {}.polluted, document.querySelectorAll('img, main script').length].join()`, ",,0")
	c.wellBehaved()
	c.want(`(() => { try { document.body.innerHTML = '<b>'; return 'markup'; } catch { return 'refused'; } })()`, "refused")
}
