package devicecom_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

const listen = `
from device_com import connect_broker

for v in connect_broker():
    print(v)
`

func TestBrokerMayStartLater(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	b.Stop()
	p := start(t, ini(b.Addr()), listen)
	p.complains("device_com: waiting for " + b.Addr() + ": nothing listens on that port; is the broker running?\n")
	b.StartAgain()
	waitSubscribed(t, b, 1)
	send(t, brokertest.Dial(t, b.URL()), "a", "1")
	p.prints("1\n")
}

func TestValuesGoOnAfterTheBrokerWasKilled(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	p := start(t, ini(b.Addr()), listen)
	for i := range 3 {
		waitSubscribed(t, b, i+1)
		c := brokertest.Dial(t, b.URL())
		send(t, c, "a", strings.Repeat("x", i+1))
		p.prints(strings.Repeat("x", i+1) + "\n")
		b.Kill()
		b.StartAgain()
	}
	waitSubscribed(t, b, 4)
	if got := strings.Count(p.err.String(), "trying again"); got < 3 {
		t.Errorf("got %d lines that it connects again, want 3; got\n%s", got, p)
	}
}

// A network that drops everything is noticed by the pings that stay unanswered.
func TestSilentConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	network := brokertest.StartProxy(t, b.URL())
	p := start(t, ini(network.Addr()), "import device_com\ndevice_com._KEEP_ALIVE = device_com._PATIENCE = 0.5\n"+listen)
	waitSubscribed(t, b, 1)
	network.Stall(true, true)
	p.complains("the broker has not answered for 0.5 seconds; trying again\n")
	network.Heal()
	waitSubscribed(t, b, 2)
	send(t, brokertest.Dial(t, b.URL()), "a", "1")
	p.prints("1\n")
}

// The broker closes connections that are silent for one and a half times what
// CONNECT says; pings prevent that, and so they do while messages come in.
func TestPingsKeepTheConnection(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := brokertest.Dial(t, b.URL())
	network := brokertest.StartProxy(t, b.URL())
	var pings atomic.Int64
	network.Hook(func(_ brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		if brokertest.PacketType(packet) == brokertest.PINGREQ {
			pings.Add(1)
		}
		return nil, brokertest.Pass
	})
	p := start(t, ini(network.Addr()), "import device_com\ndevice_com._KEEP_ALIVE = 0.5\n"+listen)
	waitSubscribed(t, b, 1)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for pings.Load() < 5 { // the fifth comes after more than the broker's 1.5 seconds
		send(t, c, "a", "1")
		<-ticker.C
	}
	send(t, c, "a", "end")
	p.prints("end\n")
	if log := b.Log(); strings.Contains(log, "exceeded timeout") || p.err.String() != "" {
		t.Errorf("the connection was lost: %s\n%s", log, p)
	}
}

func TestTimeoutEndsTheWaiting(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	source := `
import device_com

device_com.connect_broker.timeout = 0.5
try:
    device_com.connect_broker()
except device_com.DeviceError as e:
    print(type(e).__name__, e)
`
	start(t, ini(b.Addr()), source).ends(0, "NoMessage waited in vain for the first message from "+b.Addr()+"\n")
	b.Stop()
	p := start(t, ini(b.Addr()), source)
	p.ends(0, "NotConnected waited in vain for "+b.Addr()+": nothing listens on that port; is the broker running?\n")
}

// While on_message is set, what counts is to be connected: there may be no
// message for a long time, and the program has other things to do.
func TestWithOnMessageTheFirstMessageIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	p := start(t, ini(b.Addr()), `
import device_com

device_com.on_message = print
vals = device_com.connect_broker()
device_com.on_message = None
device_com.connect_broker.timeout = 0.5
try:
    print(vals == 0)
except device_com.NoMessage as e:
    print("no value yet")
`)
	p.ends(0, "no value yet\n")
}

func TestUserAndPassword(t *testing.T) {
	t.Parallel()
	passwords := filepath.Join(t.TempDir(), "passwords")
	if out, err := exec.CommandContext(t.Context(), "mosquitto_passwd", "-c", "-b", passwords, "lamp", "se cret#1").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	b := startBroker(t, brokertest.Set("allow_anonymous", "false"), brokertest.Set("password_file", passwords))
	source := "from device_com import publish\npublish('a', 1)\n"
	start(t, ini(b.Addr(), "username = lamp", "password = se cret#1"), source).ends(0, "")
	start(t, ini(b.Addr()), source).
		fails(b.Addr(), "the broker wants a user; add username and password to section [system] of settings.ini")
	wrong := start(t, ini(b.Addr(), "username = lamp", "password = hunter2"), source)
	wrong.fails("the broker refuses this user; check username and password in section [system] of settings.ini")
	if strings.Contains(wrong.err.String(), "hunter2") {
		t.Errorf("stderr shows the password: %s", wrong.err.String())
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca, cert, key := certificates(t, "127.0.0.1")
	b := startBroker(t, brokertest.Conf("cafile "+ca, "certfile "+cert, "keyfile "+key))
	plain := startBroker(t)
	other, _, _ := certificates(t, "127.0.0.1")
	source := "from device_com import publish\nfor i in range(20): publish('a', 'x' * 30000 * i, qos=i % 3)\n"
	start(t, ini(b.Addr(), "mqtt_tls = true", "mqtt_ca_file = "+ca), source).ends(0, "")
	start(t, ini(b.Addr(), "mqtt_tls = true", "mqtt_ca_file = "+other), source).
		fails("its certificate is not trusted", "mqtt_ca_file names the CA that signed it")
	start(t, ini(b.Addr(), "mqtt_tls = true"), source).fails("its certificate is not trusted")
	start(t, ini(strings.Replace(b.Addr(), "127.0.0.1", "localhost", 1), "mqtt_tls = true", "mqtt_ca_file = "+ca), source).
		fails("its certificate is not trusted", "localhost") // it is not for this name
	start(t, ini(plain.Addr(), "mqtt_tls = true", "mqtt_ca_file = "+ca), source).fails("it does not speak TLS on port")
	p := start(t, ini(b.Addr()), "import device_com\ndevice_com.connect_broker.timeout = 1\ndevice_com.publish('a', 1)")
	if p.status() != 2 || !strings.Contains(p.err.String(), "is it one without TLS?") && !strings.Contains(p.err.String(), "it answers with TLS; add mqtt_tls = true") {
		t.Errorf("want a word about TLS; got\n%s", p)
	}

	reader := start(t, ini(b.Addr(), "mqtt_tls = true", "mqtt_ca_file = "+ca), listen+"    if v == 'end': break\n")
	waitSubscribed(t, b, 1)
	start(t, ini(b.Addr(), "mqtt_tls = true", "mqtt_ca_file = "+ca), source+"publish('a', 'end')\n").ends(0, "")
	if got := reader.status(); got != 0 || strings.Count(reader.out.String(), "\n") != 21 {
		t.Errorf("got status %d and %d lines, want 0 and 21", got, strings.Count(reader.out.String(), "\n"))
	}
}

// certificates makes a CA, and a certificate of it for an IP address.
func certificates(t *testing.T, ip string) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	if authority, err = x509.ParseCertificate(caDER); err != nil { // with its key id, which strict clients want to see named
		t.Fatal(err)
	}
	ownKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "broker"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		IPAddresses: []net.IP{net.ParseIP(ip)}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	ownDER, err := x509.CreateCertificate(rand.Reader, own, authority, &ownKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(ownKey)
	if err != nil {
		t.Fatal(err)
	}
	return write("ca.pem", "CERTIFICATE", caDER), write("cert.pem", "CERTIFICATE", ownDER), write("key.pem", "EC PRIVATE KEY", keyDER)
}
