package test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// shell types commands at one gateway.
type shell struct {
	t   testing.TB
	env map[string]string
}

func at(g *gateway) *shell { return &shell{g.t, map[string]string{"GATEWAY_URL": g.url}} }

// with is the shell with more variables.
func (s *shell) with(more map[string]string) *shell {
	all := maps.Clone(s.env)
	maps.Copy(all, more)
	return &shell{s.t, all}
}

// begin starts a command.
func (s *shell) begin(args ...string) *process {
	s.t.Helper()
	return launch(s.t, s.env, args...)
}

// run runs a command with input, and wants an exit status.
func (s *shell) run(input string, status int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	cmd := exec.Command(gatewayBinary(s.t), args...)
	cmd.Stdin = strings.NewReader(input)
	out, errs := &output{}, &output{}
	p := launchCmd(s.t, s.env, out, errs, cmd)
	if got := p.exit(); got != status {
		s.t.Errorf("gateway %s: got exit status %d, want %d\n%s", strings.Join(args, " "), got, status, errs)
	}
	return out.String(), errs.String()
}

// wants checks what a command prints.
func wants(t testing.TB, what, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s: got %q, want %q in it", what, got, w)
		}
	}
}

func TestCLIPublishesAndReads(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	raw := brokertest.Dial(t, broker.URL())
	raw.Subscribe("pi/#", 1)
	g := startReady(t, broker.URL(), nil)
	s := at(g)

	for _, tt := range []struct{ input, payload, got string }{
		{"", "21.50", "21.50"}, {"", "", ""}, {"", "a\xffb", "a\xffb"}, {"", "--json", "--json"},
		{"\x00\xff\nx\n", "-", "\x00\xff\nx\n"},
	} {
		raw.Forget()
		s.run(tt.input, 0, "pub", "--qos", "1", "pi/3/value", "--", tt.payload)
		if m := raw.WaitCount(1, patience)[0]; string(m.Payload) != tt.got {
			t.Errorf("pub %q: the broker got %q, want %q", tt.payload, m.Payload, tt.got)
		}
		if tt.got == "" {
			continue
		}
		eventually(t, "get prints it byte for byte", func() bool {
			out, _ := s.run("", 0, "get", "pi/3/value")
			return out == tt.got
		})
	}
	if out, _ := s.run("from a pipe", 0, "pub", "pi/3/value"); out != "" {
		t.Errorf("pub on a pipe prints %q, want nothing", out)
	}
	out, _ := s.run("", 0, "pub", "pi/3/kept", "on", "--retain", "--json")
	wants(t, "pub --json", out, `{"topic":"pi/3/kept","qos":1,"delivery":"acknowledged"`)
	out, _ = s.run("", 0, "pub", "pi/3/mode", "eco", "-qos=0", "-json") // one dash is as good as two
	wants(t, "pub --qos 0", out, `"qos":0,"delivery":"sent"`)
	s.run("", 0, "pub", "pi/3/props", "x", "--content-type", "text/x", "--expiry", "60s", "--property", "a=b,c", "--property", "a=d")
	eventually(t, "get --json prints the whole message", func() bool {
		out, _ := s.run("", 0, "get", "--json", "pi/3/props")
		return strings.Contains(out, `"content_type":"text/x"`) && strings.Contains(out, `"user_properties":{"a":["b,c","d"]}`) && strings.Contains(out, `"cursor":"`)
	})

	for _, tt := range []struct {
		status int
		stderr string
		args   string
	}{
		{1, "topic_not_seen", "get pi/never"},
		{1, "topic_wildcard", "pub a/# x"},
		{1, "filter_syntax", "sub #/a"},
		{1, "would_clear_retained", "pub pi/3/kept  --retain"},
		{1, "no_reply", "request cmnd/x ON --reply stat/x --timeout 1s"},
		{2, "pub needs topic", "pub"},
		{2, "sub needs filter", "sub"},
		{2, "--qos must be one of", "pub a b --qos 3"},
		{2, "--reply", "request a b"},
		{2, "must be like http://localhost:8080", "get a --url localhost:8080"},
		{2, "go together", "get a --cert-file x"},
		{2, "can't be used together", "sub a --json --value"},
		{2, "NAME=VALUE", "pub a b --property x"},
		{2, "must be one of", "completion ksh"},
		{4, "connection refused", "get a --url http://127.0.0.1:1"},
		{4, "connection refused", "sub a --url http://127.0.0.1:1"},
		{4, "connection refused", "pub a b --broker mqtt://127.0.0.1:1"},
	} {
		_, errs := s.run("", tt.status, strings.Split(tt.args, " ")...)
		wants(t, tt.args, errs, "gateway: ", tt.stderr)
	}

	// The answer to a command.
	device := brokertest.Dial(t, broker.URL())
	device.Subscribe("cmnd/lamp", 1)
	go func() {
		m, err := device.Next(t.Context())
		if err == nil && string(m.Payload) == "ON" {
			_ = device.Publish("stat/lamp", []byte("is ON"), 1, false)
		}
	}()
	if out, _ := s.run("", 0, "request", "cmnd/lamp", "ON", "--reply", "stat/lamp", "--timeout", "1m"); out != "is ON" {
		t.Errorf("request: got %q, want the reply", out)
	}

	// Without a broker nothing is sent, and the status says so.
	broker.Stop()
	g.waitDown()
	_, errs := s.run("", 4, "pub", "a", "b")
	wants(t, "pub without a broker", errs, "broker_unavailable")
}

func TestCLISaysThatAnOutcomeIsUnknown(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	network := brokertest.StartProxy(t, broker.Addr())
	g := startReady(t, network.URL(), map[string]string{"GATEWAY_PUBLISH_TIMEOUT": "200ms", "GATEWAY_SHUTDOWN_TIMEOUT": "30s"})
	network.Stall(true, true)
	_, errs := at(g).run("", 3, "pub", "a", "b")
	wants(t, "pub", errs, "outcome_unknown")
}

func TestCLISubscribes(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	raw := brokertest.Dial(t, broker.URL())
	g := startReady(t, broker.URL(), nil)
	s := at(g)
	if err := raw.Publish("pi/1/kept", []byte("a"), 1, true); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"b", "c\nd"} {
		s.run("", 0, "pub", "pi/2/live", p)
	}
	eventually(t, "all are there", func() bool {
		out, _ := s.run("", 0, "sub", "pi/#", "--snapshot", "-C", "2", "--value")
		return out == "a\nc\nd\n"
	})
	out, _ := s.run("", 0, "sub", "pi/2/#", "--since", "1h", "-C", "2", "--json")
	wants(t, "sub --since 1h", out, `"payload":"b"`, `"payload":"c\nd"`)
	cursor := strings.TrimSuffix(strings.SplitAfter(strings.Split(out, "\n")[0], `"cursor":"`)[1], `"}`)
	if out, _ = s.run("", 0, "sub", "pi/2/#", "--since", cursor, "-C", "1"); out != "c\nd\n" {
		t.Errorf("sub --since a cursor: got %q, want what came behind it", out)
	}
	for _, command := range []string{"sub", "record"} { // not from now, which is something else
		out, said := s.run("", 1, command, "pi/#", "--since", "yesterday", "-C", "1")
		if out != "" {
			t.Errorf("%s --since yesterday: got %q, want nothing", command, out)
		}
		wants(t, command+" --since yesterday", said, "since must be a cursor")
	}

	// Straight at the broker.
	out, _ = s.run("", 0, "pub", "pi/3", "x", "--broker", broker.URL(), "--json", "--retain", "--property", "a=b")
	wants(t, "pub --broker", out, `"delivery":"acknowledged"`)
	if out, _ = s.run("", 0, "sub", "pi/3", "--broker", broker.URL(), "-C", "1"); out != "x\n" {
		t.Errorf("sub --broker: got %q, want x", out)
	}
	p := s.begin("sub", "cut/#", "--broker", broker.URL())
	eventually(t, "the message came", func() bool {
		_ = raw.Publish("cut/1", []byte("before"), 1, false)
		return strings.Contains(p.stdout.String(), "before\n")
	})
	broker.Restart()
	if !p.stderr.until(p.exited, func(log string) bool { return strings.Contains(log, "messages may be missing here") }) {
		t.Fatalf("a broker that restarts: got %q, want the gap", p.stderr)
	}
	eventually(t, "it goes on", func() bool {
		c := exec.Command(gatewayBinary(t), "pub", "cut/1", "after", "--broker", broker.URL())
		_ = c.Run()
		return strings.Contains(p.stdout.String(), "after\n")
	})
	_, errs := s.run("", 2, "sub", "a", "--snapshot", "--broker", broker.URL())
	wants(t, "sub --snapshot --broker", errs, "need a gateway")
	_, errs = s.run("", 2, "pub", "a", "b", "--broker", "mqtt://user:hunter2@localhost")
	if strings.Contains(errs, "hunter2") {
		t.Errorf("got %q, want no password in it", errs)
	}
}

// An exported tree is the same after it was cleared and imported, byte for byte.
func TestCLIExportImportRoundTrip(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	raw := brokertest.Dial(t, broker.URL())
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_MAX_PAYLOAD_BYTES": "262144"})
	s := at(g)
	kept := map[string]string{
		"tree/json": `{"a":  1.50,"<b>":"\u00fc"}`, "tree/text": "two\nlines\r\n", "tree/bytes": "\x00\xff\xfe", "tree/number": "21.50", "tree/ space ": " 1 ",
		"tree//empty level/": "x", "tree/ü/😀": "ü", `tree/"quoted"\`: `"`, "tree/large": strings.Repeat("\x01", 250_000), "tree/both": "kept",
	}
	live := map[string]string{"tree/live": "l", "tree/both": "newer"}
	for topic, payload := range kept {
		if err := raw.Publish(topic, []byte(payload), 1, true); err != nil {
			t.Fatal(err)
		}
	}
	for topic, payload := range live {
		if err := raw.Publish(topic, []byte(payload), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	var first string
	eventually(t, "all is exported", func() bool {
		first, _ = s.run("", 0, "export", "tree/#")
		return strings.Count(first, "\n") == len(kept)+len(live) && strings.Contains(first, `"newer"`)
	})
	only, _ := s.run("", 0, "export", "--retained", "tree/#")
	if got := strings.Count(only, "\n"); got != len(kept) {
		t.Errorf("export --retained: got %d lines, want %d", got, len(kept))
	}
	listed, _ := s.run("", 0, "clear", "--yes", "tree/#")
	if got := strings.Split(strings.TrimSuffix(listed, "\n"), "\n"); !slices.Equal(got, slices.Sorted(maps.Keys(kept))) {
		t.Errorf("clear lists %q, want %q", got, slices.Sorted(maps.Keys(kept)))
	}
	if left, _ := s.run("", 0, "export", "--retained", "tree/#"); left != "" {
		t.Errorf("behind clear: got %q, want nothing", left)
	}
	s.run(first, 0, "import")
	eventually(t, "the same is exported again", func() bool {
		again, _ := s.run("", 0, "export", "tree/#")
		return again == first
	})
	// The broker itself has what it had.
	other := brokertest.Dial(t, broker.URL())
	other.Subscribe("tree/#", 1)
	for _, m := range other.WaitCount(len(kept), patience) {
		if want, ok := kept[m.Topic]; !ok || !m.Retain || string(m.Payload) != want {
			t.Errorf("%s: the broker keeps %.40q (retain %t), want %.40q", m.Topic, m.Payload, m.Retain, want)
		}
	}
	// What export writes is what POST /publish/batch reads.
	a := g.do(request{method: "POST", path: "/publish/batch", body: only, header: map[string]string{"Content-Type": "application/x-ndjson"}})
	if got := strings.Count(a.body, `"status":200`); got != len(kept) {
		t.Errorf("as a batch: got %s", a.body)
	}

	file := filepath.Join(t.TempDir(), "tree")
	if err := os.WriteFile(file, []byte(`{"topic":"moved","payload":"1","encoding":"text"}`+"\n\nno json\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs := s.run("", 1, "import", "--prefix", "tree/", file)
	wants(t, "import of a broken file", errs, file+", line 3: it is no JSON object of a message")
	if out, _ := s.run("", 0, "get", "tree/moved"); out != "1" {
		t.Errorf("import --prefix: got %q, want 1", out)
	}
	_, errs = s.run(`{"topic":"a/+","payload":"1","encoding":"text"}`, 1, "import")
	wants(t, "import of what is refused", errs, "topic_wildcard", "1 message of 1 message: not published")

	// What is too large is not left out silently.
	large := strings.Repeat("x", 300_000)
	if err := raw.Publish("tree/huge", []byte(large), 1, true); err != nil {
		t.Fatal(err)
	}
	_, errs = s.run("", 1, "export", "tree/huge")
	wants(t, "export of what is too large", errs, "tree/huge: 300000 bytes")
}

func TestCLIClearSaysWhatFirst(t *testing.T) {
	t.Parallel()
	g := startBuiltIn(t, nil)
	s := at(g)
	for _, topic := range []string{"c/1", "c/2"} {
		s.run("", 0, "pub", "-r", topic, "x")
	}
	out, errs := s.run("y\n", 2, "clear", "c/#") // a pipe is nobody who answers
	wants(t, "clear", out+errs, "c/1\nc/2\n", "nothing was cleared", "--yes")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	p := launchTo(t, full, &bytes.Buffer{}, s.env, "clear", "--yes", "c/#")
	if got := p.exit(); got != 1 {
		t.Errorf("clear that cannot say what: got exit status %d, want 1", got)
	}
	if out, _ := s.run("", 0, "export", "--retained", "c/#"); strings.Count(out, "\n") != 2 {
		t.Fatalf("nothing should have been cleared, and there is %q", out)
	}
	out, _ = s.run("", 0, "clear", "--yes", "c/+")
	if out != "c/1\nc/2\n" {
		t.Errorf("clear --yes: got %q, want the list", out)
	}
	_, errs = s.run("", 0, "clear", "c/#")
	wants(t, "clear of nothing", errs, "nothing is retained that matches c/#")
}

func TestCLIRecordsAndReplays(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	raw := brokertest.Dial(t, broker.URL())
	g := startReady(t, broker.URL(), nil)
	s := at(g)
	if err := raw.Publish("rec/0", []byte("there before"), 1, true); err != nil {
		t.Fatal(err)
	}
	p := s.begin("record", "rec/#", "-C", "30")
	eventually(t, "it has subscribed", func() bool { return g.metric("gateway_subscriptions") == 1 })
	for i := range 30 {
		if err := raw.Publish(fmt.Sprintf("rec/%d", i%3), fmt.Appendf(nil, "%d\xff\n", i), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.exit(); got != 0 {
		t.Fatalf("record: got exit status %d", got)
	}
	recording := p.stdout.String()
	if strings.Contains(recording, "before") || strings.Count(recording, `"time":"`) != 30 {
		t.Errorf("got %q, want 30 live messages with their times", recording)
	}
	raw.Subscribe("again/#", 1)
	s.run(recording+`{"type":"gap","after":"a-1","before":"a-2","reason":"history_expired","certain":true}`, 0, "replay", "-", "--prefix", "again/", "--speed", "0")
	next := map[string]int{"again/rec/0": 0, "again/rec/1": 1, "again/rec/2": 2} // order holds for each topic
	for _, m := range raw.WaitCount(30, patience) {
		if want := fmt.Sprintf("%d\xff\n", next[m.Topic]); string(m.Payload) != want {
			t.Errorf("%s: got %q, want %q", m.Topic, m.Payload, want)
		}
		next[m.Topic] += 3
	}
	_, errs := s.run(`{"type":"gap","reason":"history_expired"}`, 0, "replay", "-")
	wants(t, "replay of a gap", errs, "line 1: the recording has a gap here (history_expired)")
	_, errs = s.run("", 1, "replay", "/nonexistent/file")
	wants(t, "replay of no file", errs, "no such file")
	_, errs = s.run("", 2, "replay", "-", "--speed=-1")
	wants(t, "replay backwards", errs, "back in time")
}

func TestCLIListsDevices(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	raw := brokertest.Dial(t, broker.URL())
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_DEVICES": "will", "GATEWAY_DEVICE_TOPICS": "{id}/LWT=Online|Offline"})
	s := at(g)
	for id, state := range map[string]string{"lamp": "Online", "door": "Offline"} {
		if err := raw.Publish(id+"/LWT", []byte(state), 1, true); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both are listed", func() bool {
		out, _ := s.run("", 0, "devices")
		lines := strings.Split(out, "\n")
		return len(lines) == 3 && strings.HasPrefix(lines[0], "door\toffline\t") && strings.HasPrefix(lines[1], "lamp\tonline\t")
	})
	out, _ := s.run("", 0, "devices", "--state", "online", "--json")
	wants(t, "devices --state online", out, `"id":"lamp","state":"online"`)
	if strings.Contains(out, "door") {
		t.Errorf("devices --state online: got %q, want no door", out)
	}
	out, _ = s.run("", 0, "devices", "door")
	wants(t, "devices door", out, "door\toffline\t")
	_, errs := s.run("", 1, "devices", "nobody")
	wants(t, "devices nobody", errs, "device_not_seen")
	_, errs = s.run("", 2, "devices", "--state", "asleep")
	wants(t, "devices --state asleep", errs, "must be one of")
}
