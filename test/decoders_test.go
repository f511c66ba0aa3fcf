package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

const decodersFile = `
decoders:
  - {topic: m/+, format: msgpack}
  - {topic: c/+, format: cbor}
  - {topic: n/+, format: number}
  - {topic: b/+, format: bool}
  - {topic: j/+, format: json}
  - topic: s/+
    format: struct
    endian: little
    fields:
      - {name: t, type: int16, scale: 0.01}
      - {name: id, type: uint64}
`

// decoded are payloads, and what the messages say about them beside the bytes.
var decoded = []struct{ topic, payload, encoding, value, problem string }{
	{"m/1", "\x82\xa1b\xca\x41\xa8\xcc\xcd\xa1a\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "base64", `{"b":21.1,"a":18446744073709551615}`, ""},
	{"c/1", "\xbf\x61t\xf9\x4d\x60\x61w\xc1\x1a\x51\x4b\x67\xb0\xff", "base64", `{"t":21.5,"w":"2013-03-21T20:04:00Z"}`, ""},
	{"s/1", "\x55\x08\x01\x00\x00\x00\x00\x00\x00\x80", "base64", `{"t":21.33,"id":9223372036854775809}`, ""},
	{"n/1", " +021.50\r\n", "text", "21.50", ""},
	{"b/1", "ON", "text", "true", ""},
	{"b/2", "0", "json", "false", ""},
	{"j/1", "{\n \"a\": 1.0\n}\n", "text", `{"a":1.0}`, ""},
	{"m/2", "\xc0", "base64", "null", ""},
	{"m/3", "\xdd\xff\xff\xff\xff\x01", "base64", "", "The payload ends too early."},
	{"c/2", "\xa2\x61a\x01\x61a\x02", "base64", "", "The payload has a map with the same key twice."},
	{"s/2", "short", "text", "", "The payload is not as long as the fields of the rule are together."},
	{"n/2", "21,50", "text", "", "The payload is not a decimal number of at most 1000 characters."},
	{"b/3", "maybe", "text", "", "The payload is none of the words for on and off."},
	{"x/1", "21.50", "json", "", ""},
}

// wantAll checks that messages tell of every payload, with its value.
func wantAll(t *testing.T, where string, got []frame, copies bool) {
	t.Helper()
	if len(got) != len(decoded) {
		t.Fatalf("%s: got %d messages, want %d: %s", where, len(got), len(decoded), lastFrames(got))
	}
	byTopic := map[string]frame{}
	for _, f := range got {
		byTopic[f.Topic] = f
	}
	for _, d := range decoded {
		f := byTopic[d.topic]
		payload, err := f.Bytes()
		if err != nil || string(payload) != d.payload || f.Encoding != d.encoding {
			t.Errorf("%s: %s: got payload %q as %s (%v), want %q as %s", where, d.topic, payload, f.Encoding, err, d.payload, d.encoding)
		}
		if string(f.Value) != d.value || f.DecodeError != d.problem {
			t.Errorf("%s: %s: got value %s, decode_error %q, want %s, %q", where, d.topic, f.Value, f.DecodeError, d.value, d.problem)
		}
		if f.Retain != copies || (f.Cursor == "") != copies {
			t.Errorf("%s: %s: got retain %t, cursor %q", where, d.topic, f.Retain, f.Cursor)
		}
	}
}

// messageLines are the lines that are messages.
func messageLines(t *testing.T, lines []string) (frames []frame) {
	t.Helper()
	for _, line := range lines {
		f := frame{raw: line}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if f.Type == "message" {
			frames = append(frames, f)
		}
	}
	return frames
}

// A payload is decoded by the rule for its topic wherever the message is
// handed out, and is there byte for byte all the same.
func TestValueStandsBesideThePayloadEverywhere(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "decoders.yaml")
	if err := os.WriteFile(file, []byte(decodersFile), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_DECODERS_FILE": file})
	raw := brokertest.Dial(t, broker.Addr())
	ws := g.dial("")
	ws.subscribe("#")
	events := g.curl(t, "topic=%23")
	for _, d := range decoded {
		if err := raw.Publish(d.topic, []byte(d.payload), 1, true); err != nil {
			t.Fatal(err)
		}
	}
	all := func(lines []string) bool {
		return strings.Count(strings.Join(lines, "\n"), `"type":"message"`) == len(decoded)
	}
	wantAll(t, "/ws", ws.waitMessages(len(decoded)), false)
	wantAll(t, "/events", messageLines(t, events.until("all messages", all)), false)
	history := g.request("GET", "/history?filter=%23", "application/x-ndjson")
	wantAll(t, "/history", messageLines(t, strings.Split(strings.TrimSpace(history.body), "\n")), false)

	late := g.dial("")
	late.subscribe("#")
	wantAll(t, "retained copies", late.waitMessages(len(decoded)), true)
	snapshot := g.dial("?snapshot=true&topic=%23")
	snapshot.wait("snapshot_end", func(f frame) bool { return f.Type == "snapshot_end" })
	seen := snapshot.messages()
	for i := range seen { // they were seen live, so they do not say retained
		seen[i].Retain = true
	}
	wantAll(t, "snapshot", seen, true)

	// A gateway that starts later has seen none of it live.
	second := startReady(t, broker.URL(), map[string]string{"GATEWAY_DECODERS_FILE": file})
	fresh := second.dial("?snapshot=true&topic=%23")
	fresh.wait("snapshot_end", func(f frame) bool { return f.Type == "snapshot_end" })
	wantAll(t, "snapshot of retained copies", fresh.messages(), true)
}

// Without the file a message has neither field.
func TestNoDecodersNoValue(t *testing.T) {
	t.Parallel()
	r := startRound(t)
	for _, d := range decoded {
		if err := r.raw.Publish(d.topic, []byte(d.payload), 1, false); err != nil {
			t.Fatal(err)
		}
		f := r.arrives(d.topic, []byte(d.payload))
		before, behind, _ := strings.Cut(f.raw, `"encoding":"`+d.encoding+`"`)
		if strings.Contains(before, `"value"`) || strings.Contains(f.raw, `"decode_error"`) || !strings.HasPrefix(behind, `,"qos":0,"retain":false,"time":"`) {
			t.Errorf("%s: got %s, want neither value nor decode_error", d.topic, f.raw)
		}
	}
}

func TestDecodersFileIsChecked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.yaml", decodersFile)
	for _, tt := range []struct {
		args, file     string
		status         int
		stdout, stderr string
	}{
		{"check", good, 0, "decoders: 6\n", ""},
		{"check", filepath.Join(dir, "none.yaml"), 2, "", "cannot read"},
		{"check", dir, 2, "", "cannot read"},
		{"check", write("empty.yaml", ""), 2, "", "is empty"},
		{"check", write("large.yaml", strings.Repeat("#", 1<<20+1)), 2, "", "larger than"},
		{"check", write("bad.yaml", "decoders:\n  - {topic: a/b, format: jsno}\n"), 2, "", `rule 1 ("a/b", line 2): the format "jsno" does not exist`},
		{"serve", filepath.Join(dir, "bad.yaml"), 2, "", `rule 1 ("a/b", line 2)`},
		{"serve", write("secret.yaml", "hunter2\n"), 2, "", "must have keys and values"},
	} {
		p := launch(t, map[string]string{"GATEWAY_DECODERS_FILE": tt.file, "GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0", "GATEWAY_HTTP_ADDR": "127.0.0.1:0", "GATEWAY_ADMIN_ADDR": "127.0.0.1:0"}, tt.args)
		if got := p.exit(); got != tt.status || !strings.Contains(p.stdout.String(), tt.stdout) {
			t.Errorf("%s %s: got exit status %d, %q, want %d, %q", tt.args, tt.file, got, p.stdout, tt.status, tt.stdout)
		}
		got := p.stderr.String()
		if tt.status == 0 {
			if got != "" {
				t.Errorf("%s %s: got %q on standard error", tt.args, tt.file, got)
			}
			continue
		}
		if strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "gateway: GATEWAY_DECODERS_FILE: ") || !strings.Contains(got, tt.stderr) || strings.Contains(got, "hunter2") {
			t.Errorf("%s %s: got %q, want one line that names the variable, with %q", tt.args, tt.file, got, tt.stderr)
		}
	}
}
