package api

import (
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/hub"
)

// A browser resumes from the last id it saw. Before the retained copies have
// been sent it must not have one, or it would never get the rest.
func TestCursorStandsAloneInServerSentEventsOnly(t *testing.T) {
	f := hub.Frame{Cursor: "e-7"}
	for format, want := range map[streamFormat]string{formatSSE: "id: e-7\n\n", formatNDJSON: "", formatText: ""} {
		if got := (&eventStream{format: format}).AppendFrame(nil, f); string(got) != want {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
	}
	if got := (&wsConn{}).AppendFrame(nil, f); len(got) != 0 {
		t.Errorf("websocket: got %q, want nothing", got)
	}
	ack := string((&eventStream{format: formatSSE}).AppendFrame(nil, hub.Frame{Kind: "ack", Body: []byte("{}")}))
	if strings.Contains(ack, "id:") {
		t.Errorf("got %q, want no id", ack)
	}
}
