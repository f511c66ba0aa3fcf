package test

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
)

// With a directory the built-in broker's retained messages outlive the gateway, however it ends.
func TestEmbeddedDirOutlivesTheGateway(t *testing.T) {
	dir := t.TempDir()
	for round, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM} {
		p, g := launchReady(t, map[string]string{"GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0", "GATEWAY_EMBEDDED_DIR": dir})
		if round > 0 {
			if got, want := g.get(g.url+"/topics/kept"), fmt.Sprint(round-1); got != want {
				t.Errorf("round %d: got %s, want %s", round, got, want)
			}
		}
		if a := g.post(fmt.Sprintf(`{"topic":"kept","payload":%d,"retain":true}`, round)); a.status != 200 {
			t.Fatalf("round %d: got %d %s, want 200", round, a.status, a.body)
		}
		addr := p.brokerAddr()
		if err := p.cmd.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		p.exit()
		isGone(t, addr)
	}
}

// The broker alone takes what the gateway takes: the variables say where it listens and keeps its messages, and the flags
// win over them.
func TestBrokerAloneFollowsTheVariables(t *testing.T) {
	dir := t.TempDir()
	p := launch(t, map[string]string{"GATEWAY_EMBEDDED_ADDR": "127.0.0.2:0", "GATEWAY_EMBEDDED_DIR": dir}, "broker")
	p.says("listening on 127.0.0.2:")
	if found, err := filepath.Glob(filepath.Join(dir, "broker.db")); err != nil || len(found) != 1 {
		t.Errorf("got %v, %v, want broker.db in GATEWAY_EMBEDDED_DIR", found, err)
	}
	launch(t, map[string]string{"GATEWAY_EMBEDDED_ADDR": "127.0.0.2:0"}, "broker", "--addr", "127.0.0.3:0").says("listening on 127.0.0.3:")
	launch(t, map[string]string{"GATEWAY_EMBEDDED_ADDR": "0.0.0.0:0"}, "broker").ends(1, "listens on loopback only")
	launch(t, map[string]string{"GATEWAY_EMBEDDED_ADDR": "0.0.0.0:0", "GATEWAY_ALLOW_ANONYMOUS": "true"}, "broker").says("listening on ")
}
