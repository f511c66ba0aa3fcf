package test

import (
	"bytes"
	"context"
	"os/exec"
	"strconv"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// program runs a program to its end and returns its standard output.
func program(t testing.TB, name string, args ...string) string {
	t.Helper()
	return startProgram(t, name, args...)()
}

// startProgram runs a program; the function waits for its end and returns its
// standard output.
func startProgram(t testing.TB, name string, args ...string) func() string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return func() string {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.String())
		}
		return stdout.String()
	}
}

func TestCurlPublishIsPrintedByMosquittoSub(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	tests := []struct{ body, want string }{
		{`{"topic":"pi/3/led","payload":"on"}`, "on\n"},
		{`{"topic":"pi/3/led","payload":21.50}`, "21.50\n"},
		{`{"topic":"pi/3/led","payload":{"r": 255, "g": [0, 1e3]}}`, "{\"r\": 255, \"g\": [0, 1e3]}\n"},
		{`{"topic":"pi/3/led","payload":"AAEC/w==","encoding":"base64"}`, "\x00\x01\x02\xff\n"},
		{`{"topic":"pi/3/led","payload":"Grüße\tan \"alle\"","qos":2}`, "Grüße\tan \"alle\"\n"},
	}
	for i, tt := range tests {
		id := "reader" + strconv.Itoa(i)
		sub := startProgram(t, "mosquitto_sub", "-h", "127.0.0.1", "-p", strconv.Itoa(broker.Port()),
			"-i", id, "-q", "1", "-t", "pi/3/led", "-C", "1")
		broker.WaitLog(id + " 1 pi/3/led")
		status := program(t, "curl", "-sS", "-o", t.TempDir()+"/answer", "-w", "%{http_code}",
			"-H", "Content-Type: application/json", "-d", tt.body, g.url+"/publish")
		if status != "200" {
			t.Errorf("curl -d %s: got status %s, want 200", tt.body, status)
		}
		if got := sub(); got != tt.want {
			t.Errorf("curl -d %s: mosquitto_sub printed %q, want %q", tt.body, got, tt.want)
		}
	}
}

func TestMosquittoPubIsSeenByWebSocket(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	ws := g.dial("?topic=pi/%2B/battery")
	ws.wait("ack", func(f frame) bool { return f.Type == "ack" && len(f.Results) == 1 && f.Results[0].OK })
	for i, qos := range []string{"0", "1", "2"} {
		program(t, "mosquitto_pub", "-h", "127.0.0.1", "-p", strconv.Itoa(broker.Port()),
			"-q", qos, "-t", "pi/3/battery", "-m", "21.5"+qos)
		m := ws.waitMessages(i + 1)[i]
		if got, want := string(m.Payload), "21.5"+qos; got != want || m.Encoding != "json" || m.Topic != "pi/3/battery" {
			t.Errorf("QoS %s: got %s, want payload %s", qos, m.raw, want)
		}
	}
}

// What a browser or curl gets that knows only the address.
func TestCurlFindsHealthAndDocs(t *testing.T) {
	t.Parallel()
	g := startReady(t, brokertest.Start(t).URL(), nil)
	for path, want := range map[string]string{
		"/livez": "200", "/readyz": "200", "/docs": "200", "/docs/errors": "200", "/openapi.yaml": "200",
		"/asyncapi.yaml": "200", "/ws": "426", "/nowhere": "404", "/publish": "405",
	} {
		if got := program(t, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", g.url+path); got != want {
			t.Errorf("curl %s: got status %s, want %s", path, got, want)
		}
	}
}
