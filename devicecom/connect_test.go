package devicecom

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// attempt connects with a settings file and wants an error that says all of want
// in one line, and not secret.
func attempt(t *testing.T, name, path string, o Options, want ...string) {
	t.Helper()
	o.SettingsFile = path
	o.Timeout = orElse(o.Timeout, -1)
	vals, err := ConnectBrokerContext(t.Context(), quick(t, o))
	if err == nil {
		_ = vals.Close()
		t.Errorf("%s: got a connection, want %q", name, want)
		return
	}
	for _, part := range append(want, "devicecom: ") {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: got %v, want %q", name, err, part)
		}
	}
	if o.Timeout == patience && strings.Contains(err.Error(), "tried for") {
		t.Errorf("%s: got %v, want it at once", name, err)
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%s: got %q, want one line without the password", name, err)
	}
}

func TestBadSettingsAreNamedAtOnce(t *testing.T) {
	file := `settings.ini": `
	for _, tc := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"no section", []string{"ip_address = 10.0.0.1"}, []string{file, "has no section [system]", "ip_address", "mqtt_port"}},
		{"other case", []string{"[System]", "ip_address = 10.0.0.1"}, []string{file, "[System]", "[system]"}},
		{"no address", []string{"[system]", "mqtt_port = 1883"}, []string{file, "section [system] has no ip_address"}},
		{"misspelt port", []string{"[system]", "ip_address = 10.0.0.1", "mqtt_prot = 1884"}, []string{file, `"mqtt_prot"`, "mqtt_port"}},
		{"port in words", []string{"[system]", "ip_address = 10.0.0.1", "mqtt_port = mqtt"}, []string{file, `mqtt_port = "mqtt"`, "1 to 65535"}},
		{"template", []string{"[system]", "ip_address = <your_ip_address>"}, []string{file, `ip_address = "<your_ip_address>"`}},
		{"TLS in other words", []string{"[system]", "ip_address = 10.0.0.1", "mqtt_tls = perhaps"}, []string{file, `mqtt_tls = "perhaps"`}},
		{"secret line", []string{"[system]", "hunter2"}, []string{file, "line 2"}},
		{"auto and a password", []string{"[system]", "ip_address = auto", "username = pi", "password = hunter2"}, []string{file, "takes whoever answers", "mqtt_ca_file"}},
		{"auto, TLS and a password", []string{"[system]", "ip_address = auto", "mqtt_tls = true", "username = pi", "password = hunter2"}, []string{file, "takes whoever answers"}},
		{"no such CA file", []string{"[system]", "ip_address = 10.0.0.1", "mqtt_tls = true", "mqtt_ca_file = /nowhere/ca.pem"}, []string{file, "mqtt_ca_file cannot be read"}},
		{"no certificate", []string{"[system]", "ip_address = 10.0.0.1", "mqtt_tls = true", "mqtt_ca_file = connect_test.go"}, []string{file, "mqtt_ca_file holds no certificate"}},
	} {
		attempt(t, tc.name, writeSettings(t, tc.lines...), Options{Timeout: patience}, tc.want...)
	}
}

func TestMissingSettingsFileIsNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := ConnectBroker()
	want := `devicecom: cannot read "settings.ini": no such file or directory; create it, with the section [system] and the keys ip_address and mqtt_port`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	attempt(t, "a directory", t.TempDir(), Options{}, "is a directory")
}

func TestBadOptionsAreNamedAtOnce(t *testing.T) {
	path := writeSettings(t, "[system]", "ip_address = 127.0.0.1")
	for want, o := range map[string]Options{
		"Options.KeepAlive = 1ms":                    {KeepAlive: time.Millisecond},
		"Options.MaxPacketBytes = 10":                {MaxPacketBytes: 10},
		"Options.MaxPacketBytes = -1":                {MaxPacketBytes: -1},
		"Options.QueueMessages = -1":                 {QueueMessages: -1},
		`Options.Filters: "a/#/b": The filter has #`: {Filters: []string{"a/#/b"}},
		`Options.Filters: "a" appears twice`:         {Filters: []string{"a", "b", "a"}},
		"Options.Will: The topic has the wildcard":   {Will: &Will{Topic: "a/+"}},
		"Options.ClientID: use":                      {ClientID: "a\xff"},
		"Options.ClientID":                           {ClientID: "a\x00b"},
		"Options.Will: the payload has 70000 bytes":  {Will: &Will{Topic: "a", Value: strings.Repeat("x", 70_000)}},
		"Options.Will: QoS 3":                        {Will: &Will{Topic: "a", QoS: 3}},
		"Options.Birth: QoS 3":                       {Birth: &Will{Topic: "a", QoS: 3}},
		"Options.Will: the value, a func(), cannot":  {Will: &Will{Topic: "a", Value: func() {}}},
	} {
		attempt(t, want, path, o, want)
	}
}

// closedPort is one on which nothing listens, and that nobody else gets.
func closedPort(t *testing.T) string {
	b := brokertest.Start(t)
	b.Stop()
	return b.Addr()
}

func TestAbsentBrokerIsNamed(t *testing.T) {
	addr := closedPort(t)
	host, port, _ := strings.Cut(addr, ":")
	attempt(t, "refused", settingsFor(t, addr), Options{}, "[system] ip_address = "+host+", mqtt_port = "+port+": nothing listens there")
	// 192.0.2.0/24 is nobody's (RFC 5737). Some networks say so.
	short := usual
	short.connect = 50 * time.Millisecond
	attempt(t, "nobody's", writeSettings(t, "[system]", "ip_address = 192.0.2.1"), Options{timing: short}, "ip_address = 192.0.2.1", "?")
	for _, err := range []error{syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ETIMEDOUT, os.ErrDeadlineExceeded, context.DeadlineExceeded} {
		err = &net.OpError{Op: "dial", Net: "tcp", Err: err}
		if got := networkWords(err); !strings.Contains(got, "nobody answers") {
			t.Errorf("%v: got %q, want that nobody answers", err, got)
		}
	}
	if got := networkWords(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}); !strings.Contains(got, "nobody has this name") {
		t.Errorf("no such host: got %q, want that nobody has this name", got)
	}
}

func TestFirstConnectWaitsForTheBroker(t *testing.T) {
	b := startBroker(t)
	b.Stop()
	book := newLogbook(t)
	path := settingsFor(t, b.Addr())
	type result struct {
		vals *Values
		err  error
	}
	done := make(chan result)
	go func() {
		vals, err := ConnectBrokerContext(t.Context(), quick(t, Options{SettingsFile: path, Logger: slog.New(book)}))
		done <- result{vals, err}
	}()
	book.wait(t, "no connection to the broker yet", 1)
	b.StartAgain()
	r := await(t, done)
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.vals.Close()
	if err := r.vals.Publish(within(t), "a", 1); err != nil {
		t.Error(err)
	}
	if lines, _ := book.look(); len(lines) != 1 {
		t.Errorf("log: got %q, want one line", lines)
	}
}

func TestFirstConnectGivesUpAfterItsTimeout(t *testing.T) {
	addr := closedPort(t)
	attempt(t, "timeout", settingsFor(t, addr), Options{Timeout: 2 * time.Second}, "nothing listens there", "(tried for 2s)")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := ConnectBrokerContext(ctx, quick(t, Options{SettingsFile: settingsFor(t, addr)})); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's deadline", err)
	}
}

// A refusal is told at once, in words: the timeout is long.
func TestRefusalsAreToldInWords(t *testing.T) {
	for code, want := range map[byte]string{
		1:   "does not speak MQTT 3.1.1",
		2:   "Options.ClientID",
		4:   "does not accept the login; check username and password",
		5:   "lets nobody in without a login; add username and password",
		6:   "with code 6",
		134: "with code 134", // the library takes it for success
	} {
		fake := brokertest.StartFake(t, func(c *brokertest.FakeConn) { _ = c.AcceptConnect(code) })
		attempt(t, want, settingsFor(t, fake.Addr()), Options{Timeout: patience}, want, "[system] ip_address = 127.0.0.1")
		if code == 5 {
			attempt(t, "with a user", settingsFor(t, fake.Addr(), "username = pi", "password = hunter2"), Options{Timeout: patience}, `does not let the user "pi" in; check username and password`)
		}
	}
}

// Code 3 passes by itself.
func TestUnavailableBrokerIsTriedAgain(t *testing.T) {
	fake := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.Number < 3 {
			_ = c.AcceptConnect(3)
			return
		}
		_ = c.AcceptConnect(0)
		_ = c.Serve(nil)
	})
	vals := connect(t, fake.Addr(), Options{})
	if err := vals.Publish(within(t), "a", 1); err != nil {
		t.Error(err)
	}
}

func TestRefusedSubscriptionIsNoConnection(t *testing.T) {
	fake := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		_ = c.AcceptConnect(0)
		_ = c.Serve(func(kind, _ byte, body []byte) bool {
			if kind == brokertest.SUBSCRIBE {
				_ = c.Suback(uint16(body[0])<<8|uint16(body[1]), 0x80)
			}
			return kind == brokertest.SUBSCRIBE
		})
	})
	attempt(t, "SUBACK 0x80", settingsFor(t, fake.Addr()), Options{Timeout: patience}, `subscribe to "#"`, "Options.Filters")
}

// passwords is a password_file with the user pi and the password "s#cret ;x".
func passwords(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "passwords")
	if out, err := exec.CommandContext(t.Context(), "mosquitto_passwd", "-b", "-c", path, "pi", "s#cret ;x").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	return path
}

func TestLoginComesFromTheSettings(t *testing.T) {
	b := startBroker(t, brokertest.Set("allow_anonymous", "false"), brokertest.Conf("password_file "+passwords(t)))
	attempt(t, "without", settingsFor(t, b.Addr()), Options{Timeout: patience}, "add username and password")
	attempt(t, "wrong", settingsFor(t, b.Addr(), "username = pi", "password = hunter2"), Options{Timeout: patience}, `the user "pi"`, "check username and password")
	vals := connect(t, b.Addr(), Options{ClientID: "lamp-7"}, "username = pi", "password = s#cret ;x")
	if err := vals.Publish(within(t), "a", 1); err != nil {
		t.Error(err)
	}
	b.WaitLog("as lamp-7 (p2, c1, k15") // MQTT 3.1.1, a clean session, 15 s
}

// secure is a mosquitto behind TLS, and the authority of its certificate, which
// is for 127.0.0.1.
func secure(t *testing.T) (*brokertest.Broker, *x509.CertPool) {
	server := httptest.NewTLSServer(nil)
	server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return startBroker(t, brokertest.Conf("certfile "+certFile, "keyfile "+keyFile)), roots
}

func TestTLSCarriesEverything(t *testing.T) {
	b, roots := secure(t)
	vals := connect(t, b.Addr(), Options{TLS: &tls.Config{RootCAs: roots}}, "mqtt_tls = true")
	large := strings.Repeat("x", 200<<10)
	for qos := range byte(3) {
		if err := vals.Publish(within(t), "a", large, QoS(qos)); err != nil {
			t.Fatal(err)
		}
		if got, err := vals.Next(within(t)); err != nil || got != large {
			t.Errorf("QoS %d: got %.20v, %v", qos, got, err)
		}
	}
	b.Restart()
	until(t, "connected again", func() bool { return vals.Publish(t.Context(), "a", 1) == nil })
}

func TestCAFileIsTrusted(t *testing.T) {
	b, _ := secure(t)
	certFile := filepath.Join(t.TempDir(), "ca.pem")
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: httptestCertificate()})))
	vals := connect(t, b.Addr(), Options{}, "mqtt_tls = true", "mqtt_ca_file = "+certFile)
	if err := vals.Publish(within(t), "a", 1); err != nil {
		t.Error(err)
	}
}

// httptestCertificate is that of all test servers of net/http/httptest.
func httptestCertificate() []byte {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return server.Certificate().Raw
}

func TestWrongTLSIsNamed(t *testing.T) {
	b, roots := secure(t)
	attempt(t, "unknown authority", settingsFor(t, b.Addr(), "mqtt_tls = true"), Options{Timeout: patience}, "certificate is not accepted", "Options.TLS")
	attempt(t, "plain to TLS", settingsFor(t, b.Addr()), Options{}, "mqtt_tls = true")
	attempt(t, "other name", settingsFor(t, b.Addr()), Options{TLS: &tls.Config{RootCAs: roots, ServerName: "other.lan"}, Timeout: patience}, "certificate is not accepted", "other.lan")
	plain := startBroker(t)
	attempt(t, "TLS to plain", settingsFor(t, plain.Addr(), "mqtt_tls = true"), Options{}, "does not speak TLS on this port", "remove mqtt_tls")
}

func TestWhatIsNoBrokerIsNamed(t *testing.T) {
	const notFound = "HTTP/1.1 400 Bad Request\r\n\r\n"
	attempt(t, "HTTP", settingsFor(t, greeter(t, notFound)), Options{Timeout: patience}, "HTTP", "mqtt_port")
	attempt(t, "HTTP for TLS", settingsFor(t, greeter(t, notFound), "mqtt_tls = true"), Options{Timeout: patience}, "does not speak TLS")
	attempt(t, "SSH", settingsFor(t, greeter(t, "SSH-2.0-x\r\n")), Options{Timeout: patience}, "no MQTT broker", "mqtt_port")
	attempt(t, "closes", settingsFor(t, greeter(t, "")), Options{}, "closed the connection without an answer")
	short := usual
	short.connect, short.answer = 2*time.Second, 50*time.Millisecond
	mute := brokertest.StartFake(t, func(c *brokertest.FakeConn) { _ = c.Serve(func(byte, byte, []byte) bool { return true }) })
	attempt(t, "says nothing", settingsFor(t, mute.Addr()), Options{timing: short}, "does not answer as an MQTT broker", "mqtt_port")
	attempt(t, "says nothing to TLS", settingsFor(t, mute.Addr(), "mqtt_tls = true"), Options{timing: short}, "does not speak TLS")
	polite := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		_ = c.AcceptConnect(0)
		_ = c.Serve(func(byte, byte, []byte) bool { return true })
	})
	attempt(t, "no SUBACK", settingsFor(t, polite.Addr()), Options{timing: short}, "does not answer as an MQTT broker")
}

// greeter says a few bytes to everybody and closes.
func greeter(t *testing.T, greeting string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(greeting))
			buf := make([]byte, 1000)
			_, _ = c.Read(buf)
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}
