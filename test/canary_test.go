package test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/internal/access"
)

// What every gateway of these tests is given, and must never say: see birds.
const (
	brokerUser     = "tests"
	canaryPassword = "canary-password-5b1e" // for the broker
	canaryPayload  = "canary-payload-93c7"
	canaryToken    = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZQ"
)

var canaryKey = access.NewKey()

// secrets are the forms of keys, tickets and tokens, whichever test made them.
var secrets = regexp.MustCompile(`gw[kt]_[A-Za-z0-9_-]{43}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+`)

// leaked are the secrets and canaries in a text.
func leaked(text string) []string {
	found := secrets.FindAllString(text, 3)
	for _, canary := range []string{canaryPassword, canaryPayload} {
		if strings.Contains(text, canary) {
			found = append(found, canary)
		}
	}
	return found
}

// sealed fails the test if a text has a secret or a canary.
func sealed(t testing.TB, place, text string) {
	t.Helper()
	if found := leaked(text); found != nil {
		t.Errorf("%s has %q", place, found)
	}
}

// withCanaries are the variables with a password for the broker, unless the
// test has one of its own, or the broker is the built-in one.
func withCanaries(env map[string]string) map[string]string {
	if env["GATEWAY_MQTT_URL"] == "" {
		return env
	}
	for name := range env {
		if strings.HasPrefix(name, "GATEWAY_MQTT_USERNAME") || strings.HasPrefix(name, "GATEWAY_MQTT_PASSWORD") {
			return env
		}
	}
	env["GATEWAY_MQTT_USERNAME"], env["GATEWAY_MQTT_PASSWORD"] = brokerUser, canaryPassword
	return env
}

// birds are sent through a gateway at the end of each test that has one: a key,
// a token, a ticket and a payload, on every way in. Answers that are errors,
// and then the metrics, are searched for them; the log, when it has ended. A
// gateway that the test has stopped, or hangs on purpose, sees none.
func (g *gateway) birds() {
	if g.url == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ask := func(url, method, path, authorization, body string) bool {
		req, err := http.NewRequestWithContext(ctx, method, url+path, strings.NewReader(body))
		if err != nil {
			g.t.Error(err)
			return false
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		if strings.HasPrefix(body, "{") {
			req.Header.Set("Content-Type", "application/json")
		}
		res, err := g.client.Do(req)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		said, err := io.ReadAll(res.Body)
		if res.StatusCode >= http.StatusBadRequest || strings.HasSuffix(path, "/metrics") {
			sealed(g.t, method+" "+path, fmt.Sprint(res.Header, string(said)))
		}
		return err == nil
	}
	ticket := "gwt_" + canaryKey[len("gwk_"):]
	_ = ask(g.url, "GET", "/auth/whoami", "Bearer "+canaryKey, "") &&
		ask(g.url, "GET", "/auth/whoami", "Bearer "+canaryToken, "") &&
		ask(g.url, "GET", "/auth/whoami?token="+canaryKey, "", "") &&
		ask(g.url, "GET", "/events?topic=%2B%2B&ticket="+ticket, "", "") &&
		ask(g.url, "POST", "/topics/canary?qos=0", "", canaryPayload) &&
		ask(g.url, "POST", "/topics/%2B?qos=0", "", canaryPayload) &&
		ask(g.url, "POST", "/publish", "", `{"topic":"`+canaryPayload+`","payload":"`+canaryPayload) &&
		g.birdOnSocket(ctx) && ask(g.admin, "GET", "/metrics", "", "")
}

// birdOnSocket shows a token in a frame, and publishes.
func (g *gateway) birdOnSocket(ctx context.Context) (ended bool) {
	c, _, err := websocket.Dial(ctx, g.ws, &websocket.DialOptions{HTTPClient: g.client})
	if err != nil {
		return ctx.Err() == nil // HTTP/2, or no room for it
	}
	defer func() { _ = c.CloseNow() }()
	for _, frame := range []string{
		`{"op":"publish","topic":"+","payload":"` + canaryPayload + `"}`, `{"op":"auth","id":1,"token":"` + canaryToken + `"}`, `{"op":"ping"}`,
	} {
		if c.Write(ctx, websocket.MessageText, []byte(frame)) != nil {
			break
		}
	}
	for {
		_, frame, err := c.Read(ctx)
		if err != nil {
			return ctx.Err() == nil
		}
		sealed(g.t, "a frame", string(frame))
		if strings.Contains(string(frame), `"pong"`) {
			return true
		}
	}
}

// The search finds what it is for.
func TestSearchFindsSecrets(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{canaryKey, fleetKey, "gwt_" + fleetKey[4:], canaryToken, jwtOf(t, nil), canaryPassword, canaryPayload} {
		if found := leaked(`{"msg":"x","reason":"` + secret + `"}`); !slices.Equal(found, []string{secret}) {
			t.Errorf("%s: found %q", secret, found)
		}
	}
}

// A crash writes down what every goroutine is doing. It must not have what
// callers have shown, nor what the environment has.
func TestCrashHasNoSecrets(t *testing.T) {
	t.Parallel()
	env, _ := withAccess(t, accessRules(""))
	p, g := launchReady(t, env)
	s := g.dialAs("?topic=fleet/%23", bearer(fleetKey))
	s.wait("ack", func(f frame) bool { return f.Type == "ack" })
	g.as(fleetKey, "POST", "/topics/fleet/x", canaryPayload, 200, "")
	s.wait("the message", func(f frame) bool { return f.Topic == "fleet/x" })
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	p.exit()
	if said := p.stderr.String(); !strings.Contains(said, "goroutine ") {
		t.Errorf("got no crash: %s", tail(said, 1000))
	}
	sealed(t, "the crash", p.stderr.String())
}
