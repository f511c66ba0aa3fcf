package cli

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/wire"
)

// What record and export write is read back as it was, byte for byte, and is one
// line.
func TestLinesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &client.Message{
			Topic:   rapid.StringN(1, 20, 60).Draw(t, "topic"),
			Payload: rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }), rapid.SampledFrom([][]byte{[]byte(`{"a":  1.50}`), []byte("21.50"), []byte("[1,\n2]"), []byte(`"\u00fc<>&"`)})).Draw(t, "payload"),
			Retain:  rapid.Bool().Draw(t, "retain"), QoS: 1, Time: time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC), Cursor: "a-1", Skipped: 3,
			ContentType: rapid.String().Draw(t, "content type"), Expiry: time.Minute, ResponseTopic: "r", Correlation: []byte{0, 255},
			UserProperties: map[string]wire.Strings{"b": {"1", "2"}, "a": {"3"}},
		}
		for name, line := range map[string][]byte{"object": appendObject(nil, m), "item": appendItem(nil, m)} {
			if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
				t.Fatalf("%s: %q is not one line", name, line)
			}
			r, err := parseRecord(line)
			if err != nil {
				t.Fatalf("%s: %s: %v", name, line, err)
			}
			if r.Topic != m.Topic || !bytes.Equal(r.payload, m.Payload) || r.Retain != m.Retain || r.ContentType != m.ContentType || len(r.UserProperties["b"]) != 2 {
				t.Fatalf("%s: got %+v, want %+v", name, r, m)
			}
			if name == "object" && (!r.Time.Equal(m.Time) || r.Cursor != m.Cursor || r.Skipped != 3) {
				t.Fatalf("got %+v, want its time and cursor", r)
			}
		}
	})
}

func TestParseRecordRefusesWhatIsNoMessage(t *testing.T) {
	for _, line := range []string{
		"", "x", "[]", "{}", `{"type":"snapshot_end"}`, `{"topic":"a"}`, `{"topic":"a","payload":1}`, `{"payload":1,"encoding":"json"}`,
		`{"topic":"a","payload":1,"encoding":"text"}`, `{"topic":"a","payload":"%","encoding":"base64"}`, `{"topic":"a","payload":"x","encoding":"hex"}`,
	} {
		if r, err := parseRecord([]byte(line)); err == nil {
			t.Errorf("%s: got %+v, want an error", line, r)
		}
	}
}

// Nothing that a terminal would obey is shown.
func TestShownHasNoControlCharacters(t *testing.T) {
	for in, want := range map[string]string{
		"21.50 °C 👩‍🚀": "21.50 °C 👩‍🚀", "\x1b[2J": `\x1b[2J`, "a\tb\n": `a\tb\n`, "\u009b2J": `\u009b2J`, "\u202eabc": `\u202eabc`, "\x7f": `\x7f`, "\xff": "1 byte",
	} {
		if got := shown([]byte(in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		got := printable(rapid.String().Draw(t, "s"))
		if i := strings.IndexFunc(got, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }); i >= 0 {
			t.Fatalf("%q has a control character at %d", got, i)
		}
	})
}

// What a gateway says is not obeyed by the terminal either, nor does it break
// what is printed.
func TestWordsOfAGatewayAreShownAsTheyAre(t *testing.T) {
	const evil = "\x1b]0;owned\x07\nb\x9bc"
	var out, said bytes.Buffer
	sh := &Shell{Stdout: &out, Stderr: &said}
	sh.note("%s", words(&client.Error{Status: 400, Code: evil, Detail: evil, Errors: []wire.FieldError{{Pointer: evil, Detail: evil}}}))
	sh.lost(&client.Error{Code: evil, Detail: evil}, 0)
	all := []*wire.Device{{ID: evil, State: evil, Address: evil, Reason: evil}, {ID: "x  "}}
	table(sh, &out, all)
	rows(&out, all)
	for _, got := range []string{out.String(), said.String(), OneLine(evil)} {
		if i := strings.IndexFunc(got, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 }); i >= 0 || !utf8.ValidString(got) {
			t.Errorf("%q has a control character at %d", got, i)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != 5 {
		t.Errorf("got %d lines, want a title and two lines of each form:\n%s", got, out.String())
	}
	if got := strings.Count(said.String(), "\n"); got != 2 {
		t.Errorf("got %d lines of notes, want 2:\n%s", got, said.String())
	}
}

// A speed that is no number, or hardly one, is not full speed.
func TestReplayNeverHurriesByMistake(t *testing.T) {
	var e *Error
	if err := (&Replay{Speed: math.NaN()}).run(&Shell{}); !errors.As(err, &e) || e.Status != StatusUsage {
		t.Errorf("NaN: got %v, want a usage error", err)
	}
	if got := (&Replay{Speed: 1e-15}).stretched(time.Second); got < 1000*time.Hour {
		t.Errorf("a second at 1e-15: got %v, want years", got)
	}
	if got := (&Replay{Speed: 10}).stretched(time.Second); got != 100*time.Millisecond {
		t.Errorf("a second at 10: got %v, want 100ms", got)
	}
}

// Nor is it in what is said, whoever has chosen the words.
func TestNotesHaveNoControlCharacters(t *testing.T) {
	var said bytes.Buffer
	sh := &Shell{Ctx: t.Context(), Stderr: &said}
	sh.note("%s: %s", "\x1b[2J", gapWords(&client.Gap{Reason: wire.GapTooLarge, Topic: "a\nb"}))
	err := sh.done(&client.Error{Status: 422, Code: "x", Detail: "\x1b[2J no"})
	if got := said.String() + err.Error(); strings.Contains(got, "\x1b") || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q, want one line without control characters", got)
	}
}
