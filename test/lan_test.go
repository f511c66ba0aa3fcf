package test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vulturepi/gateway/internal/lantest"
)

// The machine that runs the broker, and a device, on a network of their own.
const (
	machineNet, machineAddr = "192.168.77.1/24", "192.168.77.1"
	deviceNet               = "192.168.77.2/24"
	newNet, newAddr         = "192.168.77.9/24", "192.168.77.9"
)

// launchOn runs the gateway on a host.
func launchOn(t testing.TB, h *lantest.Host, env map[string]string, args ...string) *process {
	t.Helper()
	stdout, stderr := &output{}, &output{}
	p := launchCmd(t, env, stdout, stderr, h.Command(gatewayBinary(t), args...))
	p.stdout, p.stderr = stdout, stderr
	return p
}

// says waits until the process has written all the parts.
func (p *process) says(parts ...string) {
	p.t.Helper()
	for _, part := range parts {
		eventually(p.t, "the process says "+part, func() bool {
			return strings.Contains(p.stdout.String()+p.stderr.String(), part)
		})
	}
}

// ends waits for the end and checks exit status and words.
func (p *process) ends(status int, parts ...string) {
	p.t.Helper()
	if got := p.exit(); got != status {
		p.t.Errorf("%s: exit status: got %d, want %d", p.cmd, got, status)
	}
	for _, part := range parts {
		if got := p.stdout.String() + p.stderr.String(); !strings.Contains(got, part) {
			p.t.Errorf("%s: got %q, want %q in it", p.cmd, got, part)
		}
	}
}

// startBroker runs the broker for the LAN, and waits until it serves.
func startLANBroker(t testing.TB, h *lantest.Host, args ...string) *process {
	t.Helper()
	p := launchOn(t, h, nil, append([]string{"broker", "--lan", "--every", "20ms"}, args...)...)
	p.says("The broker listens on ")
	return p
}

// startGateway runs a gateway on a host, and waits until it is ready.
func startGateway(t testing.TB, h *lantest.Host, env map[string]string) *process {
	t.Helper()
	all := map[string]string{"GATEWAY_LOG_LEVEL": "debug"}
	for k, v := range env {
		all[k] = v
	}
	p := launchOn(t, h, all, "serve")
	eventually(t, "the gateway is ready", func() bool {
		return h.Command("curl", "-sf", "http://127.0.0.1:8081/readyz").Run() == nil
	})
	return p
}

// bothWays sends a value from the device to the gateway and one back, through
// the broker at addr.
func bothWays(t testing.TB, machine, device *lantest.Host, addr, value string) {
	t.Helper()
	eventually(t, value+" arrives at the gateway", func() bool {
		if device.Command("mosquitto_pub", "-h", addr, "-t", "pi/3/battery", "-m", value, "-q", "1").Run() != nil {
			return false // the broker is not there yet
		}
		got, err := machine.Command("curl", "-sf", "http://127.0.0.1:8080/topics/pi/3/battery").Output()
		return err == nil && string(got) == value
	})
	eventually(t, value+" arrives at the device", func() bool {
		// Retained, so that the device need not be there first.
		if machine.Command("curl", "-sf", "-X", "PUT", "--data", value, "http://127.0.0.1:8080/topics/pi/3/led").Run() != nil {
			return false
		}
		got, err := device.Command("mosquitto_sub", "-h", addr, "-t", "pi/3/led", "-C", "1", "-W", "10").Output()
		return err == nil && strings.TrimSpace(string(got)) == value
	})
}

func TestDeviceAndGatewayMeetOverTheLAN(t *testing.T) {
	machine, device := lantest.Two(t, machineNet, deviceNet)
	broker := startLANBroker(t, machine)
	broker.says("anyone on this network may read and publish", "ip_address = "+machineAddr+"\nmqtt_port = 1883\n", "mqtt://"+machineAddr+":1883")
	startGateway(t, machine, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1883"})
	bothWays(t, machine, device, machineAddr, "21.5")

	if err := broker.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	broker.exit()
	broker = startLANBroker(t, machine)
	bothWays(t, machine, device, machineAddr, "22.5")

	machine.Readdress(machineNet, newNet)
	broker.says("this machine's LAN address has changed from " + machineAddr + " to " + newAddr + " (eth0): the broker listens on " + newAddr + ":1883 now; devices find it after `gateway lan --write settings.ini`\n")
	bothWays(t, machine, device, newAddr, "23.5")

	machine.Run("ip", "addr", "del", newNet, "dev", lantest.Interface)
	broker.says(newAddr + " is not an address of this machine any more; connect it to a network")
	machine.Run("ip", "addr", "add", newNet, "dev", lantest.Interface)
	broker.says(newAddr + " (eth0) is back: the broker listens there again\n")
	bothWays(t, machine, device, newAddr, "24.5")
	if err := broker.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	broker.ends(0)
}

// What --lan does not serve: an interface that nobody has chosen.
func TestBrokerListensOnTheLANAddressAlone(t *testing.T) {
	machine, device := lantest.Two(t, machineNet, deviceNet)
	machine.Run("ip", "addr", "add", newNet, "dev", lantest.Interface)
	launchOn(t, machine, nil, "broker", "--lan").ends(2, "several addresses: "+machineAddr+" (eth0) and "+newAddr+" (eth0); choose one, for example with --addr "+machineAddr)
	launchOn(t, machine, nil, "lan").ends(2, "several addresses")
	startLANBroker(t, machine, "--addr", newAddr+":1884").says("listens on " + newAddr + ":1884 (eth0) and on 127.0.0.1:1884")
	if out, err := device.Command("mosquitto_pub", "-h", newAddr, "-p", "1884", "-t", "a", "-m", "1", "-q", "1").CombinedOutput(); err != nil {
		t.Errorf("at the chosen address: %v: %s", err, out)
	}
	if out, err := device.Command("mosquitto_pub", "-h", machineAddr, "-p", "1884", "-t", "a", "-m", "1", "-q", "1").CombinedOutput(); err == nil || !strings.Contains(string(out), "refused") {
		t.Errorf("at the other address: got %v, %q, want it refused", err, out)
	}
	launchOn(t, machine, nil, "broker", "--lan", "--addr", newAddr+":1884").ends(1, "the address "+newAddr+":1884 is taken by another program")
	for arg, want := range map[string]string{
		"192.168.77.3": "is not an address of this machine", "127.0.0.1": "is loopback", "nowhere": "no IP address", ":0": "devices must know the port", "1:2:3": "brackets",
	} {
		launchOn(t, machine, nil, "broker", "--lan", "--addr", arg).ends(2, want)
	}
}

func writeSettings(t testing.TB, address string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.ini")
	if err := os.WriteFile(path, []byte("; the robot's\r\n[system]\r\nip_address = "+address+" ; at home\r\nmqtt_port = 1883\r\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

// The machine has moved to another network, and the settings.ini has not: the
// old address is one of this network, which nobody has, or one of another.
func TestOldAddressIsNamedAndMended(t *testing.T) {
	for _, old := range []string{newAddr, "10.20.30.40"} {
		t.Run(old, func(t *testing.T) {
			t.Parallel() // check and serve take their time
			machine, _ := lantest.Two(t, machineNet, deviceNet)
			startLANBroker(t, machine)
			path := writeSettings(t, old)
			env := map[string]string{"GATEWAY_SETTINGS_FILE": path}
			named := old + " is not an address of this machine at present; its LAN address is " + machineAddr + "; if the broker runs here, "
			hint := named + "run `gateway lan --write " + path + "`"
			check := launchOn(t, machine, env, "check")
			checkURL := launchOn(t, machine, map[string]string{"GATEWAY_MQTT_URL": "mqtt://" + old + ":1884"}, "check")
			g := launchOn(t, machine, env, "serve")
			check.ends(1, "the broker cannot be used: ", hint)
			checkURL.ends(1, named+"set GATEWAY_MQTT_URL=mqtt://"+machineAddr+":1884")
			g.says("the broker's address may be an old one", hint)
			if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			g.ends(0)

			launchOn(t, machine, nil, "lan", "--write", path).ends(0, path+": line 3: "+old+" is "+machineAddr+" now\n")
			if got, err := os.ReadFile(path); err != nil || string(got) != "; the robot's\r\n[system]\r\nip_address = "+machineAddr+" ; at home\r\nmqtt_port = 1883\r\n" {
				t.Errorf("got %q, %v, want the address changed alone", got, err)
			}
			launchOn(t, machine, nil, "lan", "--write", path).ends(0, path+": nothing to change\n")
			launchOn(t, machine, env, "check").ends(0, "publishing and subscribing work")
		})
	}
}

// Where nobody listens at an address of this machine, or somebody does at
// another, the address is no old one.
func TestAddressThatIsRightIsNotBlamed(t *testing.T) {
	machine, device := lantest.Two(t, machineNet, deviceNet)
	startLANBroker(t, machine)
	own := launchOn(t, machine, map[string]string{"GATEWAY_MQTT_URL": "mqtt://" + machineAddr + ":1999"}, "check")
	tls := launchOn(t, device, map[string]string{"GATEWAY_MQTT_URL": "mqtts://" + machineAddr + ":1883"}, "check")
	for _, p := range []*process{own, tls} {
		p.ends(1, "the broker cannot be used: ")
		if got := p.stderr.String(); strings.Contains(got, "address of this machine") {
			t.Errorf("%s: got %q, want no hint", p.cmd, got)
		}
	}
}

func TestLANCommand(t *testing.T) {
	machine, _ := lantest.Two(t, machineNet, deviceNet)
	p := launchOn(t, machine, nil, "lan")
	p.ends(0, "[system]\nip_address = "+machineAddr+"\nmqtt_port = 1883\n", "listener 1883 "+machineAddr)
	if got, _, _ := strings.Cut(p.stdout.String(), "\n"); got != machineAddr {
		t.Errorf("the first line: got %q, want the address alone", got)
	}
	// A file that cannot be told apart, or has nothing to mend, is left alone.
	path := filepath.Join(t.TempDir(), "mosquitto.conf")
	for content, want := range map[string]string{
		"port 1883\n":               "neither a section [system] nor a line that begins with listener",
		"listener 1883 127.0.0.1\n": "no listener with a LAN address",
		"listener 1 10.0.0.3\nlistener 2 <your_address>\n": "line 1 (10.0.0.3) and line 2 (<your_address>)",
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		launchOn(t, machine, nil, "lan", "--write", path).ends(2, want)
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("got %q, %v, want %q", got, err, content)
		}
	}
	launchOn(t, machine, nil, "lan", "--write", path+".none").ends(1, "no such file")
	launchOn(t, machine, nil, "lan", "--addr", "192.168.77.3").ends(2, "is not an address of this machine")
	machine.Run("ip", "link", "set", lantest.Interface, "down")
	launchOn(t, machine, nil, "lan").ends(1, "no address on a local network")
}

// The conf that ships starts a mosquitto once its placeholder is mended.
func TestMendedConfigurationStartsMosquitto(t *testing.T) {
	machine, device := lantest.Two(t, machineNet, deviceNet)
	shipped, err := os.ReadFile("../mosquitto/server_settings.conf")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "server_settings.conf")
	conf := strings.Replace(string(shipped), "\nlistener 1883\n", "\nlistener 1883 <your_ip_address>\n", 1)
	if err := os.WriteFile(path, []byte(conf+"user root\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	launchOn(t, machine, nil, "lan", "--write", path).ends(0, "<your_ip_address> is "+machineAddr+" now")
	mosquitto := machine.Command("mosquitto", "-c", path)
	mosquitto.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin")
	if err := mosquitto.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = mosquitto.Process.Kill()
		_ = mosquitto.Wait()
	})
	eventually(t, "a device reaches mosquitto", func() bool {
		return device.Command("mosquitto_pub", "-h", machineAddr, "-t", "a", "-m", "1", "-q", "1").Run() == nil
	})
}

func TestGatewayFindsTheBroker(t *testing.T) {
	machine, device := lantest.Two(t, machineNet, deviceNet)
	env := map[string]string{"GATEWAY_SETTINGS_FILE": writeSettings(t, "auto")}
	// Nobody is there.
	check, serve := launchOn(t, device, env, "check"), launchOn(t, device, env, "serve")
	for _, p := range []*process{check, serve} {
		p.ends(1, "GATEWAY_SETTINGS_FILE: ", "ip_address = auto, mqtt_port = 1883: ", "nobody answers", "gateway broker --lan")
	}
	startLANBroker(t, machine).says("ip_address = auto finds it")
	launchOn(t, device, env, "check").ends(0, "broker: mqtt://"+machineAddr+":1883", "publishing and subscribing work")
	startGateway(t, device, env).says("broker=mqtt://" + machineAddr + ":1883")
	// On the machine itself, too.
	launchOn(t, machine, env, "check").ends(0, "broker: mqtt://"+machineAddr+":1883")
}

func TestGatewayAndItsBrokerAreAnnounced(t *testing.T) {
	machine, device := lantest.Two(t, machineNet, deviceNet)
	g := startGateway(t, machine, map[string]string{
		"GATEWAY_MDNS": "true", "GATEWAY_ALLOW_ANONYMOUS": "true", "GATEWAY_HTTP_ADDR": "0.0.0.0:8080", "GATEWAY_EMBEDDED_ADDR": "0.0.0.0:1883",
	})
	g.says("services are announced by mDNS", "services=2")
	settings := map[string]string{"GATEWAY_SETTINGS_FILE": writeSettings(t, "auto")}
	launchOn(t, device, settings, "check").ends(0, "broker: mqtt://"+machineAddr+":1883")
	// Browsers come with the announced name.
	_, name, _ := strings.Cut(g.stderr.String(), " name=")
	name, _, _ = strings.Cut(name, " ")
	for host, want := range map[string]string{name: "200", "other.local": "421"} {
		got := device.Run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: "+host+":8080", "http://"+machineAddr+":8080/topics?filter=x")
		if got != want {
			t.Errorf("Host %q: got %s, want %s", host, got, want)
		}
	}
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	g.ends(0)
}
