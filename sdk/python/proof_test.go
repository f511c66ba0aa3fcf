package devicecom_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// Ten thousand messages at QoS 1 while the broker is restarted three times and
// the network is cut three times: each one that publish() has confirmed reaches
// an independent subscriber, whose session the broker keeps over the restarts;
// and none comes twice, though the program sends again what NotConnected says
// was not sent.
func TestConfirmedMessagesArriveOverBrokerRestarts(t *testing.T) {
	t.Parallel()
	const n = 10_000
	b := startBroker(t)
	oracle := brokertest.Dial(t, b.URL(), brokertest.ClientID("oracle"), brokertest.PersistentSession(), brokertest.AutoReconnect())
	if code := oracle.Subscribe("proof", 1); code != 1 {
		t.Fatalf("SUBACK: got %d, want 1", code)
	}
	network := brokertest.StartProxy(t, b.URL())
	p := start(t, ini(network.Addr()), `
import device_com

def send(number):
    while True:
        try:
            device_com.publish("proof", number)
            return "confirmed"
        except device_com.NotConnected:
            time.sleep(0.01)
        except device_com.OutcomeUnknown:
            return "unknown"

import threading
import time

def work(first):
    for number in range(first, 10000, 4):
        outcome = send(number)
        with lock:
            print(outcome, number)

lock = threading.Lock()
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("end")
`)
	for i := 1; i <= 3; i++ {
		oracle.WaitCount(n/4*i-n/8, patience)
		network.Cut()
		oracle.WaitCount(n/4*i, patience)
		b.Restart()
	}
	p.prints("end\n")
	if got := p.status(); got != 0 {
		t.Fatalf("status: got %d, want 0; got\n%s", got, p)
	}
	confirmed, unknown := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(p.out.String()) {
		outcome, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch outcome {
		case "confirmed":
			confirmed[number] = true
		case "unknown":
			unknown[number] = true
		}
	}
	if len(confirmed)+len(unknown) != n || len(unknown) > 100 {
		t.Fatalf("got %d confirmed and %d unknown, want %d in all, and few unknown", len(confirmed), len(unknown), n)
	}
	send(t, brokertest.Dial(t, b.URL()), "proof", "end")
	oracle.Wait(patience, func(m brokertest.Message) bool { return string(m.Payload) == "end" })
	arrived := map[string]int{}
	for _, m := range oracle.Received() {
		if !m.Dup { // the broker may deliver again what the oracle had not acknowledged
			arrived[string(m.Payload)]++
		}
	}
	for i := range n {
		number := fmt.Sprint(i)
		if arrived[number] == 0 && confirmed[number] {
			t.Errorf("%s was confirmed and has not arrived", number)
		}
		if arrived[number] > 1 {
			t.Errorf("%s has arrived %d times", number, arrived[number])
		}
	}
	t.Logf("%d confirmed, %d unknown, of which %d arrived", len(confirmed), len(unknown), len(arrived)-1-len(confirmed))
}
