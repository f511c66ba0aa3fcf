package test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/certificate"
	vulture "github.com/vulturepi/gateway/internal/gateway"
	"github.com/vulturepi/gateway/wire"
)

// authority is a private CA and a server's certificate by it.
type authority struct {
	*certificate.Made
	roots *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	made, err := certificate.Make(t.TempDir(), []string{"localhost", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(made.CA)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{made, x509.NewCertPool()}
	a.roots.AppendCertsFromPEM(pem)
	return a
}

func (a *authority) env() map[string]string {
	return map[string]string{"GATEWAY_TLS_CERT_FILE": a.Cert, "GATEWAY_TLS_KEY_FILE": a.Key}
}

// client makes a client's certificate with that common name.
func (a *authority) client(t testing.TB, name string) (pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(a.CA, a.CAKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, &key.PublicKey, ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err = tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return pair, certFile, keyFile
}

// secure makes the test's client speak TLS, and HTTP/2 where it may.
func (g *gateway) secure(a *authority, http2 bool, certs ...tls.Certificate) {
	g.url = strings.Replace(g.url, "http://", "https://", 1)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.roots, Certificates: certs}, ForceAttemptHTTP2: http2, ResponseHeaderTimeout: patience}
	g.t.Cleanup(transport.CloseIdleConnections)
	g.client = &http.Client{Transport: transport}
}

// curl --http1.0 and some load balancers name it in the handshake, too.
func TestTLSSpeaksHTTP10(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	g := start(t, a.env())
	g.secure(a, true)
	c, err := tls.Dial("tcp", strings.TrimPrefix(g.url, "https://"), &tls.Config{RootCAs: a.roots, NextProtos: []string{"http/1.0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /livez HTTP/1.0\r\n\r\n")
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 200 OK\r\n") {
		t.Errorf("got %q %v, want 200", answer, err)
	}
}

func TestTLSSpeaksHTTP2(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	g := start(t, a.env())
	plain, admin := g.client, g.admin
	g.waitReady(http.StatusOK) // the admin listener is plain
	_ = plain
	g.secure(a, true)
	res, err := g.client.Get(g.url + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ProtoMajor != 2 || res.TLS.Version < tls.VersionTLS12 {
		t.Errorf("got %s over TLS %x, want HTTP/2", res.Proto, res.TLS.Version)
	}
	for i := range 3 { // on one connection
		if got := g.do(request{method: "PUT", path: "/topics/a", body: fmt.Sprint(i)}); got.status != http.StatusOK {
			t.Errorf("PUT: got %d %s, want 200", got.status, got.body)
		}
	}
	if got := g.do(request{method: "GET", path: "/ws"}); got.problem.Code != wire.CodeUpgradeRequired {
		t.Errorf("GET /ws over HTTP/2: got %d %s, want upgrade_required", got.status, got.body)
	}
	if got := g.do(request{method: "GET", path: "/"}); strings.Count(got.body, g.url+"/") != 3 {
		t.Errorf("GET /: got %q, want addresses of %s", got.body, g.url)
	}
	old := &tls.Config{RootCAs: a.roots, MaxVersion: tls.VersionTLS11} //nolint:gosec // to be refused
	if c, err := tls.Dial("tcp", strings.TrimPrefix(g.url, "https://"), old); err == nil {
		c.Close()
		t.Error("TLS 1.1: got a connection, want none")
	}
	_ = admin
}

// A stream shares its HTTP/2 connection with publishes, and ends when the
// gateway stops.
func TestStreamsOverTLS(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		for _, format := range []string{"sse", "ndjson", "text"} {
			t.Run(fmt.Sprintf("%s HTTP/2 %t", format, http2), func(t *testing.T) {
				t.Parallel()
				a := newAuthority(t)
				g := start(t, a.env())
				g.waitReady(http.StatusOK)
				g.secure(a, http2)
				g.do(request{method: "PUT", path: "/topics/a/kept", body: "retained"})
				res, err := g.client.Get(g.url + "/events?topic=a/%23&format=" + format)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if want := 1; http2 && res.ProtoMajor != 2 || !http2 && res.ProtoMajor != want {
					t.Errorf("got %s", res.Proto)
				}
				lines := bufio.NewReader(res.Body)
				until := func(part string) {
					t.Helper()
					for {
						line, err := lines.ReadString('\n')
						if err != nil {
							t.Fatalf("the stream ended before %q: %v", part, err)
						}
						if strings.Contains(line, part) {
							return
						}
					}
				}
				until("retained")
				large := strings.Repeat("x", 200_000)
				for i := range 20 {
					g.do(request{method: "POST", path: "/topics/a/live", body: fmt.Sprint(large, i, "end")})
				}
				until("x19end")
				g.stopped(t)
				_, _ = io.Copy(io.Discard, lines) // ends
			})
		}
	}
}

// A stream that is quiet is not one that takes nothing.
func TestQuietStreamOverHTTP2StaysOpen(t *testing.T) {
	t.Parallel()
	const limit = 500 * time.Millisecond // which a busy machine keeps
	a := newAuthority(t)
	g := start(t, a.env(), vulture.WithHTTP(func(s *http.Server) { s.WriteTimeout = limit }), vulture.WithAPI(func(o *api.Options) { o.Timing.Stall = limit }))
	g.waitReady(http.StatusOK)
	g.secure(a, true)
	res, err := g.client.Get(g.url + "/events?topic=a&format=text")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for i := range 2 {
		for quiet := time.Now(); time.Since(quiet) < 3*limit; {
			g.do(request{method: "GET", path: "/livez"})
		}
		g.do(request{method: "POST", path: "/topics/a", body: fmt.Sprint(i)})
		if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprint(i, "\n") {
			t.Fatalf("got %q, %v, want %d", line, err, i)
		}
	}
}

func TestWebSocketOverTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	g := asking(t, a.env())
	g.secure(a, false)
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(g.url, "https", "wss", 1)+"/ws?topic=fleet/%23", &websocket.DialOptions{
		HTTPClient: g.client, HTTPHeader: http.Header{"Authorization": {"Bearer " + fleetKey}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &socket{t: t, conn: conn, change: make(chan struct{})}
	go s.read()
	t.Cleanup(func() { _ = conn.CloseNow() })
	s.wait("ack", func(f frame) bool { return f.Type == "ack" })
	g.as(operatorKey, "POST", "/topics/fleet/x", "1", 200, "")
	s.wait("message", func(f frame) bool { return f.Topic == "fleet/x" })
}

// New files are in force for new connections; bad ones change nothing.
func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	g := start(t, a.env())
	g.waitReady(http.StatusOK)
	serial := func() string {
		c, err := tls.Dial("tcp", strings.TrimPrefix(g.url, "http://"), &tls.Config{RootCAs: a.roots, ServerName: "localhost"})
		if err != nil {
			t.Fatalf("handshake: %v", err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	if _, err := certificate.Make(filepath.Dir(a.CA), []string{"localhost"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new certificate is shown", func() bool { return serial() != first })
	second := serial()
	if err := os.WriteFile(a.Key, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bad key is refused", func() bool { return strings.Contains(g.logged(), "new certificates were refused") })
	if got := serial(); got != second {
		t.Errorf("got certificate %s after a bad key, want the old one %s", got, second)
	}
}

func TestClientCertificateNamesThePrincipal(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	env, _ := withAccess(t, accessRules(""))
	maps.Copy(env, a.env())
	env["GATEWAY_AUTH"], env["GATEWAY_TLS_CLIENT_CA_FILE"] = "keys,mtls", a.CA
	g := start(t, env)
	g.waitReady(http.StatusOK)
	pair, _, _ := a.client(t, "pi-3")
	g.secure(a, true, pair)
	if got := g.do(request{method: "GET", path: "/auth/whoami"}); !strings.Contains(got.body, `"principal":"pi-3","via":"mtls"`) {
		t.Errorf("whoami: got %s, want pi-3 by mtls", got.body)
	}
	g.as("", "POST", "/topics/fleet/pi-3/x", "1", 200, "")
	g.as("", "POST", "/topics/fleet/pi-4/x", "1", 403, wire.CodeTopicForbidden)

	g.secure(a, true) // without a certificate one is nobody
	if got := g.do(request{method: "GET", path: "/auth/whoami"}); !strings.Contains(got.body, `"via":"anonymous"`) {
		t.Errorf("whoami without a certificate: got %s", got.body)
	}
	foreign, _, _ := newAuthority(t).client(t, "pi-3")
	g.secure(a, true, foreign)
	if res, err := g.client.Get(g.url + "/auth/whoami"); err == nil {
		t.Errorf("a foreign CA's certificate: got %d, want no connection", res.StatusCode)
		res.Body.Close()
	}
}

func TestBrokerIsShownACertificate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	_, certFile, keyFile := a.client(t, "gateway")
	broker := brokertest.Start(t, brokertest.Conf("cafile "+a.CA, "certfile "+a.Cert, "keyfile "+a.Key, "require_certificate true"))
	g := startReady(t, "mqtts://"+broker.Addr(), map[string]string{
		"GATEWAY_MQTT_CA_FILE": a.CA, "GATEWAY_MQTT_CERT_FILE": certFile, "GATEWAY_MQTT_KEY_FILE": keyFile,
	})
	if got := g.do(request{method: "PUT", path: "/topics/a", body: "1"}); got.status != http.StatusOK {
		t.Errorf("PUT: got %d %s, want 200", got.status, got.body)
	}
}

// The header of a trusted proxy is believed from the proxy alone.
func TestTrustedHeaderComesFromTheProxy(t *testing.T) {
	t.Parallel()
	env, _ := withAccess(t, accessRules("roles:\n  viewers: {subscribe: [\"wide/#\"]}\n"))
	env["GATEWAY_AUTH"], env["GATEWAY_TRUSTED_PROXIES"] = "header", "127.0.0.0/8"
	g := start(t, env)
	g.waitReady(http.StatusOK)
	get := func(path string, header map[string]string) answer {
		return g.do(request{method: "GET", path: path, header: header})
	}
	if got := get("/auth/whoami", map[string]string{"Remote-User": "pi-3"}); !strings.Contains(got.body, `"principal":"pi-3","via":"header"`) {
		t.Errorf("got %s, want pi-3 by header", got.body)
	}
	if got := get("/topics?filter=wide/%23", map[string]string{"Remote-User": "somebody", "Remote-Groups": "viewers, others"}); got.status != 200 {
		t.Errorf("by a role: got %d %s, want 200", got.status, got.body)
	}
	if got := get("/topics?filter=wide/%23", map[string]string{"Remote-User": "a b"}); got.status != 401 {
		t.Errorf("a name that is none: got %d, want 401", got.status)
	}
	env["GATEWAY_TRUSTED_PROXIES"] = "10.0.0.0/8"
	g = start(t, env)
	g.waitReady(http.StatusOK)
	for _, header := range []string{"Remote-User", "Remote-Groups"} {
		if got := g.do(request{method: "GET", path: "/topics", header: map[string]string{header: "pi-3", "X-Forwarded-For": "10.0.0.1"}}); got.problem.Code != wire.CodeUntrustedHeader {
			t.Errorf("%s from a stranger: got %d %s, want untrusted_header", header, got.status, got.body)
		}
	}
}
