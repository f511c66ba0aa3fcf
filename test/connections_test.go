package test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// Connections that wait for a request are bounded: the one that waits longest
// makes room for the newest. Who has something to say, or to hear, loses nothing.
func TestConnectionsMakeRoomForEachOther(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_MAX_CONNECTIONS": "100"})
	socket := g.dial("?topic=room/%23")
	socket.wait("ack", func(f frame) bool { return f.Type == "ack" })
	long := make(chan int, 1)
	go func() {
		res, err := http.Post(g.url+"/request/room/nobody?reply=room/reply&timeout=15s", "application/octet-stream", strings.NewReader("?"))
		if err != nil {
			long <- 0
			return
		}
		res.Body.Close()
		long <- res.StatusCode
	}()
	heard := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprint("the stream has ", n, " messages"), func() bool { return len(socket.messages()) == n })
	}
	heard(1) // the command: it waits for its reply

	const limit, held = 1000, 1500
	head := "GET /livez HTTP/1.1\r\nHost: " + g.host() + "\r\n"
	for i := range held {
		c, err := net.Dial("tcp", g.host())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, [...]string{head + "X-Slow: ", "", 2: head + "\r\n"}[min(i%10, 2)]) // the first two are cut after 5 seconds anyhow
		if i%100 > 0 {
			continue
		}
		if open := g.metric("gateway_http_connections"); open > limit {
			t.Fatalf("%.0f connections are open, want at most %d", open, limit)
		}
		if a := g.post(`{"topic":"room/1","payload":1}`); a.status != http.StatusOK {
			t.Fatalf("publish beside %d connections: %d %s", i, a.status, a.body)
		}
	}
	if closed := g.metric("gateway_http_connections_closed_total"); closed < held*8/10-limit {
		t.Errorf("%.0f connections were closed, want at least %d", closed, held*8/10-limit)
	}
	if n := strings.Count(g.logged(), "closed to make room"); n != 1 {
		t.Errorf("got %d lines of the log about it, want 1", n)
	}
	heard(1 + held/100)
	if status := <-long; status != http.StatusGatewayTimeout {
		t.Errorf("the request that waited got %d, want 504 at its own end", status)
	}
}
