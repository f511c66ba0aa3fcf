package devicecom

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

func TestPublishArrivesAtEachQoS(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	c := brokertest.Dial(t, b.Addr())
	c.Subscribe("a/#", 2)
	for qos := range byte(3) {
		if err := vals.Publish(within(t), "a/b", int(qos), QoS(qos)); err != nil {
			t.Fatalf("QoS %d: %v", qos, err)
		}
	}
	if err := vals.Publish(within(t), "a/b", 3); err != nil {
		t.Fatal(err)
	}
	wantQoS := []byte{0, 1, 2, 1}
	for i, m := range c.WaitCount(4, patience) {
		if m.Payload[0] != '0'+byte(i) || m.QoS != wantQoS[i] || m.Retain {
			t.Errorf("message %d: got %+v, want QoS %d", i, m, wantQoS[i])
		}
	}
}

func TestRetainIsKeptAndCleared(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	for _, topic := range []string{"kept", "cleared"} {
		if err := vals.Publish(within(t), topic, topic, Retain()); err != nil {
			t.Fatal(err)
		}
	}
	if err := vals.Publish(within(t), "cleared", "", Retain(), QoS(2)); err != nil {
		t.Fatal(err)
	}
	c := brokertest.Dial(t, b.Addr())
	c.Subscribe("#", 1)
	publish(t, c, "end", "", false)
	got := c.WaitCount(2, patience)
	if len(got) != 2 || got[0].Topic != "kept" || !got[0].Retain || got[1].Topic != "end" {
		t.Errorf("got %+v, want kept and end", got)
	}
}

func TestPublishEncodes(t *testing.T) {
	type reading struct {
		T float64 `json:"t"`
		N string  `json:"n,omitempty"`
	}
	for _, tc := range []struct {
		value any
		want  string
	}{
		{"on", "on"}, {`{"a":1}`, `{"a":1}`}, {"", ""}, {[]byte{0, 0xff}, "\x00\xff"}, {[]byte(nil), ""},
		{0, "0"}, {-7, "-7"}, {21.5, "21.5"}, {uint8(255), "255"}, {true, "true"}, {nil, "null"},
		{[]int{1, 2}, "[1,2]"}, {map[string]any{"t": 21}, `{"t":21}`}, {reading{T: 21.5}, `{"t":21.5}`},
		{map[string]string{"a": "<b>&"}, `{"a":"<b>&"}`}, {json.RawMessage(`{"a": 1}`), `{"a":1}`},
	} {
		got, err := encode("t", tc.value, 1, 1000)
		if err != nil || string(got) != tc.want {
			t.Errorf("%#v: got %q, %v, want %q", tc.value, got, err, tc.want)
		}
	}
}

// What Publish writes, Next reads back.
func TestPublishedValuesComeBack(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	for _, v := range []any{0, -7, 21.5, "on", true, nil, math.MaxInt64, 1e300} {
		if err := vals.Publish(within(t), "n", v); err != nil {
			t.Fatal(err)
		}
		if got, err := vals.Next(within(t)); err != nil || got != v {
			t.Errorf("got %T %v, %v, want %T %v", got, got, err, v, v)
		}
	}
}

func TestPublishRefusesWhatCannotBeSent(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{MaxPacketBytes: 1000})
	before := b.Connections()
	for _, tc := range []struct {
		name, topic string
		value       any
		opts        []PublishOption
		want        string
	}{
		{"wildcard +", "a/+", 1, nil, `publish to "a/+": The topic has the wildcard +`},
		{"wildcard #", "#", 1, nil, "wildcard #"},
		{"no topic", "", 1, nil, "The topic is empty"},
		{"NUL", "a\x00b", 1, nil, "control character"},
		{"no UTF-8", "a\xff", 1, nil, "not valid UTF-8"},
		{"the broker's", "$SYS/x", 1, nil, "reserved for the broker"},
		{"long topic", strings.Repeat("a", 70_000), 1, nil, "bytes long"},
		{"QoS 3", "a", 1, []PublishOption{QoS(3)}, "QoS 3: use 0, 1 or 2"},
		{"a channel", "a", make(chan int), nil, "a chan int, cannot be written as JSON"},
		{"NaN", "a", math.NaN(), nil, "a float64, cannot be written as JSON"},
		{"too large", "a", strings.Repeat("x", 1000), nil, "Options.MaxPacketBytes"},
	} {
		err := vals.Publish(within(t), tc.topic, tc.value, tc.opts...)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "devicecom: publish to ") {
			t.Errorf("%s: got %.200v, want %q", tc.name, err, tc.want)
		}
		if errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrNotConnected) {
			t.Errorf("%s: got %v, want neither unknown nor not connected", tc.name, err)
		}
	}
	if err := vals.Publish(within(t), "a", 1); err != nil || b.Connections() != before {
		t.Errorf("afterwards: got %v and %d connections, want nil and %d", err, b.Connections(), before)
	}
}

func TestPublishWithAnEndedContextSendsNothing(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	c := brokertest.Dial(t, b.Addr())
	c.Subscribe("#", 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := vals.Publish(ctx, "a", 1); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("got %v, want context canceled alone", err)
	}
	if err := vals.Publish(within(t), "end", 1); err != nil {
		t.Fatal(err)
	}
	if got := c.WaitCount(1, patience); got[0].Topic != "end" {
		t.Errorf("got %+v, want end alone", got)
	}
}

// More callers than may be in flight at once are served one after the other.
func TestManyCallersPublishAtOnce(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{Filters: []string{"nothing"}})
	c := brokertest.Dial(t, b.Addr())
	c.Subscribe("n", 1)
	const n = 5 * maxInFlight
	results := make(chan error, n)
	for i := range n {
		go func() { results <- vals.Publish(within(t), "n", i) }()
	}
	for range n {
		if err := await(t, results); err != nil {
			t.Error(err)
		}
	}
	seen := map[string]bool{}
	for _, m := range c.WaitCount(n, patience) {
		seen[string(m.Payload)] = true
	}
	if len(seen) != n {
		t.Errorf("got %d different messages, want %d", len(seen), n)
	}
}
