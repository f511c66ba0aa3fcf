package hub

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// A topic that is longer or deeper than clients may name is passed on, is not
// remembered as history, value or name, and is told of once.
func TestDeepTopicsArePassedOnAndNotRemembered(t *testing.T) {
	var log bytes.Buffer
	h := setup(t, newBroker(), Options{HistoryBytes: 1 << 20, Log: slog.New(slog.NewTextHandler(&log, nil))})
	c, tap := attach(t, h)
	c.Subscribe(t.Context(), ok("#"))
	tooMuch := []string{deep, strings.Repeat("/", maxTopicLevels), strings.Repeat("x", maxTopicBytes+1)}
	for _, topic := range tooMuch {
		h.Ingest(live(topic, "1"))
		kept := live(topic, "2")
		kept.Retain = true
		h.Ingest(kept)
	}
	frames := tap.wait(t, count(1+len(tooMuch)))
	for i, topic := range tooMuch {
		if got := frames[1+i]; got.Topic != topic {
			t.Errorf("got %v, want the message on %.40s", got, topic)
		}
	}
	s := h.Stats()
	if s.Topics != 0 || s.Memory.History != 0 || s.Unremembered != uint64(len(tooMuch)) {
		t.Errorf("got %d topics, %d bytes of history, %d that are not remembered; want only %d of those", s.Topics, s.Memory.History, s.Unremembered, len(tooMuch))
	}
	if got := strings.Count(log.String(), "too long or too deep"); got != 1 {
		t.Errorf("it is said %d times, want once", got)
	}
	for _, topic := range []string{strings.Repeat("/", maxTopicLevels-1), strings.Repeat("x", maxTopicBytes)} {
		h.Ingest(live(topic, "1"))
	}
	if got := h.Stats().Topics; got != 2 {
		t.Errorf("got %d topics, want the two that are just short enough", got)
	}
}
