package devicecom

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/lantest"
	"github.com/vulturepi/gateway/internal/mdns"
)

// roleVariable makes the test binary one of the programs on the hosts of a test.
const roleVariable = "DEVICECOM_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "announce":
		announceRole(os.Args[1:])
	case "device":
		deviceRole(os.Args[1], os.Args[2])
	default:
		goleak.VerifyTestMain(m)
	}
}

// announceRole announces brokers at these ports until it is killed.
func announceRole(ports []string) {
	var services []mdns.Service
	for _, port := range ports {
		n, _ := strconv.Atoi(port)
		services = append(services, mdns.Service{Type: mdns.MQTT, Instance: mdns.Instance("Broker " + port), Port: n, Addr: netip.IPv4Unspecified()})
	}
	mdns.Announce(context.Background(), slog.New(slog.NewTextHandler(os.Stdout, nil)), time.Hour, services...)
}

// deviceRole connects, publishes, reads its own value back, and looks for what
// Close leaves behind.
func deviceRole(file, timeout string) {
	limit, _ := time.ParseDuration(timeout)
	vals, err := ConnectBrokerContext(context.Background(), Options{SettingsFile: file, Timeout: limit, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	if err := vals.Publish(context.Background(), "a", 21.5); err != nil {
		fmt.Println("error:", err)
	}
	v, err := vals.Next(context.Background())
	fmt.Println("value:", v, err)
	_ = vals.Close()
	if err := goleak.Find(); err != nil {
		fmt.Println("error:", err)
	}
}

// start runs a program on a host until the end of the test.
func start(t *testing.T, h *lantest.Host, role, name string, args ...string) *bufio.Scanner {
	t.Helper()
	cmd := h.Command(name, args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return bufio.NewScanner(stdout)
}

// device is what the device's program prints on the host.
func device(t *testing.T, h *lantest.Host, timeout time.Duration, lines ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := start(t, h, "device", exe, writeSettings(t, lines...), timeout.String())
	var all []string
	for out.Scan() {
		all = append(all, out.Text())
	}
	return strings.Join(all, "\n")
}

func announce(t *testing.T, h *lantest.Host, ports ...string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out := start(t, h, "announce", exe, ports...); !out.Scan() || !strings.Contains(out.Text(), "services are announced") {
		t.Fatalf("the announcer says %q", out.Text())
	}
}

func TestAutoFindsTheBrokerOfTheNetwork(t *testing.T) {
	here, there := lantest.Two(t, "192.168.78.1/24", "192.168.78.2/24")
	auto := []string{"[system]", "ip_address = auto"}
	want := `[system] ip_address = auto: no broker announces itself by mDNS on this network; write its IP address, or start one with gateway broker --lan (tried for 1s)`
	if got := device(t, there, time.Second, auto...); !strings.HasSuffix(got, want) {
		t.Errorf("alone: got %q, want %q", got, want)
	}
	announce(t, here, "1884")
	want = `[system] ip_address = auto, found at 192.168.78.1:1884: nothing listens there; is the broker running, and are these its address and port? (tried for 5s)`
	got := ""
	for deadline := time.Now().Add(patience); !strings.HasSuffix(got, want) && time.Now().Before(deadline); { // one answer may be lost
		got = device(t, there, 5*time.Second, auto...)
	}
	if !strings.HasSuffix(got, want) {
		t.Errorf("without a broker: got %q, want %q", got, want)
	}
	conf := t.TempDir() + "/mosquitto.conf"
	write(t, conf, "listener 1884 192.168.78.1\nallow_anonymous true\nuser root\nlog_dest none\n")
	start(t, here, "", brokertest.Mosquitto(t), "-c", conf)
	if got, want := device(t, there, patience, auto...), "value: 21.5 <nil>"; got != want {
		t.Errorf("with a broker: got %q, want %q", got, want)
	}
}

// Which of several is meant, only people know: they are told at once.
func TestAutoNamesSeveralBrokers(t *testing.T) {
	here, there := lantest.Two(t, "192.168.78.1/24", "192.168.78.2/24")
	announce(t, here, "1884", "1885")
	got := device(t, there, patience, "[system]", "ip_address = auto")
	for _, want := range []string{"ip_address = auto: several answer: ", "192.168.78.1:1884", "192.168.78.1:1885", "; write the IP address of the one that is meant"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	got = device(t, there, time.Second, "[system]", "ip_address = auto", "mqtt_port = 1886")
	if want := "ip_address = auto, mqtt_port = 1886: no broker announces itself"; !strings.Contains(got, want) {
		t.Errorf("a port that nobody has: got %q, want %q", got, want)
	}
	want := "ip_address = auto, found at 192.168.78.1:1885: nothing listens there"
	for deadline := time.Now().Add(patience); !strings.Contains(got, want) && time.Now().Before(deadline); { // one answer may be lost
		got = device(t, there, 5*time.Second, "[system]", "ip_address = auto", "mqtt_port = 1885")
	}
	if !strings.Contains(got, want) {
		t.Errorf("a port that one has: got %q, want %q", got, want)
	}
}
