// Package mosquitto_test starts a real mosquitto with each configuration that
// this directory ships, and holds the README against them.
package mosquitto_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vulturepi/gateway/internal/brokertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	serverSettings = "server_settings.conf"
	production     = "production.conf"
	patience       = time.Minute
)

// The lines of the documented configuration; the page has an address after the
// port.
var documented = []string{
	"listener 1883", "log_dest syslog", "log_dest stdout", "log_dest topic",
	"log_type error", "log_type warning", "log_type notice", "log_type information",
	"connection_messages true", "log_timestamp true", "allow_anonymous true",
}

// directives returns the lines of a configuration that are not comments.
func directives(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

func value(t *testing.T, lines []string, directive string) int {
	t.Helper()
	for _, line := range lines {
		if v, ok := strings.CutPrefix(line, directive+" "); ok {
			n, err := strconv.Atoi(v)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

func TestServerSettingsKeepTheDocumentedLinesInOrder(t *testing.T) {
	got := directives(t, serverSettings)
	if len(got) < len(documented) {
		t.Fatalf("%d lines, want at least %d", len(got), len(documented))
	}
	for i, want := range documented {
		if got[i] != want {
			t.Errorf("line %d: got %q, want %q", i+1, got[i], want)
		}
	}
}

func TestConfigurationsNeverHold(t *testing.T) {
	for _, path := range []string{serverSettings, production} {
		lines := directives(t, path)
		for _, line := range lines {
			for _, bad := range []string{"max_queued_messages 0", "message_size_limit", "user root", "allow_duplicate_messages true"} {
				if strings.HasPrefix(line+" ", bad+" ") {
					t.Errorf("%s has %q", path, line)
				}
			}
			if path == production && (line == "log_dest topic" || line == "allow_anonymous true") {
				t.Errorf("%s has %q", path, line)
			}
		}
		// The gateway's default payload and the longest topic must fit.
		if got, want := value(t, lines, "max_packet_size"), 262144+65535+16; got < want {
			t.Errorf("%s: max_packet_size: got %d, want at least %d", path, got, want)
		}
		if got := value(t, lines, "max_keepalive"); got < 120 {
			t.Errorf("%s: max_keepalive: got %d, want at least the 120 that the gateway may use", path, got)
		}
	}
}

func TestReadmeExplainsEveryLine(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if cell, ok := strings.CutPrefix(line, "| `"); ok {
			name, rest, _ := strings.Cut(cell, "` |")
			rows[name] = len(strings.TrimSpace(rest)) > 20
		}
	}
	known := map[string]bool{serverSettings: true, production: true, "production.acl": true}
	for _, path := range []string{serverSettings, production} {
		for _, line := range directives(t, path) {
			known[line] = true
			if !rows[line] {
				t.Errorf("%s: README.md has no row that explains `%s`", path, line)
			}
		}
	}
	for row := range rows {
		if !known[row] {
			t.Errorf("README.md explains `%s`, which no configuration has", row)
		}
	}
}

// slowSubscriber is a QoS 1 subscriber whose link is stalled, so that the
// broker has to keep everything for it. heal lets it read.
func slowSubscriber(t *testing.T, b *brokertest.Broker, filter string) (c *brokertest.Client, heal func()) {
	t.Helper()
	p := brokertest.StartProxy(t, b.URL())
	c = brokertest.Dial(t, p.URL())
	if code := c.Subscribe(filter, 1); code != 1 {
		t.Fatalf("SUBACK: got %#x, want 1", code)
	}
	p.Stall(false, true)
	return c, p.Heal
}

// burst publishes n numbered messages at QoS 1; all are acknowledged.
func burst(t *testing.T, b *brokertest.Broker, n int, topic func(int) string, retain bool) {
	t.Helper()
	c := brokertest.Dial(t, b.URL())
	acks := make([]<-chan error, n)
	for i := range n {
		acks[i] = c.PublishAsync(topic(i), fmt.Appendf(nil, "%d", i), 1, retain)
	}
	for i, ack := range acks {
		if err := <-ack; err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

func TestServerSettingsLoseNothingInABurst(t *testing.T) {
	const n = 20_000
	b := brokertest.Start(t, brokertest.ConfFile(serverSettings))
	s, heal := slowSubscriber(t, b, "burst/#")
	burst(t, b, n, func(int) string { return "burst/one" }, false)
	heal()
	for i, m := range s.WaitCount(n, patience) {
		if got := string(m.Payload); got != strconv.Itoa(i) {
			t.Fatalf("message %d: got %s", i, got)
		}
	}
	if strings.Contains(b.Log(), "being dropped") {
		t.Fatalf("the broker dropped messages:\n%s", b.Log())
	}
}

// The documented lines alone do lose messages. If this fails, mosquitto's
// defaults have changed and the limits may be reconsidered.
func TestDocumentedLinesAloneLoseMessages(t *testing.T) {
	const n = 3000
	b := brokertest.Start(t, brokertest.Bare())
	s, heal := slowSubscriber(t, b, "burst/#")
	burst(t, b, n, func(int) string { return "burst/one" }, false)
	b.WaitLog("Outgoing messages are being dropped for client")
	heal()
	s.WaitCount(1000, patience) // the queue has room again
	burst(t, b, 1, func(int) string { return "burst/end" }, false)
	s.Wait(patience, func(m brokertest.Message) bool { return m.Topic == "burst/end" })
	if got := s.Count(); got >= n {
		t.Fatalf("got %d messages, want fewer than %d", got, n)
	}
}

func TestServerSettingsDeliverAllRetained(t *testing.T) {
	const n = 5000
	b := brokertest.Start(t, brokertest.ConfFile(serverSettings))
	burst(t, b, n, func(i int) string { return fmt.Sprintf("kept/%d", i) }, true)
	s := brokertest.Dial(t, b.URL())
	if code := s.Subscribe("kept/#", 1); code != 1 {
		t.Fatalf("SUBACK: got %#x, want 1", code)
	}
	seen := map[string]bool{}
	for _, m := range s.WaitCount(n, patience) {
		if !m.Retain {
			t.Fatalf("%s came without the retain flag", m.Topic)
		}
		seen[m.Topic] = true
	}
	if len(seen) != n {
		t.Fatalf("got %d topics, want %d", len(seen), n)
	}
}

func TestServerSettingsSurviveARestart(t *testing.T) {
	b := brokertest.Start(t, brokertest.ConfFile(serverSettings))
	burst(t, b, 100, func(i int) string { return fmt.Sprintf("kept/%d", i) }, true)
	b.Restart()
	s := brokertest.Dial(t, b.URL())
	s.Subscribe("kept/#", 1)
	s.WaitCount(100, patience)
}

// A device that asks for a longer keep-alive than the limit is the one client
// that newer versions refuse; the gateway's own must pass.
func TestServerSettingsAcceptTheTools(t *testing.T) {
	b := brokertest.Start(t, brokertest.ConfFile(serverSettings))
	for _, keepAlive := range []string{"10", "60", "120"} {
		pub := exec.CommandContext(t.Context(), "mosquitto_pub", "-p", strconv.Itoa(b.Port()), "-h", "127.0.0.1", "-k", keepAlive, "-q", "1", "-t", "a", "-m", "x")
		if out, err := pub.CombinedOutput(); err != nil {
			t.Errorf("keep-alive %s: %v: %s", keepAlive, err, out)
		}
	}
}

// The listener errors that the README quotes.
func TestReadmeQuotesTheListenerErrors(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	b := brokertest.Start(t)
	for listener, want := range map[string]string{
		"1883 <your_ip_address>":              "Error creating listener: Name or service not known.",
		"1883 192.0.2.1":                      "Error: Cannot assign requested address",
		fmt.Sprintf("%d 127.0.0.1", b.Port()): "Error: Address already in use",
	} {
		conf := filepath.Join(t.TempDir(), "bad.conf")
		if err := os.WriteFile(conf, []byte("listener "+listener+"\nallow_anonymous true\nlog_dest stderr\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), brokertest.Mosquitto(t), "-c", conf).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("listener %s: got %v: %s; want %q", listener, err, out, want)
		}
		if !strings.Contains(string(readme), want) {
			t.Errorf("README.md does not quote %q", want)
		}
	}
}
