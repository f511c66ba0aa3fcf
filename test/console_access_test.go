package test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/brokertest"
)

// The console of a gateway that asks for keys: it asks for one, shows what that
// may read, and says when it may not any more.
func TestConsoleAsksForAKey(t *testing.T) {
	t.Parallel()
	c := &console{t: t, broker: brokertest.Start(t)}
	rules := strings.Replace(accessRules(""), "anonymous:\n  subscribe: [\"public/#\"]\n", "", 1)
	env, file := withAccess(t, rules)
	c.g = startReady(t, c.broker.URL(), env)
	c.proxy = brokertest.StartProxy(t, c.g.host())
	c.raw = brokertest.Dial(t, c.broker.Addr())
	for _, topic := range []string{"fleet/a/state", "fleet/a/secret/key", "other/b", "hidden/c"} {
		c.publish(topic, "1", true)
	}
	c.tab = openTab(t)
	c.do(chromedp.Navigate("http://"+c.proxy.Addr()+"/"), chromedp.Evaluate[chromedp.Void](consoleScript))
	c.until(`document.querySelector('#login-dialog').open && words('whoami') === 'not logged in'`)
	// Nothing is known, so nothing is said of topics; and the page can be walked.
	c.until(`words('notice') === 'This gateway asks for a key or token. Log in.'`)
	c.want(`document.querySelector('#tree-empty').checkVisibility()`, "false")
	for _, view := range []string{"stream", "topic", "publish", "devices"} {
		c.js(`(location.hash = '#/%s/fleet/a/state', 'gone')`, view)
		c.until(fmt.Sprintf(`document.body.dataset.view === '%s' && document.querySelector('#tab-%[1]s').getAttribute('aria-current') === 'page'`, view))
	}
	c.js(`(type('login-token', '%s'), press('login-send'))`, access.NewKey())
	c.until(`words('login-said') === 'The gateway does not know this key or token.'`)
	c.js(`(type('login-token', '%s'), press('login-send'))`, fleetKey)
	c.until(`words('whoami') === 'fleet (key)' && words('state').includes('live') && row('fleet/a/state') && row('other/b')`)
	c.want(`[!!row('hidden/c'), !!row('fleet/a/secret/key'), document.querySelector('#tree-rights').innerText.includes('fleet/#')].join()`, "false,false,true")
	c.js(`(location.hash = '#/publish', type('publish-topic', 'hidden/c'), type('publish-payload', '2'), press('publish-send'))`)
	c.until(`/403 · topic_forbidden · .*Your key has no right to publish there/.test(words('publish-result'))`)
	c.js(`(type('publish-topic', 'fleet/a/state'), press('publish-send'))`)
	c.until(`words('publish-result').includes('200 acknowledged') && row('fleet/a/state').innerText.includes('2')`)

	// What is copied as curl takes the key from where the command line does.
	c.js(`(navigator.clipboard.writeText = async text => { window.copied = text; }, location.hash = '#/topic/fleet/a/state', 'ready')`)
	c.until(`words('topic-name') === 'fleet/a/state' && words('value') === '2'`)
	for _, button := range []string{"copy-curl", "publish-curl"} {
		c.js(`(window.copied = '', document.querySelector('#%s').click(), 'copied')`, button)
		c.until(`copied`)
		cmd := exec.Command("sh", "-c", c.js(`copied`)+" -s")
		cmd.Env = append(os.Environ(), "GATEWAY_TOKEN="+fleetKey)
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "2" && !strings.Contains(string(out), "acknowledged") || strings.Contains(c.js(`copied`), fleetKey) {
			t.Errorf("%s: got %s %v, want the value or an outcome", c.js(`copied`), out, err)
		}
	}

	// A cut does not ask for the key again.
	c.proxy.Cut()
	c.until(`words('state').includes('not reachable') || words('state').includes('connecting') || words('state').includes('live')`)
	c.js(`(document.querySelector('#again').click(), 'again')`)
	c.until(`words('state').includes('live')`)

	// The key is taken away while the page is open.
	writeRules(t, file, strings.Replace(rules, fmt.Sprint(access.DigestOf(fleetKey)), strings.Repeat("0", 64), 1))
	c.until(`words('whoami') === 'not logged in' && document.querySelector('#login-dialog').open`)
	c.until(`/Log in/.test(words('notice')) || words('state').includes('not reachable')`)
	for _, r := range c.requests {
		if strings.Contains(r, fleetKey) {
			t.Errorf("the key is in the address %s", r)
		}
	}
	c.wellBehaved()
}

// The JavaScript client shows its token in the first frame.
func TestSDKIsLetInWithAToken(t *testing.T) {
	t.Parallel()
	env, _ := withAccess(t, accessRules(""))
	b, _, proxy, publish := sdkPage(t, env, fmt.Sprintf("{token: '%s'}", fleetKey))
	b.js(`(window.log = watch(['fleet/#', 'hidden/#']), until(() => log.ready))`)
	b.want(`payloads(log)`, "error filter_forbidden")
	publish("fleet/a", "1", false)
	b.js(`until(() => log.length === 2)`)
	proxy.Cut()
	b.js(`until(() => states.filter(s => s === 'open').length === 2)`)
	publish("fleet/a", "2", false)
	b.js(`until(() => log.length === 3)`)
	b.want(`payloads(log)`, "error filter_forbidden,1,2")
	b.want(`outcome(gw.publish('hidden/x', 1))`, "GatewayError 403 topic_forbidden false")
	b.want(`outcome(gw.publish('fleet/x', 1))`, "200 acknowledged")
	b.want(`outcome(gw.get('hidden/x'))`, "GatewayError 403 topic_forbidden false")
	b.js(`(gw.close(), window.gw = sdk.connect({token: 'gwk_wrong'}), until(() => gw.state === 'closed'))`)
	// A good key whose address has to wait for the failures of others is shown again.
	b.js(`(async () => {
  for (let i = 0; i < 10; i++) await fetch('/auth/whoami', { headers: { Authorization: 'Bearer gwk_wrong' } });
  window.gw = sdk.connect({ token: '%s' });
  gw.onstate = ({ state, reason }) => { if (state !== 'connecting') window.came ??= state + ': ' + reason; };
  return until(() => window.came);
})()`, fleetKey)
	b.want(`came`, "waiting: Too many logins from this address have failed.")
}
