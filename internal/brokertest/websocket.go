package brokertest

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// StartWebSocket is a way to the broker at addr over WebSocket, which the
// mosquitto of some distributions does not listen on: a server that passes the
// bytes on. With a certificate it speaks TLS. It returns the URL, ws:// or
// wss://.
func StartWebSocket(t testing.TB, addr string, cert ...tls.Certificate) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			return
		}
		ws.SetReadLimit(-1)
		client := websocket.NetConn(r.Context(), ws, websocket.MessageBinary)
		defer client.Close()
		broker, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = io.Copy(broker, client)
			_ = broker.Close()
		}()
		_, _ = io.Copy(client, broker)
		_ = client.Close()
		<-ended
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if len(cert) > 0 {
		s.TLS = &tls.Config{Certificates: cert}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "http", "ws", 1)
}
