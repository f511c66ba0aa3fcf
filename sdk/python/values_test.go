package devicecom_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

func TestFirstValueIsWaitedForAndThenValsFollow(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	p := start(t, ini(b.Addr()), `
from device_com import connect_broker

vals = connect_broker()
print("first", vals, vals == 21.5, vals > 20, f"{vals:.2f}", vals + 1, vals.topic, vals.raw)
while vals.topic != "end":
    vals.next()
print("last", vals["temp"], vals.get("x"), vals == {"temp": 3})
`)
	p.complains("device_com: waiting for the first message from " + b.Addr())
	send(t, c, "pi/3/battery", "21.50")
	p.prints("first 21.5 True True 21.50 22.5 pi/3/battery b'21.50'\n")
	send(t, c, "pi/3/battery", "22")
	send(t, c, "end", `{"temp":3}`)
	p.prints("last 3 None True\n")
	if got := p.status(); got != 0 {
		t.Errorf("status: got %d, want 0; got\n%s", got, p)
	}
}

func TestValuesAreDecoded(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	p := start(t, ini(b.Addr()), `
from device_com import connect_broker

for message in connect_broker().messages():
    print(message.topic, repr(message.value))
    if message.topic == "end":
        break
`)
	waitSubscribed(t, b, 1)
	for i, payload := range []string{"0", "21.50", "true", "null", `"on"`, "on", "", "[1,2]", "\xff\xfe", "NaN", strings.Repeat("[", 100000)} {
		send(t, c, fmt.Sprint(i), payload)
	}
	send(t, c, "end", "1")
	p.ends(0, "0 0\n1 21.5\n2 True\n3 None\n4 'on'\n5 'on'\n6 ''\n7 [1, 2]\n8 b'\\xff\\xfe'\n9 'NaN'\n10 '"+strings.Repeat("[", 100000)+"'\nend 1\n")
}

func TestNextHandsOutEachMessageOnceAndInOrder(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	p := start(t, ini(b.Addr()), `
import device_com

vals = device_com.connect_broker()
print(vals.next(), vals.next(60), next(vals), vals.skipped)
try:
    vals.next(0.1)
except device_com.NoMessage as e:
    print(type(e).__name__, isinstance(e, TimeoutError), isinstance(e, device_com.DeviceError))
for v in vals:
    print(v)
    if v == "end":
        break
print(vals == "end", vals.skipped)
`)
	waitSubscribed(t, b, 1)
	for _, v := range []string{"1", "2", "3"} {
		send(t, c, "a", v)
	}
	p.prints("NoMessage True True\n")
	for _, v := range []string{"4", "5", "end"} {
		send(t, c, "a", v)
	}
	p.ends(0, "1 2 3 0\nNoMessage True True\n4\n5\nend\nTrue 0\n")
}

func TestWhatIsNotReadIsBoundedAndCounted(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	p := start(t, ini(b.Addr()), `
import time
from device_com import connect_broker

vals = connect_broker()
while vals != "end":
    time.sleep(0.001)
print(vals.skipped, vals.next(), vals.skipped)
`)
	waitSubscribed(t, b, 1)
	for i := range 1500 {
		send(t, c, "a", fmt.Sprint(i))
	}
	send(t, c, "a", "end")
	p.ends(0, "501 501 501\n")
}

func TestValuesCanBeAwaited(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	p := start(t, ini(b.Addr()), `
import asyncio
import device_com

async def main():
    vals = device_com.connect_broker()
    print(await vals, await vals.anext())
    try:
        await asyncio.wait_for(vals.anext(), 0.1)
    except asyncio.TimeoutError:
        print("nothing yet")
    asyncio.get_running_loop().call_later(0.1, device_com.publish, "a", "end")  # the loop runs while it waits
    async for v in vals:
        print(v)
        if v == "end":
            break
    waits = asyncio.ensure_future(vals.anext())
    await asyncio.sleep(0)
    device_com.close()
    try:
        await waits
    except device_com.NotConnected as e:
        print(e)

asyncio.run(main())
`)
	waitSubscribed(t, b, 1)
	send(t, c, "a", "1")
	send(t, c, "a", "2")
	p.prints("1 2\nnothing yet\n")
	p.ends(0, "1 2\nnothing yet\nend\nthe connection was closed by close()\n")
}

// Ctrl-C while device_com waits ends the program like Ctrl-C ends any, without a traceback.
func TestCtrlCEndsWaiting(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	for name, source := range map[string]string{
		"for the connection":    "connect_broker()",
		"for the first message": "connect_broker()",
		"for the next":          "import device_com; device_com.on_message = print; connect_broker().next()",
	} {
		t.Run(name, func(t *testing.T) {
			addr := b.Addr()
			if strings.HasSuffix(name, "connection") {
				addr = "127.0.0.1:1"
			}
			p := start(t, ini(addr), `
import os, signal, sys, threading, time
from device_com import connect_broker

def interrupt():
    """Presses Ctrl-C when main waits."""
    while True:
        time.sleep(0.01)
        frame, names = sys._current_frames()[threading.main_thread().ident], []
        while frame:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        if "_wait" in names:
            os.kill(os.getpid(), signal.SIGINT)
            return

threading.Thread(target=interrupt, daemon=True).start()
`+source+"\n")
			p.ends(-int(syscall.SIGINT), "")
		})
	}
}

// A program that catches Ctrl-C to end its main wants to end, also while
// on_message is set.
func TestOneCtrlCIsEnough(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	for name, tc := range map[string]struct {
		source string
		status int
	}{
		"caught":   {"try:\n    wait()\nexcept KeyboardInterrupt:\n    print('bye')\n", 0},
		"uncaught": {"wait()\n", -int(syscall.SIGINT)},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, ini(b.Addr()), `
import threading
import device_com

def wait():
    print("waits")
    threading.Event().wait()

device_com.on_message = print
device_com.connect_broker()
`+tc.source)
			p.prints("waits\n")
			p.signal(os.Interrupt)
			if got := p.status(); got != tc.status || strings.Contains(p.err.String(), "device_com: ") {
				t.Errorf("status: got %d, want %d, and no word of device_com; got\n%s", got, tc.status, p)
			}
		})
	}
}

func TestSecondCallGivesTheSameVals(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	p := start(t, ini(b.Addr()), `
import device_com

vals = device_com.connect_broker()
print(device_com.connect_broker() is vals)
device_com.close()
print("closed", vals)
again = device_com.connect_broker()
print(again is vals, again)
`)
	waitSubscribed(t, b, 1)
	send(t, c, "a", "1")
	p.prints("closed 1\n")
	waitSubscribed(t, b, 2)
	send(t, c, "a", "2")
	p.ends(0, "True\nclosed 1\nFalse 2\n")
}

// A burst is received completely: reading waits for nothing.
func TestBurstIsReceivedCompletely(t *testing.T) {
	t.Parallel()
	const n = 20_000
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	p := start(t, ini(b.Addr()), `
from device_com import connect_broker

vals = connect_broker()
got = 0
for v in vals:
    got += 1
    if v == "end":
        break
print(got + vals.skipped)
`)
	waitSubscribed(t, b, 1)
	var acks []<-chan error
	for i := range n {
		acks = append(acks, c.PublishAsync("a/b", fmt.Appendf(nil, "%040d", i), 1, false))
	}
	for _, ack := range acks {
		if err := <-ack; err != nil {
			t.Fatal(err)
		}
	}
	send(t, c, "a/b", "end")
	p.ends(0, fmt.Sprintln(n+1))
}

// An exception that ends main ends the program, also while on_message is set.
func TestFaultInMainEndsTheProgram(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	p := start(t, ini(b.Addr()), "import device_com\ndevice_com.on_message = print\ndevice_com.connect_broker()\n1 / 0\n")
	if got := p.status(); got != 1 || !strings.HasSuffix(p.err.String(), "ZeroDivisionError: division by zero\n") {
		t.Errorf("status: got %d, want 1 and the traceback as the last; got\n%s", got, p)
	}
}

// The child of a fork has no network thread; it connects by itself.
func TestForkedChildConnectsByItself(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	c.Subscribe("#", 1)
	p := start(t, ini(b.Addr()), `
import os
import warnings
import device_com

warnings.simplefilter("ignore")
device_com.publish("parent", 1)
if os.fork() == 0:
    device_com.publish("child", 2)
else:
    os.wait()
    device_com.publish("parent", 3)
`)
	p.ends(0, "")
	for i, want := range []string{"1", "2", "3"} {
		if got := string(c.WaitCount(3, patience)[i].Payload); got != want {
			t.Errorf("message %d: got %s, want %s", i, got, want)
		}
	}
}
