package test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// nginxConf passes everything on, as an administrator would write it. Buffering
// stays at its default: the gateway's own header must be enough.
const nginxConf = `daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
	server {
		listen %[2]s;
		location / {
			proxy_pass %[3]s;
			proxy_http_version 1.1;
			proxy_set_header Host $host;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection $connection_upgrade;
			proxy_read_timeout 1h;
		}
	}
}
`

// behindNginx starts an nginx in front of g and lets g's addresses be nginx's.
func behindNginx(t *testing.T, g *gateway) {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx" // Debian keeps it out of users' PATH
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal("no nginx is installed: run scripts/test-deps.sh")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, addr, g.url), 0o600); err != nil {
		t.Fatal(err)
	}
	said := &output{}
	cmd := exec.Command(path, "-p", dir, "-c", conf, "-e", "stderr")
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatalf("nginx: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("nginx:\n%s", said)
		}
	})
	eventually(t, "nginx listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	g.url, g.ws = "http://"+addr, "ws://"+addr+"/ws"
}

// Each message comes before the next one is published: nothing on the way
// waits for a buffer to fill.
func TestStreamsComeMessageByMessageThroughNginx(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	behindNginx(t, g)
	raw := brokertest.Dial(t, broker.Addr())
	for format, accept := range map[string]string{"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain"} {
		t.Run(format, func(t *testing.T) {
			eventually(t, "the one before is gone", func() bool { return g.metric("gateway_subscriptions") == 0 })
			req, err := http.NewRequestWithContext(t.Context(), "GET", g.url+"/events?topic=n/"+format, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", accept)
			answered := make(chan *http.Response, 1)
			go func() {
				res, err := g.client.Do(req)
				if err != nil {
					t.Errorf("through nginx: %v", err)
				}
				answered <- res
			}()
			eventually(t, "it is subscribed", func() bool { return g.metric("gateway_subscriptions") == 1 })
			var lines *bufio.Scanner
			for i := range 20 {
				if err := raw.Publish("n/"+format, fmt.Append(nil, 1000+i), 1, false); err != nil {
					t.Fatal(err)
				}
				if lines == nil {
					res := <-answered
					if res == nil || res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), accept) {
						t.Fatalf("got %v, want 200 and %s", res, accept)
					}
					defer res.Body.Close()
					lines = bufio.NewScanner(res.Body)
				}
				nextPayload(t, lines, fmt.Sprint(1000+i))
			}
		})
	}
}

func TestWebSocketWorksThroughNginx(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	behindNginx(t, g)
	s := g.dial("")
	s.subscribe("n/#")
	for i := range 20 {
		s.send(fmt.Sprintf(`{"op":"publish","id":%d,"topic":"n/ws","payload":%[1]d}`, i))
		s.wait("published", func(f frame) bool { return f.Type == "published" && string(f.ID) == fmt.Sprint(i) && f.Status == 200 })
		if got := string(s.waitMessages(i + 1)[i].Payload); got != fmt.Sprint(i) {
			t.Fatalf("got payload %s, want %d", got, i)
		}
	}
	g.shutdown()
	if got := s.closed(); got != 1001 {
		t.Errorf("at the end: got close code %d, want 1001", got)
	}
}
