package bridge

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// certificate is one for 127.0.0.1, and the roots that trust it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server.TLS.Certificates[0], roots
}

// overWebSocket is a real mosquitto behind WebSocket, without TLS and with it.
func overWebSocket(t *testing.T, cert tls.Certificate) (wsURL, wssURL string) {
	addr := brokertest.Start(t).Addr()
	return brokertest.StartWebSocket(t, addr), brokertest.StartWebSocket(t, addr, cert)
}

func TestEveryTransportCarriesEverything(t *testing.T) {
	bothVersions(t, testEveryTransportCarriesEverything)
}

func testEveryTransportCarriesEverything(t *testing.T, v mqtt.Version) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // none of them asks a proxy
	t.Setenv("ALL_PROXY", "socks5://127.0.0.1:1")
	cert, roots := certificate(t)
	ws, wss := overWebSocket(t, cert)
	for name, url := range map[string]string{"ws": ws, "wss": wss, "mqtts": tlsMosquitto(t, cert)} {
		t.Run(name, func(t *testing.T) {
			b := launch(t, url, Config{Version: v, Pool: 2, Watch: []string{"#"}, TLS: &tls.Config{RootCAs: roots}}).ready(t)
			waitControl(t, b)
			large := strings.Repeat("x", 200<<10)
			for qos := range byte(3) {
				if err := b.send("a/b", large, qos); err != nil {
					t.Errorf("QoS %d: got %v", qos, err)
				}
				b.rec.wait(t, "message", func() bool { return len(b.rec.byTopic["a/b"]) == int(qos)+1 })
			}
			p, err := b.Publish(Message{Topic: "kept", Payload: []byte("1"), QoS: 1, Retain: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(within(t)); err != nil {
				t.Fatal(err)
			}
			got, err := b.Retained(within(t), "kept")
			if err != nil || len(got) != 1 || string(got[0].Payload) != "1" {
				t.Errorf("retained: got %+v, %v", got, err)
			}
		})
	}
}

// tlsMosquitto is a real mosquitto behind TLS.
func tlsMosquitto(t *testing.T, cert tls.Certificate) string {
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, certFile, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	write(t, keyFile, &pem.Block{Type: "PRIVATE KEY", Bytes: key})
	broker := brokertest.Start(t, brokertest.Conf("certfile "+certFile, "keyfile "+keyFile))
	return strings.Replace(broker.URL(), "mqtt:", "mqtts:", 1)
}

func write(t *testing.T, file string, block *pem.Block) {
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Why there is no connection is said in words that help, and without the address.
func TestTroubleIsSaidInPlainWords(t *testing.T) { bothVersions(t, testTroubleIsSaidInPlainWords) }

func testTroubleIsSaidInPlainWords(t *testing.T, v mqtt.Version) {
	cert, _ := certificate(t)
	ws, wss := overWebSocket(t, cert)
	mqtts := tlsMosquitto(t, cert)
	plain := brokertest.Start(t)
	web := httptest.NewServer(nil)
	defer web.Close()
	ssh := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
		c.ReadPacket()
	})
	for url, want := range map[string]string{
		ssh.URL(): mqtt.ErrNotMQTT.Error(),
		mqtts:     "the broker's certificate is not trusted",
		wss:       "the broker's certificate is not trusted",
		strings.Replace(plain.URL(), "mqtt:", "mqtts:", 1): "it does not answer in TLS: is it TLS?",
		strings.Replace(ws, "ws:", "mqtt:", 1):             "it answers HTTP, not MQTT",
		strings.Replace(mqtts, "mqtts:", "mqtt:", 1):       "the broker closed the connection without an answer; is it TLS? use mqtts://",
		strings.Replace(web.URL, "http:", "ws:", 1):        "the broker does not answer as a WebSocket server",
		"mqtt://127.0.0.1:1":                               "connection refused",
		"mqtt://broker.invalid:1883":                       "the broker's name cannot be resolved",
	} {
		b := launch(t, url, Config{Version: v, Pool: 1})
		b.waitStatus(t, "said why for "+url, func(s Status) bool { return s.Err != "" })
		if got := b.Status().Err; !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
		b.stop()
	}
}
