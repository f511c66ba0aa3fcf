package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/spectest"
)

// refusal is what a client is told of a message that a broker does not take.
type refusal struct {
	status, reason int // reason 0: none is told
	code           string
}

// ways are all ways to publish a message, with the refusal that comes back.
func (g *gateway) ways(t *testing.T, topic, payload string, qos int, retain bool) map[string]refusal {
	t.Helper()
	object := fmt.Sprintf(`{"topic":%q,"payload":%q,"qos":%d,"retain":%t}`, topic, payload, qos, retain)
	query := fmt.Sprintf("?qos=%d&retain=%t", qos, retain)
	got := map[string]refusal{
		"publish": toldBy(t, g.do(post("publish", object)).body),
		"topics":  toldBy(t, g.do(request{method: "POST", path: "/topics/" + topic + query, body: payload}).body),
		"batch":   toldBy(t, strings.Trim(g.do(arrayBatch("batch", "["+object+"]")).body, "[]\n")),
		"stream":  toldBy(t, g.do(ndjsonBatch("stream", object)).body),
	}
	if !retain {
		got["request"] = toldBy(t, g.do(request{method: "POST", path: fmt.Sprintf("/request/%s?reply=nobody&timeout=1m&qos=%d", topic, qos), body: payload}).body)
	}
	s := g.dialStrict(t, "")
	s.expect("welcome")
	s.send(`{"op":"publish","id":1,` + object[1:])
	got["websocket"] = toldBy(t, string(spectest.Encode(t, s.expect("error")["problem"])))
	return got
}

func toldBy(t *testing.T, body string) refusal {
	t.Helper()
	p := spectest.Decode[struct {
		Status int    `json:"status"`
		Code   string `json:"code"`
		Reason int    `json:"reason_code"`
	}](t, body)
	return refusal{p.Status, p.Reason, p.Code}
}

// accessList makes a broker deny what is not granted, but what the gateway needs
// for itself.
func accessList(t *testing.T, lines string) brokertest.Option {
	t.Helper()
	return accessFile(t, "topic readwrite $gateway/#\ntopic read $SYS/#\n"+lines)
}

// accessFile is the list of those without a name, and of the tests' gateways.
func accessFile(t *testing.T, lines string) brokertest.Option {
	t.Helper()
	lines += "user " + brokerUser + "\n" + lines
	file := filepath.Join(t.TempDir(), "acl")
	if err := os.WriteFile(file, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	return brokertest.Conf("acl_file " + file)
}

// What a real broker does not take is told as such, with its reason, whichever
// way it was published.
func TestRefusalsOfMosquittoAreTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		conf    brokertest.Option
		topic   string
		payload string
		qos     int
		retain  bool
		want    refusal
		metric  string
	}{
		"access list":        {accessList(t, "topic readwrite open/#\ntopic read #\n"), "closed", "1", 1, false, refusal{403, 0x87, "broker_denied"}, "not_authorized"},
		"access list, QoS 2": {accessList(t, "topic readwrite open/#\ntopic read #\n"), "closed", "1", 2, false, refusal{403, 0x87, "broker_denied"}, "not_authorized"},
		"max_packet_size":    {brokertest.Conf("max_packet_size 2000"), "large", strings.Repeat("x", 3000), 1, false, refusal{413, 0x95, "broker_too_large"}, "packet_too_large"},
		"max_qos":            {brokertest.Conf("max_qos 1"), "a", "1", 2, false, refusal{422, 0x9B, "broker_refused"}, "qos_not_supported"},
		"retain_available":   {brokertest.Conf("retain_available false"), "a", "1", 1, true, refusal{422, 0x9A, "broker_refused"}, "retain_not_supported"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startReady(t, brokertest.Start(t, c.conf).URL(), map[string]string{"GATEWAY_MQTT_VERSION": "5"})
			got := g.ways(t, c.topic, c.payload, c.qos, c.retain)
			for way, told := range got {
				if told != c.want {
					t.Errorf("%s: got %+v, want %+v", way, told, c.want)
				}
			}
			if n := g.metric(`gateway_publish_refused_total{reason="` + c.metric + `"}`); n != float64(len(got)) {
				t.Errorf("got %v refusals counted as %s, want %d", n, c.metric, len(got))
			}
			if n := g.metric(fmt.Sprintf(`gateway_publish_total{outcome="refused",qos="%d",via="http"}`, c.qos)); n != 2 {
				t.Errorf("got %v publishes with the outcome refused, want 2", n)
			}
			if log := g.logged(); !strings.Contains(log, `"msg":"the broker refused a message","topic":"`+c.topic+`"`) {
				t.Errorf("the log does not name the topic: %s", tail(log, 2000))
			}
			if a := g.do(request{method: "POST", path: "/topics/open/a?qos=1", body: "1"}); a.status != 200 {
				t.Errorf("another publish: got %d %s, want 200", a.status, a.body)
			}
		})
	}
}

// On 3.1.1 a broker can only close the connection. What it closes it on is
// refused; others go on.
func TestGuiltyPublishIsRefused(t *testing.T) {
	t.Parallel()
	for name, conf := range map[string]string{"max_qos": "max_qos 1", "retain_available": "retain_available false"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startReady(t, brokertest.Start(t, brokertest.Conf(conf)).URL(), map[string]string{"GATEWAY_MQTT_VERSION": "4"})
			qos, retain := 2, false
			if name == "retain_available" {
				qos, retain = 1, true
			}
			want := refusal{422, 0, "broker_refused"}
			path := fmt.Sprintf("/topics/a?qos=%d&retain=%t", qos, retain)
			eventually(t, "the like is refused", func() bool {
				return toldBy(t, g.do(request{method: "POST", path: path, body: "1"}).body) == want
			})
			for way, told := range g.ways(t, "a", "1", qos, retain) {
				if told != want {
					t.Errorf("%s: got %+v, want %+v", way, told, want)
				}
			}
			if n := g.metric(`gateway_publish_refused_total{reason="closed"}`); n < 5 {
				t.Errorf("got %v refusals counted as closed, want 5 or more", n)
			}
			eventually(t, "another message on the topic", func() bool {
				return g.do(request{method: "POST", path: "/topics/a?qos=1", body: "1"}).status == 200
			})
		})
	}
}

// answering is a broker that answers publishes on the topic bad with a reason.
func answering(t *testing.T, kind byte, reason byte) *brokertest.Fake {
	return brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) != nil {
			return
		}
		_ = c.Serve(func(got, flags byte, body []byte) bool {
			switch {
			case got == brokertest.PUBLISH && strings.HasPrefix(string(body[2:]), "bad"):
				first := byte(brokertest.PUBREC)
				if flags>>1&3 == 1 {
					first = brokertest.PUBACK
				}
				answer := []byte{first << 4, 3, body[5], body[6], 0}
				if kind == 0 || kind == first {
					answer[4] = reason
				}
				return c.Write(answer) == nil
			case got == brokertest.PUBREL && kind == brokertest.PUBCOMP:
				return c.Write([]byte{brokertest.PUBCOMP << 4, 3, body[0], body[1], reason}) == nil
			}
			return false
		})
	})
}

// Reasons that mosquitto never gives, and the packet that mosquitto never puts
// one in.
func TestRefusalsOfOtherBrokersAreTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind, reason byte
		qos          int
		want         refusal
	}{
		"quota in PUBACK":    {0, 0x97, 1, refusal{429, 0x97, "broker_quota"}},
		"quota in PUBREC":    {0, 0x97, 2, refusal{429, 0x97, "broker_quota"}},
		"PUBCOMP":            {brokertest.PUBCOMP, 0x92, 2, refusal{422, 0x92, "broker_refused"}},
		"unspecified":        {0, 0x80, 1, refusal{422, 0x80, "broker_refused"}},
		"payload format":     {0, 0x99, 1, refusal{422, 0x99, "broker_refused"}},
		"topic name":         {0, 0x90, 1, refusal{422, 0x90, "broker_refused"}},
		"too large":          {0, 0x95, 2, refusal{413, 0x95, "broker_too_large"}},
		"a code of no one's": {0, 0xF0, 1, refusal{422, 0xF0, "broker_refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startReady(t, answering(t, c.kind, c.reason).URL(), map[string]string{"GATEWAY_MQTT_VERSION": "5"})
			for way, told := range g.ways(t, "bad", "1", c.qos, false) {
				if told != c.want {
					t.Errorf("%s: got %+v, want %+v", way, told, c.want)
				}
			}
			a := g.do(request{method: "POST", path: fmt.Sprintf("/topics/bad?qos=%d", c.qos), body: "1"})
			if (a.header.Get("Retry-After") != "") != (c.want.status == 429) {
				t.Errorf("got Retry-After %q with %d", a.header.Get("Retry-After"), a.status)
			}
		})
	}
}

// With MQTT 5 a broker says that nobody has subscribed.
func TestNobodyHasSubscribed(t *testing.T) {
	t.Parallel()
	for kind, broker := range map[string]*brokertest.Fake{"PUBACK": answering(t, 0, 0x10), "PUBREC": answering(t, brokertest.PUBREC, 0x10)} {
		g := startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_VERSION": "5"})
		for topic, want := range map[string]string{"bad": "none", "good": ""} {
			for _, qos := range []int{1, 2} {
				a := g.do(post("publish", fmt.Sprintf(`{"topic":%q,"payload":1,"qos":%d}`, topic, qos)))
				got := spectest.Decode[struct{ Subscribers string }](t, a.body).Subscribers
				if kind == "PUBREC" && qos == 1 {
					continue
				}
				if a.status != 200 || got != want {
					t.Errorf("%s, QoS %d on %s: got %d %s, want subscribers %q", kind, qos, topic, a.status, a.body, want)
				}
			}
		}
	}
}
