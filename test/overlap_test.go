package test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// brokers are those that a test of subscriptions has to hold with: they differ
// in how many copies they send of a message that several filters match. An
// address of "" means the built-in broker.
func brokers(t *testing.T, test func(t *testing.T, brokerURL string)) {
	for _, b := range []struct {
		name  string
		start func(t *testing.T) string
	}{
		{"mosquitto", func(t *testing.T) string { return brokertest.Start(t).URL() }},
		{"mosquitto with duplicates", func(t *testing.T) string {
			return brokertest.Start(t, brokertest.Conf("allow_duplicate_messages true")).URL()
		}},
		{"built-in", func(*testing.T) string { return "" }},
	} {
		t.Run(b.name, func(t *testing.T) { test(t, b.start(t)) })
	}
}

// startAt starts a ready gateway; brokerURL "" means the built-in broker.
func startAt(t *testing.T, brokerURL string, env map[string]string) *gateway {
	t.Helper()
	if brokerURL != "" {
		return startReady(t, brokerURL, env)
	}
	return startBuiltIn(t, env)
}

// watches are the two ways to subscribe at the broker.
var watches = []struct{ name, value string }{{"all is watched", "#"}, {"only what is wanted", ""}}

func TestOverlappingFiltersDeliverOnce(t *testing.T) {
	t.Parallel()
	filters := []string{"a/#", "a/+/c", "+/b/c", "a/b/c"}
	brokers(t, func(t *testing.T, brokerURL string) {
		for _, watch := range watches {
			t.Run(watch.name, func(t *testing.T) {
				g := startAt(t, brokerURL, map[string]string{"GATEWAY_WATCH": watch.value})
				var clients []*socket
				for _, f := range filters {
					ws := g.dial("")
					ws.subscribe(f)
					clients = append(clients, ws)
				}
				one := g.dial("")
				one.subscribe(filters...)
				oneByOne := g.dial("")
				for _, f := range filters {
					oneByOne.subscribe(f)
				}
				query := g.dial("?topic=" + url.QueryEscape(filters[0]) + "&topic=" + url.QueryEscape(filters[2]))
				query.wait("ack", func(f frame) bool { return f.Type == "ack" })
				clients = append(clients, one, oneByOne, query)
				for i := range 10 {
					if a := g.post(fmt.Sprintf(`{"topic":"a/b/c","payload":%d,"qos":%d}`, i, 1+i%2)); a.status != 200 {
						t.Fatalf("got %d %s", a.status, a.body)
					}
				}
				// Copies of the tenth message are sent before this one.
				g.post(`{"topic":"a/b/c","payload":"end"}`)
				for i, ws := range clients {
					want := `0 1 2 3 4 5 6 7 8 9 "end"`
					ws.wait("the end", func(f frame) bool { return string(f.Payload) == `"end"` })
					ws.sync()
					if got := payloads(ws.messages()); got != want {
						t.Errorf("client %d: got %s, want %s", i, got, want)
					}
				}
			})
		}
	})
}

func payloads(frames []frame) string {
	var all []string
	for _, f := range frames {
		all = append(all, string(f.Payload))
	}
	return strings.Join(all, " ")
}

// A filter that comes while a narrower or broader one is there, and goes
// again, never costs or doubles a message of the others.
func TestOverlapComesAndGoes(t *testing.T) {
	t.Parallel()
	brokers(t, func(t *testing.T, brokerURL string) {
		g := startAt(t, brokerURL, map[string]string{"GATEWAY_WATCH": ""})
		steady := g.dial("")
		steady.subscribe("a/b")
		other := g.dial("")
		const rounds = 30
		for i := range rounds {
			filter := []string{"#", "a/#", "+/b", "a/+", "+/+"}[i%5]
			other.subscribeAs(i, filter) // one id for each, so that this is its ack
			if a := g.post(fmt.Sprintf(`{"topic":"a/b","payload":%d}`, i)); a.status != 200 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			steady.waitMessages(i + 1)
			other.send(`{"op":"unsubscribe","id":"u","topics":["` + filter + `"]}`)
			other.sync()
		}
		for name, ws := range map[string]*socket{"steady": steady, "other": other} {
			ws.sync()
			got := ws.messages()
			for i, f := range got {
				if string(f.Payload) != fmt.Sprint(i) || f.Cursor == "" {
					t.Fatalf("%s: message %d: got %s; all: %s", name, i, f.raw, payloads(got))
				}
			}
			if len(got) != rounds {
				t.Errorf("%s: got %d messages, want %d", name, len(got), rounds)
			}
		}
	})
}

// The broker's own topics never get through "#".
func TestWildcardNeverSeesBrokersOwnTopics(t *testing.T) {
	t.Parallel()
	for _, watch := range watches {
		t.Run(watch.name, func(t *testing.T) {
			broker := brokertest.Start(t)
			g := startReady(t, broker.URL(), map[string]string{"GATEWAY_WATCH": watch.value})
			ws := g.dial("")
			ws.subscribe("#", "+/+/+", "+/#")
			raw := brokertest.Dial(t, broker.Addr())
			raw.Subscribe("$SYS/#", 0)
			live := func(m brokertest.Message) bool { return !m.Retain }
			raw.Wait(patience, live) // the broker repeats them every second
			raw.Forget()
			raw.Wait(patience, live)
			if err := raw.Publish("$other/topic", []byte("x"), 1, false); err != nil {
				t.Fatal(err)
			}
			g.post(`{"topic":"end","payload":1}`)
			ws.wait("the end", func(f frame) bool { return f.Topic == "end" })
			if got := ws.messages(); len(got) != 1 {
				t.Errorf("got %d messages, want 1: %s", len(got), lastFrames(got))
			}
		})
	}
}
