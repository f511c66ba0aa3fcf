package devicecom_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

func TestOnMessageIsCalledForEachUntilCtrlC(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	p := start(t, ini(b.Addr()), `
import device_com

def show(topic, value):
    print(topic, value)
    if value == "bad":
        raise ValueError("a fault of the handler")
    if topic == "ask":
        device_com.publish("answer", value + 1)  # may publish

device_com.on_message = show
vals = device_com.connect_broker()
print("main has ended")
`)
	waitSubscribed(t, b, 1)
	p.complains("device_com: the program's main has ended; on_message goes on until Ctrl-C\n")
	answer := c.Subscribe("answer", 1)
	if answer != 1 {
		t.Fatalf("SUBACK: got %d, want 1", answer)
	}
	send(t, c, "a", "bad")
	send(t, c, "ask", "1")
	p.prints("main has ended\na bad\nask 1\nanswer 2\n")
	p.complains("ValueError: a fault of the handler\n")
	c.WaitCount(1, patience)
	p.signal(os.Interrupt)
	if got := p.status(); got != 0 || strings.Count(p.err.String(), "Traceback") != 1 || strings.Contains(p.err.String(), "KeyboardInterrupt") {
		t.Errorf("status: got %d, want 0 and only the traceback of the handler; got\n%s", got, p)
	}
	b.WaitLogCount(" disconnected.\n", 1) // in order
}

func TestOnMessageCanEndTheProgram(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"device_com.on_message = None", "sys.exit()", "device_com.close()"} {
		t.Run(end, func(t *testing.T) {
			b := startBroker(t)
			c := brokertest.Dial(t, b.URL())
			p := start(t, ini(b.Addr()), `
import sys
import device_com

def show(topic, value):
    print(value)
    `+end+`

device_com.on_message = show
device_com.connect_broker()
`)
			p.complains("on_message goes on until Ctrl-C")
			send(t, c, "a", "1")
			if got := p.status(); got != 0 || p.out.String() != "1\n" || strings.Contains(p.err.String(), "Traceback") {
				t.Errorf("status: got %d, want 0, stdout 1 and no traceback; got\n%s", got, p)
			}
		})
	}
}

// A handler that blocks holds up nobody but itself, and what it misses is told.
func TestSlowHandlerDoesNotHoldUpReception(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	p := start(t, ini(b.Addr()), `
import threading
import time
import device_com

go = threading.Event()
seen = []

def slow(topic, value):
    go.wait()
    seen.append(value)

device_com.on_message = slow
vals = device_com.connect_broker()
while vals.message.value != "end":
    time.sleep(0.001)
device_com.publish("from/main", 1)  # confirmed, although the handler blocks
go.set()
while "end" not in seen:
    time.sleep(0.001)
print(vals.unhandled, len(seen))
device_com.on_message = None
`)
	waitSubscribed(t, b, 1)
	for i := range 1500 {
		send(t, c, "a", fmt.Sprint(i))
	}
	send(t, c, "a", "end")
	status := p.status()
	var missed, seen int
	if _, err := fmt.Sscan(p.out.String(), &missed, &seen); err != nil || status != 0 || missed < 500 || missed+seen < 1501 || missed+seen > 1502 {
		t.Errorf("got status %d, want 0, and at least 500 missed of 1501 or 1502; got\n%s", status, p)
	}
	if want := "device_com: on_message is slower than the messages: "; !strings.Contains(p.err.String(), want) {
		t.Errorf("stderr: got %q, want %q in it", p.err.String(), want)
	}
}
