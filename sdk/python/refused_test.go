package devicecom_test

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

const connect = "from device_com import connect_broker\n\nconnect_broker()\n"

// Uncaught, every mistake is one line on stderr and exit status 2. The rules
// for settings.ini have their cases in test_device_com.py.
func TestMistakesEndTheProgramInOneLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		settings, source string
		words            []string
	}{
		"no settings.ini":      {"", connect, []string{"settings.ini is not in ", "create it there"}},
		"no section":           {"ip_address = 127.0.0.1\n", connect, []string{"settings.ini: has no section [system]"}},
		"section in capitals":  {"[System]\nip_address = 127.0.0.1\n", connect, []string{"settings.ini: line 1: section [System] is not read; write [system]"}},
		"no address":           {"[system]\nmqtt_port = 1883\n", connect, []string{"settings.ini: section [system] has no ip_address"}},
		"misspelt key":         {"[system]\nip_address = 127.0.0.1\nmqtt_prot = 1883\n", connect, []string{"settings.ini: line 3", `"mqtt_prot"; did you mean mqtt_port?`}},
		"port that is none":    {"[system]\nip_address = 127.0.0.1\nmqtt_port = mqtt\n", connect, []string{`settings.ini: section [system]: mqtt_port = "mqtt": write a port`}},
		"topic with wildcards": {ini("127.0.0.1:1"), "import device_com\n\ndevice_com.publish('pi/+/led', 1)\n", []string{"the topic 'pi/+/led' has the wildcard +"}},
		"name without address": {ini("no-such-name.invalid:1883"),
			"import socket\nimport device_com\ndef fail(*_, **__): raise socket.gaierror(socket.EAI_NONAME, 'unknown')\nsocket.getaddrinfo = fail\ndevice_com.connect_broker()\n",
			[]string{"no-such-name.invalid:1883: there is no such name; check ip_address in section [system] of settings.ini"}},
	} {
		t.Run(name, func(t *testing.T) { start(t, tc.settings, tc.source).fails(tc.words...) })
	}
}

func TestErrorsCanBeCaught(t *testing.T) {
	t.Parallel()
	start(t, "", `
import device_com

for kind in (device_com.DeviceError, Exception):
    try:
        device_com.connect_broker()
    except kind as e:
        print(type(e).__name__, str(e).split(" in ")[0])
`).ends(0, "DeviceError settings.ini is not\nDeviceError settings.ini is not\n")
}

// Other exceptions are printed as ever, and a hook that was there before is still called.
func TestOtherExceptionsAreLeftAlone(t *testing.T) {
	t.Parallel()
	p := start(t, "", "import sys\nsys.excepthook = lambda *e: print('hook', e[0].__name__)\nimport device_com\n1 / 0\n")
	p.ends(1, "hook ZeroDivisionError\n")
}

// An address where nobody answers is tried until connect_broker.timeout, and
// what is in the way is said.
func TestUnreachableAddressIsSaid(t *testing.T) {
	t.Parallel()
	p := start(t, ini("192.0.2.77:1883"), "import device_com\ndevice_com._PATIENCE = 0.3\ndevice_com._EVERY = 0.5\n"+
		"device_com.connect_broker.timeout = 2\ndevice_com.connect_broker()\n")
	p.complains("device_com: waiting for 192.0.2.77:1883: ")
	p.fails("waited in vain for 192.0.2.77:1883: ")
}

// What is no MQTT broker is said in words.
func TestStrangersAreNamed(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(web.Close)
	for name, tc := range map[string]struct {
		greeting string // what it says when it has read something; none: the connection is closed
		first    bool   // whether it speaks first
		words    string
	}{
		"HTTP":              {"HTTP/1.1 400 Bad Request\r\n\r\n", false, "it answers HTTP, so it is a web server and no MQTT broker"},
		"TLS":               {"\x15\x03\x01\x00\x02\x02\x46", false, "it answers with TLS; add mqtt_tls = true"},
		"SSH":               {"SSH-2.0-OpenSSH_9.2\r\n", true, "it answers b'SSH-', which is not MQTT"},
		"another packet":    {"\xd0\x00\x00\x00", false, "which is not MQTT"},
		"CONNACK too long":  {"\x20\x03\x00\x00\x00", false, "which is not MQTT"},
		"level refused":     {"\x20\x02\x00\x01", false, "the broker does not speak MQTT 3.1.1"},
		"client id refused": {"\x20\x02\x00\x02", false, "the broker refuses the client id; set another connect_broker.client_id"},
		"password refused":  {"\x20\x02\x00\x04", false, "the broker refuses the user name or the password"},
		"unknown code":      {"\x20\x02\x00\x63", false, "the broker refuses the connection with code 99"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := stranger(t, func(c net.Conn) {
				if !tc.first {
					_, _ = c.Read(make([]byte, 100))
				}
				_, _ = c.Write([]byte(tc.greeting))
				_, _ = bufio.NewReader(c).ReadString(0) // until the other side goes
			})
			start(t, ini(addr), connect).fails(addr+": ", tc.words)
		})
	}
	for name, tc := range map[string]struct{ addr, words string }{
		"web server that waits for a line": {strings.TrimPrefix(web.URL, "http://"), "does not answer like an MQTT broker in 0.3 seconds; is mqtt_port right?"},
		"closes":                           {stranger(t, func(net.Conn) {}), "it closes the connection without an answer; is mqtt_port right, and is it one without TLS?"},
		"busy broker":                      {stranger(t, func(c net.Conn) { _, _ = c.Write([]byte("\x20\x02\x00\x03")) }), "the broker says that it is not available at the moment"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, ini(tc.addr), "import device_com\ndevice_com._PATIENCE = 0.3\ndevice_com.connect_broker.timeout = 1.5\ndevice_com.connect_broker()\n")
			p.fails(tc.addr+": ", tc.words)
		})
	}
}

// stranger is a server that is no broker.
func stranger(t *testing.T, talk func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			talk(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// A broker that does not let the user read says so in its SUBACK.
func TestRefusedSubscriptionIsSaid(t *testing.T) {
	t.Parallel()
	for _, code := range []byte{0x80, 0x87} { // that of MQTT 5 is no yes either
		f := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
			if c.AcceptConnect(0) != nil {
				return
			}
			_ = c.Serve(func(kind, _ byte, body []byte) bool {
				return kind == brokertest.SUBSCRIBE && c.Suback(uint16(body[0])<<8|uint16(body[1]), code) == nil
			})
		})
		start(t, ini(f.Addr()), "import device_com\ndevice_com.connect_broker.timeout = 60\ndevice_com.connect_broker()\n").
			fails(f.Addr() + ": the broker does not let this user subscribe to #")
	}
}
