package devicecom_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// A program that only publishes needs no connect_broker(): it would wait for a
// message.
func TestPublishConnectsByItself(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	c.Subscribe("#", 2)
	p := start(t, ini(b.Addr()), `
from device_com import publish

for qos in (0, 1, 2):
    publish(f"qos/{qos}", qos, qos=qos)
publish("text", "on")
publish("bytes", b"\xff\x00")
publish("json", {"temp": 21.5, "ok": True, "none": None, "list": [1, "ä"]})
publish("kept", 0, retain=True)
publish("large", "x" * 1000000, qos=2)
`)
	p.ends(0, "")
	got := map[string]brokertest.Message{}
	for _, m := range c.WaitCount(8, patience) {
		got[m.Topic] = m
	}
	for topic, want := range map[string]struct {
		payload string
		qos     byte
	}{
		"qos/0": {"0", 0}, "qos/1": {"1", 1}, "qos/2": {"2", 2}, "text": {"on", 1}, "bytes": {"\xff\x00", 1},
		"json": {`{"temp":21.5,"ok":true,"none":null,"list":[1,"ä"]}`, 1}, "kept": {"0", 1}, "large": {strings.Repeat("x", 1000000), 2},
	} {
		if m := got[topic]; string(m.Payload) != want.payload || m.QoS != want.qos {
			t.Errorf("%s: got %.40q at QoS %d, want %.40q at QoS %d", topic, m.Payload, m.QoS, want.payload, want.qos)
		}
	}
	late := brokertest.Dial(t, b.URL())
	late.Subscribe("kept", 1)
	if m := late.WaitCount(1, patience)[0]; !m.Retain || string(m.Payload) != "0" {
		t.Errorf("retained: got %+v, want 0", m)
	}
	if strings.Contains(b.Log(), " 0 #\n") {
		t.Error("it has subscribed, and nobody reads")
	}
	b.WaitLogCount(" disconnected.\n", 1) // in order
}

func TestPublishFromSeveralThreads(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	c.Subscribe("#", 2)
	p := start(t, ini(b.Addr()), `
import threading
from device_com import publish

def work(n):
    for i in range(100):
        publish(f"t/{n}", i, qos=i % 3)

threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
`)
	p.ends(0, "")
	next := map[string]int{}
	for _, m := range c.WaitCount(800, patience) {
		// Order holds within one QoS only, so each is looked at by itself.
		key := fmt.Sprint(m.Topic, m.QoS)
		if want := next[key]*3 + int(m.QoS); string(m.Payload) != fmt.Sprint(want) {
			t.Fatalf("%s at QoS %d: got %s, want %d", m.Topic, m.QoS, m.Payload, want)
		}
		next[key]++
	}
}

func TestPublishWhileDisconnectedIsRefused(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL(), brokertest.AutoReconnect())
	c.Subscribe("#", 1)
	p := start(t, ini(b.Addr()), `
import sys
import device_com

device_com.publish("a", "before")
print("ready")
while True:
    try:
        device_com.publish("a", "during")
    except device_com.NotConnected as e:
        print(e)
        break
    except device_com.OutcomeUnknown as e:
        pass
while True:
    try:
        device_com.publish("a", "after")
        break
    except device_com.NotConnected:
        pass
`)
	p.prints("ready\n")
	b.Kill()
	p.prints("not sent: ")
	p.complains("device_com: no connection to " + b.Addr() + ": the ")
	b.StartAgain()
	if got := p.status(); got != 0 {
		t.Errorf("status: got %d, want 0; got\n%s", got, p)
	}
	p.complains("device_com: connected to " + b.Addr() + " again\n")
}

// The proxy swallows the confirmation: nobody can know.
func TestUnconfirmedPublishIsUnknown(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		qos    int
		answer byte
		reset  bool
		words  string
	}{
		"QoS 1, connection lost": {1, brokertest.PUBACK, true, "was lost before the confirmation"},
		"QoS 2, connection lost": {2, brokertest.PUBCOMP, true, "was lost before the confirmation"},
		"QoS 1, time is over":    {1, brokertest.PUBACK, false, "has not confirmed them in 0.5 seconds"},
		"QoS 2, no PUBREC":       {2, brokertest.PUBREC, false, "has not confirmed them in 0.5 seconds"},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBroker(t)
			c := brokertest.Dial(t, b.URL())
			c.Subscribe("#", 0)
			network := brokertest.StartProxy(t, b.URL())
			network.Hook(func(_ brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
				if brokertest.PacketType(packet) == tc.answer {
					if tc.reset {
						return nil, brokertest.CutNow
					}
					return nil, brokertest.Swallow
				}
				return nil, brokertest.Pass
			})
			p := start(t, ini(network.Addr()), fmt.Sprintf(`
import device_com

device_com.publish.timeout = 0.5 if not %d else 60
try:
    device_com.publish("a", "x", qos=%d)
except device_com.OutcomeUnknown as e:
    print(isinstance(e, device_com.DeviceError), isinstance(e, device_com.NotConnected), e)
`, map[bool]int{true: 1}[tc.reset], tc.qos))
			out := p.out.String
			if got := p.status(); got != 0 || !strings.HasPrefix(out(), "True False sent") || !strings.Contains(out(), tc.words) ||
				!strings.Contains(out(), "the message may or may not have arrived") {
				t.Errorf("status: got %d, want 0 and %q; got\n%s", got, tc.words, p)
			}
			if tc.answer != brokertest.PUBREC { // at QoS 2 it was not released
				c.WaitCount(1, patience)
			}
			if got := c.Count(); got > 1 {
				t.Errorf("the message came %d times, want once: nothing is sent again", got)
			}
		})
	}
}

func TestWill(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end    string // what the program does at last
		signal syscall.Signal
		left   bool // whether the will is published
	}{
		"killed":                       {"threading.Event().wait()", syscall.SIGKILL, true},
		"terminated":                   {"threading.Event().wait()", syscall.SIGTERM, true},
		"ended by an exception":        {"1 / 0", 0, true},
		"ended by an error of its own": {"device_com.publish('#', 1)", 0, true},
		"ended":                        {"pass", 0, false},
		"ended by sys.exit":            {"sys.exit(3)", 0, false},
		"ended by Ctrl-C":              {"threading.Event().wait()", syscall.SIGINT, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBroker(t)
			c := brokertest.Dial(t, b.URL())
			c.Subscribe("state/#", 1)
			c.Subscribe("end", 1)
			p := start(t, ini(b.Addr()), `
import sys
import threading
import device_com

device_com.connect_broker.will = ("state/pi", {"on": False}, 1, True)
device_com.connect_broker.client_id = "pi-3"
device_com.publish("state/pi", {"on": True}, retain=True)
print("ready")
`+tc.end+"\n")
			p.prints("ready\n")
			if tc.signal != 0 {
				p.signal(os.Signal(tc.signal))
			}
			p.status()
			want := 1
			if tc.left {
				want = 2
				c.WaitCount(2, patience)
			} else {
				b.WaitLog("Client pi-3 disconnected.")
				send(t, c, "end", "")
				c.Wait(patience, func(m brokertest.Message) bool { return m.Topic == "end" })
			}
			states := 0
			for _, m := range c.Received() {
				if m.Topic == "state/pi" && !m.Retain {
					states++
				}
			}
			if states != want {
				t.Errorf("got %d messages, want %d: %+v", states, want, c.Received())
			}
			if tc.left {
				if m := c.Received()[c.Count()-1]; string(m.Payload) != `{"on":false}` || m.QoS != 1 {
					t.Errorf("will: got %s at QoS %d, want {\"on\":false} at QoS 1", m.Payload, m.QoS)
				}
			}
		})
	}
}

// The broker has published the will of a connection that was lost; the birth of
// the next one puts it right.
func TestBirthIsPublishedOnEachConnection(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	network := brokertest.StartProxy(t, b.URL())
	c := brokertest.Dial(t, b.URL())
	c.Subscribe("state/pi", 1)
	p := start(t, ini(network.Addr()), `
import threading
import device_com

device_com.connect_broker.client_id = "pi-3"
device_com.connect_broker.will = ("state/pi", "offline", 1, True)
device_com.connect_broker.birth = ("state/pi", "online", 2, True)
device_com.publish("data", 1)
print("ready")
threading.Event().wait()
`)
	p.prints("ready\n")
	c.WaitCount(1, patience)
	network.Cut()
	states := ""
	for _, m := range c.WaitCount(3, patience) {
		states += string(m.Payload) + " "
	}
	if want := "online offline online "; states != want {
		t.Errorf("got %q, want %q", states, want)
	}
	late := brokertest.Dial(t, b.URL())
	late.Subscribe("state/pi", 1)
	if m := late.WaitCount(1, patience)[0]; !m.Retain || string(m.Payload) != "online" {
		t.Errorf("got %+v, want online, retained", m)
	}
}

func TestWrongWillIsRefused(t *testing.T) {
	t.Parallel()
	start(t, ini("127.0.0.1:1"), "import device_com\ndevice_com.connect_broker.birth = 'online'\ndevice_com.connect_broker()\n").
		fails("connect_broker.birth must be (topic, value)", "line 3)")
	for will, words := range map[string]string{
		"'state'":                  "connect_broker.will must be (topic, value)",
		"('a',)":                   "connect_broker.will must be (topic, value)",
		"('a', 1, 1, True, False)": "connect_broker.will must be (topic, value)",
		"('a/#', 1)":               "wildcard #",
		"('a', 1, 5)":              "qos is 5",
	} {
		p := start(t, ini("127.0.0.1:1"), "import device_com\ndevice_com.connect_broker.will = "+will+"\ndevice_com.connect_broker()\n")
		p.fails(words, "line 3)")
	}
	start(t, ini("127.0.0.1:1"), "from device_com import connect_broker\nconnect_broker.on_message = print\nconnect_broker()\n").
		fails("connect_broker has no on_message to set")
}

// close() sends what waits; what it leaves open is told apart as ever: what was
// not sent has not arrived.
func TestCloseTellsWhatWasSent(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	c.Subscribe("#", 1)
	p := start(t, ini(b.Addr()), `
import threading
import time
import device_com

def work(first):
    number = first
    while True:
        try:
            device_com._client.publish((b"a", b"%d" % number, number % 2, False), 30)
        except device_com.DeviceError as e:
            with lock:
                print(type(e).__name__, number)
            return
        number += 10

device_com.publish("ready", 1)
client, lock = device_com._client, threading.Lock()
threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
for thread in threads: thread.start()
time.sleep(0.3)
client.end(True)
for thread in threads: thread.join()
`)
	if got := p.status(); got != 0 || strings.Contains(p.err.String(), "Traceback") {
		t.Fatalf("status: got %d, want 0 and no traceback; got\n%s", got, p)
	}
	b.WaitLogCount(" disconnected.\n", 1)
	send(t, c, "end", "")
	c.Wait(patience, func(m brokertest.Message) bool { return m.Topic == "end" })
	arrived := map[string]int{}
	for _, m := range c.Received() {
		if m.Topic == "a" {
			arrived[string(m.Payload)]++
		}
	}
	ended := 0
	for line := range strings.Lines(p.out.String()) {
		outcome, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		ended++
		if outcome == "NotConnected" && arrived[number] != 0 {
			t.Errorf("%s: not sent, it says, but it has arrived", number)
		}
		var n int
		if _, err := fmt.Sscan(number, &n); err != nil {
			t.Fatal(err)
		}
		for n -= 10; n >= 0; n -= 10 { // all before it were confirmed, or at QoS 0 sent in order
			if got := arrived[fmt.Sprint(n)]; got != 1 {
				t.Errorf("%d: confirmed, but it has arrived %d times", n, got)
			}
		}
	}
	if ended != 10 {
		t.Errorf("got the outcomes of %d threads, want 10", ended)
	}
}
