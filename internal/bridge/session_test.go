package bridge

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// With a stable id the broker keeps what is published while the link is down.
func TestStableIDReceivesWhatWasPublishedDuringACut(t *testing.T) {
	t.Parallel()
	bothVersions(t, testStableIDReceivesWhatWasPublishedDuringACut)
}

func testStableIDReceivesWhatWasPublishedDuringACut(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	sender := brokertest.Dial(t, broker.Addr())
	proxy := brokertest.StartProxy(t, broker.Addr())
	b := launch(t, proxy.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}, ClientID: "plant-7"}).ready(t)
	proxy.Refuse(true)
	proxy.Cut()
	b.rec.waitEvent(t, 1, "down")
	for i := range 100 {
		if err := sender.Publish("a", []byte(strconv.Itoa(i)), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	proxy.Heal()
	b.rec.waitMessage(t, "a", "99")
	if got, want := b.rec.told(), "up, down, up"; got != want {
		t.Errorf("events: got %q, want %q", got, want)
	}
	for i, p := range b.rec.on("a") {
		if p != strconv.Itoa(i) {
			t.Fatalf("message %d: got %q", i, p)
		}
	}
	if !strings.Contains(broker.Log(), fmt.Sprintf(" as plant-7 (p%d, c0", map[mqtt.Version]int{mqtt.V311: 2, mqtt.V5: 5}[v])) {
		t.Error("the subscriber link does not use the id itself, or not with a kept session")
	}
}

// Also over an end of the process, if it watches the same. What it does not watch any more is left out.
func TestStableIDReceivesWhatWasPublishedBetweenTwoLives(t *testing.T) {
	t.Parallel()
	bothVersions(t, testStableIDReceivesWhatWasPublishedBetweenTwoLives)
}

func testStableIDReceivesWhatWasPublishedBetweenTwoLives(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	sender := brokertest.Dial(t, broker.Addr())
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"a/#", "b/#"}, ClientID: "plant-7"}).ready(t)
	b.stop()
	for _, name := range []string{"a/1", "b/1"} {
		if err := sender.Publish(name, []byte("away"), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	b = launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"a/#"}, ClientID: "plant-7"}).ready(t)
	b.rec.waitMessage(t, "a/1", "away")
	if err := b.send("a/2", "end", 1); err != nil {
		t.Fatal(err)
	}
	b.rec.waitMessage(t, "a/2", "end")
	if got := b.rec.on("b/1"); len(got) != 0 {
		t.Errorf("b/1: got %q", got)
	}
	if got, want := b.rec.told(), "up"; got != want {
		t.Errorf("events: got %q, want %q", got, want)
	}
}

// Where filters come and go, an earlier life's filters are not known, so its session is dropped first.
func TestStableIDWithoutWatchStartsWithAnEmptySession(t *testing.T) {
	t.Parallel()
	bothVersions(t, testStableIDWithoutWatchStartsWithAnEmptySession)
}

func testStableIDWithoutWatchStartsWithAnEmptySession(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	sender := brokertest.Dial(t, broker.Addr())
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, ClientID: "plant-7"}).ready(t)
	if err := b.Want(within(t), "a/#"); err != nil {
		t.Fatal(err)
	}
	b.stop()
	if err := sender.Publish("a/1", []byte("away"), 1, false); err != nil {
		t.Fatal(err)
	}
	proxy := brokertest.StartProxy(t, broker.Addr())
	b = launch(t, proxy.URL(), Config{Version: v, Pool: 1, ClientID: "plant-7", Linger: 1}).ready(t)
	for _, f := range []string{"a/2", "b"} {
		if err := b.Want(within(t), f); err != nil {
			t.Fatal(err)
		}
	}
	// A filter that is released while the link is down is still in the session, and must go.
	proxy.Refuse(true)
	proxy.Cut()
	b.rec.waitEvent(t, 1, "down")
	b.Release("b")
	for _, name := range []string{"a/2", "b"} {
		if err := sender.Publish(name, []byte("away"), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	proxy.Heal()
	b.rec.waitMessage(t, "a/2", "away")
	settled(t, b)
	if got := subscribed(b); !slices.Equal(got, []string{"a/2"}) {
		t.Errorf("subscribed: got %q", got)
	}
	for _, name := range []string{"b", "a/2"} {
		if err := sender.Publish(name, []byte("after"), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	b.rec.waitMessage(t, "a/2", "after")
	if got := b.rec.on("a/1"); len(got) != 0 {
		t.Errorf("a/1, of an earlier life: got %q", got)
	}
	if slices.Contains(b.rec.on("b"), "after") {
		t.Error("b is still subscribed")
	}
}

// Nothing overtakes Up: what arrives before the last SUBACK comes after it.
func TestUpComesBeforeTheMessagesThatFollowAGap(t *testing.T) {
	t.Parallel()
	bothVersions(t, testUpComesBeforeTheMessagesThatFollowAGap)
}

func testUpComesBeforeTheMessagesThatFollowAGap(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	retain(t, broker, 500)
	rec := &firstEvent{recorder: newRecorder()}
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Receiver: rec})
	for i := range 450 { // three SUBSCRIBE packets, with retained copies between their answers
		b.Want(within(t), "t/"+strconv.Itoa(i))
	}
	b.ready(t)
	broker.Restart()
	retain(t, broker, 500)
	rec.waitEvent(t, 1, "up lost")
	if rec.early > 0 {
		t.Errorf("%d messages came while the link was not up", rec.early)
	}
}

type firstEvent struct {
	*recorder
	up    bool
	early int
}

func (f *firstEvent) Up(lost bool)   { f.up = true; f.recorder.Up(lost) }
func (f *firstEvent) Down(err error) { f.up = false; f.recorder.Down(err) }
func (f *firstEvent) Message(m Message) {
	if !f.up {
		f.early++
	}
	f.recorder.Message(m)
}
