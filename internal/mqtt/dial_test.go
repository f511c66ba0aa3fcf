package mqtt

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// certificate is one for 127.0.0.1, and the roots that trust it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server.TLS.Certificates[0], roots
}

// webBroker is a real mosquitto behind WebSocket, without TLS and with it.
func webBroker(t *testing.T, cert tls.Certificate) (wsURL, wssURL string) {
	addr := brokertest.Start(t).Addr()
	return brokertest.StartWebSocket(t, addr), brokertest.StartWebSocket(t, addr, cert)
}

// secureMosquitto is a real mosquitto behind TLS.
func secureMosquitto(t *testing.T, cert tls.Certificate) string {
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	broker := brokertest.Start(t, brokertest.Conf("certfile "+certFile, "keyfile "+keyFile))
	return strings.Replace(broker.URL(), "mqtt:", "mqtts:", 1)
}

func TestEveryTransportCarriesEverything(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // none of them asks a proxy
	t.Setenv("ALL_PROXY", "socks5://127.0.0.1:1")
	cert, roots := certificate(t)
	ws, wss := webBroker(t, cert)
	for name, url := range map[string]string{"ws": ws, "wss": wss, "mqtts": secureMosquitto(t, cert), "mqtt": brokertest.Start(t).URL()} {
		bothVersions(t, func(t *testing.T, v Version) {
			rec := newRecorder()
			c := dial(t, url, v, func(c *Config) {
				c.Handler, c.TLS, c.ReceiveBuffer = rec, &tls.Config{RootCAs: roots}, 4<<20
			})
			if _, err := c.Subscribe(within(t), []Filter{{Filter: "a/b", QoS: 2}}); err != nil {
				t.Fatal(name, err)
			}
			large := []byte(strings.Repeat("x", 200<<10))
			for qos := range byte(3) {
				if _, err := outcome(t, c, Message{Topic: "a/b", Payload: large, QoS: qos}); err != nil {
					t.Errorf("%s, QoS %d: got %v", name, qos, err)
				}
				if m := rec.waitCount(t, int(qos)+1)[qos]; m.QoS != qos || len(m.Payload) != len(large) {
					t.Errorf("%s: got QoS %d, %d bytes", name, m.QoS, len(m.Payload))
				}
			}
		})
	}
}

func TestNoProxyIsAsked(t *testing.T) {
	u, _ := url.Parse("ws://broker")
	if tr := (&Config{URL: u}).transport(nil); tr.Proxy != nil {
		t.Error("WebSocket connections go through a proxy of the environment")
	}
}

// What listens there and is no such broker is told apart.
func TestWhatIsNoBrokerIsNamed(t *testing.T) {
	cert, roots := certificate(t)
	plain := brokertest.Start(t).URL()
	web := httptest.NewServer(nil)
	defer web.Close()
	secureWeb := httptest.NewUnstartedServer(nil)
	secureWeb.Config.ErrorLog = log.New(io.Discard, "", 0)
	secureWeb.StartTLS()
	defer secureWeb.Close()
	for url, want := range map[string]error{
		strings.Replace(plain, "mqtt:", "mqtts:", 1):                     ErrNoTLS,
		strings.Replace(web.URL, "http:", "mqtt:", 1):                    ErrHTTP,
		strings.Replace(web.URL, "http:", "mqtts:", 1):                   ErrHTTP,
		strings.Replace(web.URL, "http:", "ws:", 1):                      ErrNoWebSocket,
		strings.Replace(secureWeb.URL, "https:", "mqtt:", 1):             ErrClosedOnConnect,
		strings.Replace(secureMosquitto(t, cert), "mqtts:", "mqtt:", 1):  ErrClosedOnConnect,
		strings.Replace(secureMosquitto(t, cert), "mqtts:", "mqtts:", 1): nil,
		"tcp://127.0.0.1:1883":                                           errors.ErrUnsupported,
	} {
		bothVersions(t, func(t *testing.T, v Version) {
			c, err := tryDial(t, url, v, func(c *Config) { c.TLS = &tls.Config{RootCAs: roots} })
			switch {
			case want == nil:
				if err != nil {
					t.Fatal(url, err)
				}
				c.Close()
			case want == errors.ErrUnsupported:
				if _, ok := errors.AsType[*DialError](err); !ok {
					t.Errorf("%s: got %v", url, err)
				}
			case !errors.Is(err, want):
				t.Errorf("%s: got %v, want %v", url, err, want)
			}
		})
	}
}

// Dial ends with its context, and in its time, also where somebody accepts and says nothing.
func TestDialEndsInItsTime(t *testing.T) {
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		for {
			if _, _, _, err := c.ReadPacket(); err != nil {
				return
			}
		}
	})
	bothVersions(t, func(t *testing.T, v Version) {
		_, err := tryDial(t, broker.URL(), v, func(c *Config) { c.ConnectTime = 50 * time.Millisecond })
		wantErr(t, "silence", err, ErrSilent)
	})
}

func TestWhatCannotBeSentIsRefusedBeforeDialling(t *testing.T) {
	for what, change := range map[string]func(*Config){
		"version":     func(c *Config) { c.Version = 3 },
		"URL":         func(c *Config) { c.URL = nil },
		"client id":   func(c *Config) { c.ClientID = "\xff" },
		"user name":   func(c *Config) { c.Username = strings.Repeat("x", 65536) },
		"password":    func(c *Config) { c.Password = strings.Repeat("x", 65536) },
		"NUL in name": func(c *Config) { c.Username = "a\x00" },
	} {
		if _, err := tryDial(t, "mqtt://127.0.0.1:1", V5, change); err == nil || !strings.HasPrefix(err.Error(), "mqtt: ") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// batch is the best time of some rounds of 200 messages at QoS 1.
func batch(t *testing.T, url string) time.Duration {
	c := dial(t, url, V311)
	best := time.Hour
	for range 7 {
		start := time.Now()
		var left sync.WaitGroup
		left.Add(200)
		for range 200 {
			p := NewPublication(Message{Topic: "batch", Payload: []byte("0123456789"), QoS: 1})
			p.Owner = owner(func(*Publication) { left.Done() })
			c.Publish(p)
		}
		left.Wait()
		best = min(best, time.Since(start))
	}
	return best
}

// A broker on its documented configuration leaves Nagle's algorithm on, which together with delayed acknowledgements
// costs 40 ms a round. The best of some rounds is compared with a broker that has it off.
func TestSmallPacketsAreNotHeldBack(t *testing.T) {
	slow := batch(t, brokertest.Start(t, brokertest.Bare()).URL())
	fast := batch(t, brokertest.Start(t, brokertest.Bare(), brokertest.Conf("set_tcp_nodelay true")).URL())
	t.Logf("200 messages at QoS 1: %v, with set_tcp_nodelay %v", slow, fast)
	if slow > 8*fast && slow > 30*time.Millisecond {
		t.Errorf("bare: got %v, want about %v", slow, fast)
	}
}
