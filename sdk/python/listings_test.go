package devicecom_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// The two listings that the SDK was documented with; programs like them run
// unchanged.
const (
	pageListen = `from device_com import connect_broker

connect_broker()
`
	pageValues = `from device_com import connect_broker

vals = connect_broker()
if vals == 0:  # Put any condition you want
    print("Value received is 0")

else:
    print("Value received is not 0")
`
)

func TestListingsOfThePageRunUnchanged(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, payload, out string }{
		{pageListen, "0", ""},
		{pageListen, "\xff", ""},
		{pageValues, "0", "Value received is 0\n"},
		{pageValues, "0.0", "Value received is 0\n"},
		{pageValues, "21.50", "Value received is not 0\n"},
		{pageValues, "on", "Value received is not 0\n"},
		{pageValues, `"0"`, "Value received is not 0\n"},
		{pageValues, "", "Value received is not 0\n"},
		{pageValues, "\xff", "Value received is not 0\n"},
		{pageValues, `{"temp":0}`, "Value received is not 0\n"},
	} {
		t.Run(fmt.Sprintf("%q", tc.payload), func(t *testing.T) {
			b := startBroker(t)
			p := start(t, ini(b.Addr()), tc.source)
			waitSubscribed(t, b, 1)
			send(t, brokertest.Dial(t, b.URL()), "pi/3/door", tc.payload)
			p.ends(0, tc.out)
			b.WaitLogCount(" disconnected.\n", 1) // in order
		})
	}
}

// A retained value is there at once.
func TestListingsOfThePageGetRetainedValues(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	if err := brokertest.Dial(t, b.URL()).Publish("pi/3/door", []byte("0"), 1, true); err != nil {
		t.Fatal(err)
	}
	start(t, ini(b.Addr()), pageValues).ends(0, "Value received is 0\n")
	start(t, ini(b.Addr()), pageListen).ends(0, "")
}

// listing is a Python block of a document; the comment before it says how it is
// run: <!-- run: main.py[, stays][; gets: TOPIC PAYLOAD]…[; prints: WORDS]… -->
type listing struct {
	place        string
	stays        bool // until Ctrl-C
	gets, prints []string
	source       string
}

// listings reads the Python blocks of a document.
func listings(t *testing.T, file string) []*listing {
	t.Helper()
	text, err := os.ReadFile("../../" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all []*listing
	var next, open *listing // announced, being read
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		trimmed := strings.TrimSpace(line)
		comment, isComment := strings.CutPrefix(trimmed, "<!-- run: main.py")
		switch {
		case open != nil && trimmed == "```":
			all, open = append(all, open), nil
		case open != nil:
			open.source += line
		case isComment:
			next = announced(t, fmt.Sprintf("%s:%d", file, n), strings.TrimSuffix(comment, " -->"))
		case trimmed == "```python" && next == nil:
			t.Fatalf("%s:%d: no comment says how this block is run", file, n)
		case trimmed == "```python":
			open, next = next, nil
		case next != nil:
			t.Fatalf("%s: behind the comment stands %q, want a block", next.place, trimmed)
		}
	}
	return all
}

func announced(t *testing.T, place, comment string) *listing {
	t.Helper()
	l := &listing{place: place}
	how, rest, _ := strings.Cut(comment, "; ")
	l.stays = how == ", stays"
	if how != "" && !l.stays {
		t.Fatalf("%s: what is %q?", place, how)
	}
	for part := range strings.SplitSeq(rest, "; ") {
		kind, words, _ := strings.Cut(part, ": ")
		switch kind {
		case "gets":
			l.gets = append(l.gets, words)
		case "prints":
			l.prints = append(l.prints, words)
		case "":
		default:
			t.Fatalf("%s: what is %q?", place, part)
		}
	}
	return l
}

func TestDocumentedListingsDoWhatTheySay(t *testing.T) {
	t.Parallel()
	for file, least := range map[string]int{"docs/device-sdk.md": 9, "sdk/python/README.md": 1} {
		all := listings(t, file)
		if len(all) < least {
			t.Fatalf("%s: got %d listings, want at least %d", file, len(all), least)
		}
		if first := all[0].source; file == "docs/device-sdk.md" && (first != pageListen || all[1].source != pageValues) {
			t.Errorf("%s: its first two listings are not those of the page", file)
		}
		for _, l := range all {
			t.Run(l.place, l.run)
		}
	}
}

func (l *listing) run(t *testing.T) {
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	p := start(t, ini(b.Addr()), l.source)
	if len(l.gets) > 0 {
		waitSubscribed(t, b, 1)
	}
	for _, get := range l.gets {
		topic, payload, _ := strings.Cut(get, " ")
		send(t, c, topic, payload)
	}
	for _, words := range l.prints {
		p.prints(words)
	}
	if l.stays {
		p.complains("goes on until Ctrl-C")
		p.signal(os.Interrupt)
	}
	if got := p.status(); got != 0 || strings.Contains(p.err.String(), "Traceback") {
		t.Errorf("status: got %d, want 0 and no traceback; got\n%s", got, p)
	}
}

// The error that the document shows is the one that is printed.
func TestDocumentedErrorIsPrinted(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/device-sdk.md")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, "[system]\nip_address = 127.0.0.1\nmqtt_prot = 1883\n", pageListen)
	if got := p.status(); got != 2 || !strings.Contains(string(text), "\n"+p.err.String()) {
		t.Errorf("got status %d, want 2 and what docs/device-sdk.md shows; got\n%s", got, p)
	}
}
