package test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/wire"
)

// subscribeAs subscribes under a number, for filters that are too long to be
// an id, and waits for the ack.
func (s *socket) subscribeAs(id int, filters ...string) frame {
	s.t.Helper()
	op, _ := json.Marshal(map[string]any{"op": "subscribe", "id": id, "topics": filters})
	s.send(string(op))
	return s.wait("ack", func(f frame) bool { return f.Type == "ack" && string(f.ID) == strconv.Itoa(id) })
}

// refused reports whether r says so with this status, and that it would be again.
func refused(r wire.Result, status int) bool {
	return !r.OK && r.Status == status && r.Retryable != nil && !*r.Retryable
}

// Filters that brokers or MQTT libraries stumble over are refused one by one;
// nobody else notices.
func TestBadFilterIsRefusedAlone(t *testing.T) {
	t.Parallel()
	for _, watch := range watches {
		t.Run(watch.name, func(t *testing.T) {
			broker := brokertest.Start(t)
			g := startReady(t, broker.URL(), map[string]string{"GATEWAY_WATCH": watch.value})
			bystander := g.dial("")
			bystander.subscribe("good/#")
			connections := broker.Connections()
			bad := map[string]string{
				"$sharefoo": "filter_reserved", "$share": "filter_reserved", "$share/g": "filter_reserved", "$share//x": "filter_reserved",
				"$share/g/good/a": "filter_reserved", "$SYS/#": "filter_reserved", "$SYS/broker/uptime": "filter_reserved", "$": "filter_reserved",
				"a+": "filter_syntax", "a/#/b": "filter_syntax", "#/a": "filter_syntax", "a#": "filter_syntax", "+a": "filter_syntax", "": "filter_required",
				"a\x00b": "filter_control_char", "\ufffe": "filter_noncharacter", strings.Repeat("a", 4097): "filter_too_long",
				strings.Repeat("a/", 200) + "a": "filter_too_complex", strings.Repeat("+/", 200) + "a": "filter_too_complex",
			}
			ws := g.dial("")
			topics := []string{"good/a"}
			for f, code := range bad {
				topics = append(topics, f)
				ack := ws.subscribeAs(len(topics), f)
				status := map[bool]int{true: 403, false: 422}[code == "filter_reserved"]
				if len(ack.Results) != 1 || string(ack.Results[0].Code) != code || ack.Results[0].Detail == "" || !refused(ack.Results[0], status) {
					t.Errorf("%.40q: got %s, want %d %s", f, ack.raw, status, code)
				}
			}
			for _, r := range ws.subscribeAs(0, topics...).Results {
				if want := r.Topic == "good/a"; r.OK != want {
					t.Errorf("%.40q: got ok %t, want %t", r.Topic, r.OK, want)
				}
			}
			if a := g.post(`{"topic":"good/a","payload":1}`); a.status != 200 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			ws.waitMessages(1)
			bystander.waitMessages(1)
			if got := broker.Connections(); got != connections {
				t.Errorf("connections at the broker: got %d, want %d", got, connections)
			}
		})
	}
}

func TestBadFilterInTheURLIsRefusedBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	g := startReady(t, brokertest.Start(t).URL(), nil)
	for query, status := range map[string]string{"?topic=a%2B": "422", "?topic=%24share%2Fg%2Fa": "403", "?topic=": "422", "?topci=a": "400", "?topic=a&x=1": "400"} {
		s, err := g.tryDial(query)
		if err == nil {
			t.Errorf("%s: the connection was made: %s", query, lastFrames(s.all()))
		} else if !strings.Contains(err.Error(), status) {
			t.Errorf("%s: got %v, want status %s", query, err, status)
		}
	}
}

func TestHundredAndFirstFilterIsRefused(t *testing.T) {
	t.Parallel()
	g := startReady(t, brokertest.Start(t).URL(), nil)
	ws := g.dial("")
	if got := ws.wait("welcome", func(f frame) bool { return f.Type == "welcome" }).Limits.MaxFilters; got != 100 {
		t.Errorf("welcome: got max_filters %d, want 100", got)
	}
	for i := range 100 {
		if r := ws.subscribe(fmt.Sprint("t/", i)).Results[0]; !r.OK {
			t.Fatalf("filter %d: got %+v", i+1, r)
		}
	}
	if r := ws.subscribe("t/100").Results[0]; !refused(r, 422) || r.Code != "limit_exceeded" {
		t.Errorf("filter 101: got %+v, want limit_exceeded", r)
	}
	if r := ws.subscribeAs(1, "t/7").Results[0]; !r.OK {
		t.Errorf("a filter held already: got %+v, want ok", r)
	}
	g.post(`{"topic":"t/100","payload":1}`)
	g.post(`{"topic":"t/99","payload":1}`)
	if m := ws.waitMessages(1)[0]; m.Topic != "t/99" {
		t.Errorf("got %s, want only t/99", m.raw)
	}
	ws.send(`{"op":"unsubscribe","id":"u","topics":["t/0"]}`)
	ws.wait("ack", func(f frame) bool { return string(f.ID) == `"u"` })
	if r := ws.subscribe("t/101").Results[0]; !r.OK {
		t.Errorf("after an unsubscribe: got %+v, want ok", r)
	}
}

func TestFilterOutsideOfWatchIsRefused(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_WATCH": "a/#,x/+"})
	ws := g.dial("")
	for f, ok := range map[string]bool{
		"a": true, "a/#": true, "a/b": true, "a/+/c": true, "x/1": true, "x/+": true,
		"b": false, "#": false, "+": false, "+/b": false, "x": false, "x/#": false, "x/1/2": false,
	} {
		r := ws.subscribe(f).Results[0]
		if want := map[bool]string{true: "", false: "filter_not_covered"}[ok]; r.OK != ok || string(r.Code) != want {
			t.Errorf("%s: got ok %t %q, want %t %q", f, r.OK, r.Code, ok, want)
		}
	}
	for _, topic := range []string{"b", "x/1/2", "a/b", "x/1", "a"} {
		g.post(`{"topic":"` + topic + `","payload":1}`)
	}
	ws.wait("the last message", func(f frame) bool { return f.Topic == "a" })
	if got := ws.waitMessages(3); len(got) != 3 {
		t.Errorf("got %d messages, want 3: %s", len(got), lastFrames(got))
	}
}

func TestUnsubscribeEndsOneFilterOfOneClient(t *testing.T) {
	t.Parallel()
	for _, watch := range watches {
		t.Run(watch.name, func(t *testing.T) {
			g := startReady(t, brokertest.Start(t).URL(), map[string]string{"GATEWAY_WATCH": watch.value})
			ws, other := g.dial(""), g.dial("")
			ws.subscribe("a", "b/#", "end")
			other.subscribe("a", "end")
			ws.send(`{"op":"unsubscribe","id":7,"topics":["a","b/1","a","a+"]}`)
			ack := ws.wait("ack", func(f frame) bool { return f.Type == "ack" && string(f.ID) == "7" })
			want := `[{"topic":"a","ok":true,"was_subscribed":true},{"topic":"b/1","ok":true,"was_subscribed":false},` +
				`{"topic":"a","ok":true,"was_subscribed":false},`
			if got, _ := json.Marshal(ack.Results); !strings.HasPrefix(string(got), want) || ack.Results[3].Code != "filter_syntax" {
				t.Errorf("got %s, want %s and filter_syntax", ack.raw, want)
			}
			for _, topic := range []string{"a", "b/1", "end"} {
				g.post(`{"topic":"` + topic + `","payload":1}`)
				other.sync()
			}
			for name, tt := range map[string]struct {
				ws   *socket
				want string
			}{"the one": {ws, "b/1 end"}, "the other": {other, "a end"}} {
				tt.ws.wait("the end", func(f frame) bool { return f.Topic == "end" })
				var got []string
				for _, m := range tt.ws.messages() {
					got = append(got, m.Topic)
				}
				if strings.Join(got, " ") != tt.want {
					t.Errorf("%s: got %s, want %s", name, got, tt.want)
				}
			}
		})
	}
}

func TestSameFilterTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	for _, watch := range watches {
		t.Run(watch.name, func(t *testing.T) {
			broker := brokertest.Start(t)
			g := startReady(t, broker.URL(), map[string]string{"GATEWAY_WATCH": watch.value})
			if err := brokertest.Dial(t, broker.Addr()).Publish("a", []byte("0"), 1, true); err != nil {
				t.Fatal(err)
			}
			ws := g.dial("")
			for i, filters := range [][]string{{"a"}, {"a"}, {"a", "a"}} {
				for _, r := range ws.subscribeAs(i, filters...).Results {
					if r != (wire.Result{Topic: "a", OK: true}) {
						t.Errorf("got %+v, want ok", r)
					}
				}
			}
			g.post(`{"topic":"a","payload":1}`)
			ws.wait("the live message", func(f frame) bool { return string(f.Payload) == "1" })
			ws.sync()
			if got := payloads(ws.messages()); got != "0 1" {
				t.Errorf("got %s, want 0 1", got)
			}
			ws.send(`{"op":"unsubscribe","id":"u","topics":["a"]}`)
			ws.sync()
			g.post(`{"topic":"a","payload":2}`)
			ws.subscribe("b")
			g.post(`{"topic":"b","payload":3}`)
			ws.wait("the other filter", func(f frame) bool { return f.Topic == "b" })
			if got := payloads(ws.messages()); got != "0 1 3" {
				t.Errorf("after one unsubscribe: got %s, want 0 1 3", got)
			}
		})
	}
}

// A broader filter makes the broker send the retained messages to the gateway
// again; who has them already does not get them again.
func TestBroaderFilterRepeatsNothing(t *testing.T) {
	t.Parallel()
	for _, watch := range watches {
		t.Run(watch.name, func(t *testing.T) {
			broker := brokertest.Start(t)
			g := startReady(t, broker.URL(), map[string]string{"GATEWAY_WATCH": watch.value})
			for i := range 3 {
				g.post(fmt.Sprintf(`{"topic":"pi/%d/led","payload":%d,"retain":true}`, i, i))
			}
			first := g.dial("")
			first.subscribe("pi/1/led")
			first.waitMessages(1)
			for i, filter := range []string{"pi/+/led", "pi/#", "+/1/led", "#", "pi/1/led"} {
				other := g.dial("")
				other.subscribe(filter)
				want := map[bool]int{true: 3, false: 1}[i != 2 && i != 4]
				if got := other.waitMessages(want); len(got) != want {
					t.Errorf("%s: got %s, want %d", filter, payloads(got), want)
				}
				g.post(fmt.Sprintf(`{"topic":"pi/1/led","payload":%d}`, 10+i))
				first.wait("the live message", func(f frame) bool { return string(f.Payload) == fmt.Sprint(10+i) })
			}
			first.sync()
			if got := payloads(first.messages()); got != "1 10 11 12 13 14" {
				t.Errorf("got %s, want 1 10 11 12 13 14", got)
			}
		})
	}
}

// One broker that refuses a filter in its SUBACK.
func TestFilterRefusedByTheBrokerIsSaid(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var upstream *brokertest.FakeConn // the first that subscribed to ok/#
	fake := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) != nil {
			return
		}
		_ = c.Serve(func(kind, _ byte, body []byte) bool {
			mu.Lock()
			defer mu.Unlock()
			if kind != brokertest.SUBSCRIBE {
				return false
			}
			if strings.Contains(string(body), "ok/#") && upstream == nil {
				upstream = c
			}
			codes := suback(body)
			_ = c.Suback(uint16(body[0])<<8|uint16(body[1]), codes...)
			return true
		})
	})
	g := startReady(t, fake.URL(), map[string]string{"GATEWAY_WATCH": "", "GATEWAY_MQTT_VERSION": "4"}) // that is what suback reads
	ws := g.dial("")
	for _, filters := range [][]string{{"secret/#"}, {"secret/a", "ok/#"}} {
		for _, r := range ws.subscribe(filters...).Results {
			if want := map[bool]string{true: "", false: "filter_refused"}[r.Topic == "ok/#"]; string(r.Code) != want || r.OK != (want == "") {
				t.Errorf("%s: got %+v, want %q", r.Topic, r, want)
			}
		}
	}
	mu.Lock()
	err := upstream.Publish(1, "ok/1", []byte("1"), 1, false)
	mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if m := ws.waitMessages(1)[0]; m.Topic != "ok/1" {
		t.Errorf("got %s, want ok/1", m.raw)
	}
}

// suback refuses the filters of a SUBSCRIBE that hold "secret".
func suback(body []byte) (codes []byte) {
	for rest := body[2:]; len(rest) > 2; {
		n := int(rest[0])<<8 + int(rest[1])
		code := rest[2+n]
		if strings.Contains(string(rest[2:2+n]), "secret") {
			code = 0x80
		}
		codes = append(codes, code)
		rest = rest[3+n:]
	}
	return codes
}
