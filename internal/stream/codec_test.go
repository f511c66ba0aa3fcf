package stream

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/hub/outbox"
)

// codecs are all of them, with bodies that have no chunks.
func codecs() map[string]outbox.Codec {
	all := map[string]outbox.Codec{NameWebSocket: newWebSocket(nil, nil, Timing{}).Codec()}
	for _, f := range Formats {
		all[string(f)] = Response{Format: f}.Codec()
	}
	return all
}

func TestCodecsAreNamedAfterTheirFormats(t *testing.T) {
	for name, c := range codecs() {
		if got := c.Name(); got != name {
			t.Errorf("got name %s, want %s", got, name)
		}
	}
}

// A browser resumes from the last id it saw. Before the retained copies have
// been sent it must not have one, or it would never get the rest.
func TestCursorStandsAloneInServerSentEventsOnly(t *testing.T) {
	for name, c := range codecs() {
		want := ""
		if name == string(FormatSSE) {
			want = "event: cursor\nid: e-7\ndata: {}\n\n"
		}
		if got := c.AppendFrame(nil, outbox.Frame{Cursor: "e-7"}); string(got) != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	ack := string(Response{Format: FormatSSE}.Codec().AppendFrame(nil, outbox.Frame{Kind: "ack", Body: []byte("{}")}))
	if strings.Contains(ack, "id:") {
		t.Errorf("got %q, want no id", ack)
	}
}

// What frames alike has one name, so that clients share the bytes.
func TestFramingTellsChunksFromNone(t *testing.T) {
	for _, f := range Formats {
		with, without := Response{Format: f, Chunked: true}.Codec(), Response{Format: f}.Codec()
		if with.Framing() == without.Framing() {
			t.Errorf("%s: got framing %q with and without chunks, want two names", f, with.Framing())
		}
	}
}

// A message that is framed as JSON has 48 MiB at most.
func TestChunkHasItsSizeInFront(t *testing.T) {
	body := chunked(true)
	for _, size := range []int{1, 15, 16, 70_000, 48 << 20} {
		dst, start := body.begin([]byte("before"))
		framed := body.end(append(dst, make([]byte, size)...), start)
		head, rest, _ := bytes.Cut(framed, []byte("\r\n"))
		if want := fmt.Sprintf("before%08x", size); string(head) != want || len(rest) != size+2 || !bytes.HasSuffix(rest, []byte("\r\n")) {
			t.Errorf("got %q before %d bytes, want %q before %d", head, len(rest), want, size+2)
		}
	}
}

func TestChunkWithoutContentIsNone(t *testing.T) {
	body := chunked(true)
	dst, start := body.begin([]byte("before"))
	if got := body.end(dst, start); string(got) != "before" {
		t.Errorf("got %q, want nothing: it would end the body", got)
	}
}
