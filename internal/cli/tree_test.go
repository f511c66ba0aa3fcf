package cli

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/client"
)

// told is a list of events, and then of an error if there is one.
func told(err error, events ...client.Event) iter.Seq2[client.Event, error] {
	return func(yield func(client.Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func message(topic, payload string, retain bool) *client.Message {
	return &client.Message{Topic: topic, Payload: []byte(payload), Retain: retain}
}

func large(topic string) *client.Gap { return &client.Gap{Topic: topic, Bytes: 300_000} }

// Two values of a topic are both there, by topic and the retained one first,
// unless they say the same.
func TestExportHasBothValues(t *testing.T) {
	kept := told(nil, message("b", "kept", false), message("c", "same", false), large("e"), large("f"), message("g", "small", false), message("z", "kept", false))
	newest := told(nil, message("a", "1", false), message("b", "newer", true), message("c", "same", false), message("d", "gone", true), large("e"), message("f", "small", false), large("g"), large("h"))
	got := ""
	for event, err := range merged(kept, newest) {
		switch e := event.(type) {
		case *client.Message:
			got += fmt.Sprintf("%s %s %t\n", e.Topic, e.Payload, e.Retain)
		case *client.Gap:
			got += e.Topic + " is large\n"
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := `a 1 false
b kept true
b newer false
c same true
e is large
f is large
f small false
g small true
g is large
h is large
z kept true
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// An error of either list ends both.
func TestExportEndsWithAnError(t *testing.T) {
	broken := errors.New("broken")
	for name, both := range map[string][2]iter.Seq2[client.Event, error]{
		"kept":   {told(broken, message("a", "", false)), told(nil, message("a", "", false), message("b", "", false))},
		"newest": {told(nil, message("a", "", false), message("b", "", false)), told(broken, message("a", "", false))},
	} {
		var topics string
		var failure error
		for event, err := range merged(both[0], both[1]) {
			topics += topicOf(event)
			failure = errors.Join(failure, err)
		}
		if topics != "a" || !errors.Is(failure, broken) {
			t.Errorf("%s: got %q and %v, want a and the error", name, topics, failure)
		}
	}
}

// endless is a list without end, of which taken have been read.
func endless(prefix string, taken *int) iter.Seq2[client.Event, error] {
	return func(yield func(client.Event, error) bool) {
		for ; yield(message(fmt.Sprintf("%s%09d", prefix, *taken), "x", false), nil); *taken++ {
		}
	}
}

// What is written need not be held, however long the lists are.
func TestExportHoldsNoList(t *testing.T) {
	kept, newest, written := 0, 0, 0
	for range merged(endless("a", &kept), endless("b", &newest)) {
		if written++; kept > written+1 || newest > written+1 {
			t.Fatalf("%d and %d are read when %d are written", kept, newest, written)
		}
		if written == 1000 {
			break
		}
	}
}

// closing is a place to write that takes so many bytes.
type closing struct {
	bytes.Buffer
	room int
}

func (c *closing) Write(b []byte) (int, error) {
	if c.Len()+len(b) > c.room {
		return 0, errors.New("no room")
	}
	return c.Buffer.Write(b)
}

// A list is written while it is read; all of it when it ends.
func TestClearListsAsItReads(t *testing.T) {
	taken := 0
	sh := &Shell{Ctx: t.Context(), Stdout: &closing{room: 100_000}, Stderr: &bytes.Buffer{}}
	if topics, err := list(sh, endless("pi/", &taken)); err == nil || topics != nil || taken > 20_000 {
		t.Errorf("got %d topics and %v behind %d, want that it ends where nothing can be written any more", len(topics), err, taken)
	}
	out := &closing{room: 1 << 20}
	sh.Stdout = out
	var all []client.Event
	for i := range 2*listedAtOnce + 7 {
		all = append(all, message(fmt.Sprintf("pi/%04d", i), "x", false))
	}
	topics, err := list(sh, told(nil, append(all, large("pi/x"))...))
	if lines := strings.Join(topics, "\n") + "\n"; err != nil || len(topics) != len(all)+1 || out.String() != lines {
		t.Errorf("got %d topics, %v and\n%s", len(topics), err, out)
	}
}
