package brokertest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStartListensAndAnswers(t *testing.T) {
	b := Start(t)
	c := Dial(t, b.URL())
	if got := c.Subscribe("a/#", 1); got != 1 {
		t.Fatalf("SUBACK: got %#x, want 1", got)
	}
	if err := c.Publish("a/b", []byte("x"), 1, false); err != nil {
		t.Fatal(err)
	}
	if m := c.WaitCount(1, 5*time.Second)[0]; m.Topic != "a/b" || string(m.Payload) != "x" || m.QoS != 1 {
		t.Fatalf("got %+v", m)
	}
	b.WaitLog("New client connected")
	if got := b.Connections(); got != 1 {
		t.Fatalf("connections: got %d, want 1", got)
	}
}

func TestStopRefusesAndStartAgainKeepsThePort(t *testing.T) {
	b := Start(t)
	before := b.Addr()
	b.Stop()
	if b.Running() {
		t.Fatal("runs after Stop")
	}
	if _, err := net.DialTimeout("tcp", b.Addr(), time.Second); err == nil {
		t.Fatal("the port answers after Stop")
	}
	b.StartAgain()
	if b.Addr() != before {
		t.Fatalf("address: got %s, want %s", b.Addr(), before)
	}
	Dial(t, b.Addr())
	b.Restart()
	Dial(t, b.Addr())
	b.WaitLogCount(" running\n", 3)
}

func TestKillResetsClients(t *testing.T) {
	b := Start(t)
	c := Dial(t, b.Addr())
	b.Kill()
	select {
	case <-c.Lost():
	case <-time.After(5 * time.Second):
		t.Fatal("the client did not see the end of the broker")
	}
	if c.Connected() {
		t.Fatal("Connected after the loss")
	}
	if err := c.Publish("a", nil, 1, false); err == nil {
		t.Fatal("Publish on a lost connection: got nil, want an error")
	}
	b.StartAgain()
	if err := c.Reconnect(); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish("a", nil, 1, false); err != nil {
		t.Fatal(err)
	}
}

func TestPauseHoldsAnswersUntilContinue(t *testing.T) {
	b := Start(t)
	c := Dial(t, b.Addr())
	b.Pause()
	done := c.PublishAsync("a", []byte("x"), 1, false)
	select {
	case err := <-done:
		t.Fatalf("a paused broker answered: %v", err)
	case <-time.After(200 * time.Millisecond): // nothing must come
	}
	b.Continue()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.Pause() // cleanup must cope
}

func TestBareIsTheDocumentedConfiguration(t *testing.T) {
	b := Start(t, Bare())
	for _, line := range bareLines {
		if !strings.Contains(b.ConfText(), line+"\n") {
			t.Errorf("missing %q in:\n%s", line, b.ConfText())
		}
	}
	if strings.Contains(b.ConfText(), "max_queued") {
		t.Errorf("limits in:\n%s", b.ConfText())
	}
	c := Dial(t, b.Addr())
	if got := c.Subscribe("$SYS/broker/log/#", 0); got != 0 {
		t.Fatalf("SUBACK: got %d, want 0", got)
	}
	Dial(t, b.Addr())
	c.Wait(5*time.Second, func(m Message) bool { return strings.HasPrefix(m.Topic, "$SYS/broker/log/N") })
}

func TestPersistentKeepsRetainedOverRestart(t *testing.T) {
	b := Start(t, Persistent())
	c := Dial(t, b.Addr())
	if err := c.Publish("kept", []byte("1"), 1, true); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	c2 := Dial(t, b.Addr())
	c2.Subscribe("kept", 1)
	if m := c2.WaitCount(1, 5*time.Second)[0]; !m.Retain || string(m.Payload) != "1" {
		t.Fatalf("got %+v, want the retained message", m)
	}
}

func TestConfFileGetsTheFreePort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.conf")
	text := "# a comment\nlistener 1883 192.0.2.1\nlog_dest stdout\nallow_anonymous false\npersistence true\npersistence_location /nowhere/\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b := Start(t, ConfFile(path))
	if _, err := TryDial(t, b.Addr()); err != ConnackError(5) {
		t.Fatalf("anonymous: got %v, want CONNACK 5", err)
	}
	b2 := Start(t, ConfFile(path), Set("allow_anonymous", "true"), Conf("max_packet_size 1000"))
	Dial(t, b2.Addr())
	if !strings.Contains(b2.ConfText(), "max_packet_size 1000") || strings.Contains(b2.ConfText(), "192.0.2.1") {
		t.Fatalf("conf:\n%s", b2.ConfText())
	}
}

func TestPortTakenIsTriedAgain(t *testing.T) {
	b := Start(t)
	b.Stop()
	l, err := net.Listen("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := b.launch(); err != errPortTaken {
		t.Fatalf("launch on a taken port: got %v, want %v", err, errPortTaken)
	}
}
