package mdns

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"

	"github.com/vulturepi/gateway/internal/lantest"
)

const patience = 2 * time.Minute

// The test binary is also the programs that run on the hosts of a test.
func TestMain(m *testing.M) {
	switch os.Getenv("MDNS_TEST_ROLE") {
	case "announce":
		announceRole(os.Args[1:])
	case "find":
		findRole(os.Args[1], os.Args[2])
	case "ask":
		askRole(os.Args[1], os.Args[2] == "unicast", os.Args[3])
	case "flood":
		floodRole(os.Args[1])
	case "listen":
		listenRole()
	default:
		os.Exit(m.Run())
	}
}

// announceRole announces type=port, or type=port@address, until it is told to
// stop.
func announceRole(args []string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var services []Service
	for _, arg := range args {
		kind, where, _ := strings.Cut(arg, "=")
		port, addr, _ := strings.Cut(where, "@")
		s := Service{Type: kind, Instance: Instance("Test " + port)}
		s.Port, _ = strconv.Atoi(port)
		s.Addr, _ = netip.ParseAddr(addr)
		if kind == HTTP {
			s.Path = "/"
		}
		services = append(services, s)
	}
	Announce(ctx, slog.New(slog.NewTextHandler(os.Stdout, nil)), 20*time.Millisecond, services...)
	fmt.Println("stopped")
}

func findRole(service, limit string) {
	d, _ := time.ParseDuration(limit)
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	got, err := Find(ctx, service, 0)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println(got)
}

// askRole is a one-shot querier (RFC 6762, 5.1): it sends one question from a
// port of its own and prints the first answer.
func askRole(service string, unicast bool, limit string) {
	class := dnsmessage.ClassINET
	if unicast {
		class |= 1 << 15
	}
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(service + ".local."), Type: dnsmessage.TypePTR, Class: class}},
	}
	packet, err := query.Pack()
	exitOn(err)
	iface, err := net.InterfaceByName(lantest.Interface)
	exitOn(err)
	socket, err := net.ListenUDP("udp4", nil)
	exitOn(err)
	exitOn(ipv4.NewPacketConn(socket).SetMulticastInterface(iface)) // there is no default route
	d, _ := time.ParseDuration(limit)
	exitOn(socket.SetDeadline(time.Now().Add(d)))
	_, err = socket.WriteTo(packet, group)
	exitOn(err)
	printAnswer(socket)
}

// floodRole sends packets that are almost queries and answers, to the group and
// to one host.
func floodRole(host string) {
	var models [][]byte
	for _, kind := range []dnsmessage.Type{dnsmessage.TypePTR, dnsmessage.TypeSRV, dnsmessage.TypeTXT, dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeALL} {
		for _, name := range []string{"_mqtt._tcp.local.", "_services._dns-sd._udp.local.", Instance("Test 1884") + "._mqtt._tcp.local.", HostName() + "."} {
			m := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
			packet, err := m.Pack()
			exitOn(err)
			models = append(models, packet)
		}
	}
	for _, ttl := range []uint32{ttl, goodbye, 1 << 31} {
		packet, err := announcement([]Service{{Type: MQTT, Instance: "Flood", Port: 1}, {Type: HTTP, Instance: "Flood", Port: 2, Path: "/"}}, netip.MustParseAddr("10.0.0.1"), ttl)
		exitOn(err)
		models = append(models, packet)
	}
	iface, err := net.InterfaceByName(lantest.Interface)
	exitOn(err)
	socket, err := net.ListenMulticastUDP("udp4", iface, group)
	exitOn(err)
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		packet := slices.Clone(models[random.IntN(len(models))])
		for range random.IntN(4) {
			packet[random.IntN(len(packet))] = byte(random.Uint32())
		}
		packet = packet[:len(packet)-random.IntN(2)*random.IntN(len(packet))]
		for _, to := range []*net.UDPAddr{group, {IP: net.ParseIP(host), Port: group.Port}} {
			_, _ = socket.WriteTo(packet, to)
		}
	}
	fmt.Println("flooded")
}

// listenRole prints what is said to the group, packet by packet.
func listenRole() {
	iface, err := net.InterfaceByName(lantest.Interface)
	exitOn(err)
	socket, err := net.ListenMulticastUDP("udp4", iface, group)
	exitOn(err)
	fmt.Println("listening")
	for {
		printAnswer(socket)
	}
}

func printAnswer(socket *net.UDPConn) {
	b := make([]byte, 9000)
	n, from, err := socket.ReadFromUDP(b)
	exitOn(err)
	var m dnsmessage.Message
	exitOn(m.Unpack(b[:n]))
	var line strings.Builder
	fmt.Fprintf(&line, "from=%s id=%d response=%t authoritative=%t questions=%d", from, m.ID, m.Response, m.Authoritative, len(m.Questions))
	for _, r := range append(m.Answers, m.Additionals...) {
		fmt.Fprintf(&line, " | %s ttl=%d", r.Header.Name, r.Header.TTL)
		switch body := r.Body.(type) {
		case *dnsmessage.PTRResource:
			fmt.Fprintf(&line, " PTR %s", body.PTR)
		case *dnsmessage.SRVResource:
			fmt.Fprintf(&line, " SRV %s %d", body.Target, body.Port)
		case *dnsmessage.TXTResource:
			fmt.Fprintf(&line, " TXT %q", body.TXT)
		case *dnsmessage.AResource:
			fmt.Fprintf(&line, " A %s", netip.AddrFrom4(body.A))
		}
	}
	fmt.Println(line.String())
}

func exitOn(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// program is a role on a host.
type program struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string
}

func start(t testing.TB, h *lantest.Host, role string, args ...string) *program {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: h.Command(exe, args...), lines: make(chan string, 1000)}
	p.cmd.Env = append(os.Environ(), "MDNS_TEST_ROLE="+role, "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = os.Stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	return p
}

// wait returns the next line that holds all the parts.
func (p *program) wait(parts ...string) string {
	p.t.Helper()
	var last string
	for timeout := time.After(patience); ; {
		select {
		case line, open := <-p.lines:
			if !open {
				p.t.Fatalf("it ended; the last line was %q, want one with %q", last, parts)
			}
			if holdsAll(line, parts) {
				return line
			}
			last = line
		case <-timeout:
			p.t.Fatalf("the last line is %q, want one with %q", last, parts)
		}
	}
}

func holdsAll(line string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(line, part) {
			return false
		}
	}
	return true
}

// output is what a role prints that ends by itself.
func output(t testing.TB, h *lantest.Host, role string, args ...string) string {
	t.Helper()
	p := start(t, h, role, args...)
	var all []string
	for line := range p.lines {
		all = append(all, line)
	}
	return strings.Join(all, "\n")
}

func TestFoundFromAnotherMachine(t *testing.T) {
	here, there := lantest.Two(t, "192.168.77.1/24", "192.168.77.2/24")
	announcer := start(t, here, "announce", MQTT+"=1884", HTTP+"=8080")
	announcer.wait("services are announced", "192.168.77.1")
	for service, want := range map[string]string{MQTT: "192.168.77.1:1884", HTTP: "192.168.77.1:8080"} {
		for _, h := range []*lantest.Host{there, here} {
			if got := output(t, h, "find", service, patience.String()); got != want {
				t.Errorf("%s: got %q, want %q", service, got, want)
			}
		}
	}
	if got := output(t, there, "find", "_ipp._tcp", "2s"); got != "error: nobody answers" {
		t.Errorf("a service that nobody has: got %q, want an error", got)
	}
}

// Whoever asks from a port of its own gets the answer there, in one packet that
// needs no second question (RFC 6762, 6.7; RFC 6763, 12.1).
func TestOneShotQueryIsAnsweredToItsSender(t *testing.T) {
	here, there := lantest.Two(t, "192.168.77.1/24", "192.168.77.2/24")
	announcer := start(t, here, "announce", MQTT+"=1884")
	announcer.wait("services are announced")
	for _, form := range []string{"multicast", "unicast"} { // the answer that the question asks for
		// One question may be lost on the way, as with any UDP.
		got := ""
		for deadline := time.Now().Add(patience); !strings.Contains(got, "PTR") && time.Now().Before(deadline); {
			got = output(t, there, "ask", MQTT, form, "2s")
		}
		for _, want := range []string{
			"from=192.168.77.1:5353", "id=4711", "response=true", "authoritative=true", "questions=1",
			"_mqtt._tcp.local. ttl=", "PTR Test 1884 on ", "SRV vulture-", ".local. 1884", `TXT [""]`, "A 192.168.77.1",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %q in it", form, got, want)
			}
		}
	}
}

// Those who listen hear that a service is there, again where the address
// changes, and that it has gone.
func TestComingAndGoingIsAnnounced(t *testing.T) {
	here, there := lantest.Two(t, "192.168.77.1/24", "192.168.77.2/24")
	listener := start(t, there, "listen")
	listener.wait("listening")
	announcer := start(t, here, "announce", HTTP+"=8080")
	there1 := []string{"from=192.168.77.1:5353", "id=0", "response=true", "ttl=120 PTR", `TXT ["path=/"]`, "SRV vulture-", "A 192.168.77.1"}
	listener.wait(there1...)
	listener.wait(there1...) // for those who missed the first
	here.Readdress("192.168.77.1/24", "192.168.77.9/24")
	announcer.wait("services are announced", "192.168.77.9")
	listener.wait("from=192.168.77.9:5353", "A 192.168.77.9")
	if got := output(t, there, "find", HTTP, patience.String()); got != "192.168.77.9:8080" {
		t.Errorf("after the change: got %q, want the new address", got)
	}
	if err := announcer.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	listener.wait("from=192.168.77.9:5353", "ttl=0 PTR", "ttl=0 SRV")
	announcer.wait("stopped")
}

func TestSeveralAnswersAreNamed(t *testing.T) {
	here, there := lantest.Two(t, "192.168.77.1/24", "192.168.77.2/24")
	for _, port := range []string{"1884", "1885"} {
		start(t, here, "announce", MQTT+"="+port).wait("services are announced")
	}
	got := ""
	for deadline := time.Now().Add(patience); !strings.Contains(got, "several") && time.Now().Before(deadline); { // one may be late
		got = output(t, there, "find", MQTT, patience.String())
	}
	for _, want := range []string{"error: several answer: ", "192.168.77.1:1884 (\"Test 1884 on ", "192.168.77.1:1885 (\"Test 1885 on "} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
}

// Nothing that somebody on the network sends ends the program that announces.
func TestHostilePacketsAreSurvived(t *testing.T) {
	here, there := lantest.Two(t, "192.168.77.1/24", "192.168.77.2/24")
	announcer := start(t, here, "announce", MQTT+"=1884")
	announcer.wait("services are announced")
	if got := output(t, there, "flood", "192.168.77.1"); got != "flooded" {
		t.Fatalf("got %q, want flooded", got)
	}
	if got := output(t, there, "find", MQTT, patience.String()); got != "192.168.77.1:1884" {
		t.Errorf("afterwards: got %q, want 192.168.77.1:1884", got)
	}
	if err := announcer.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	announcer.wait("stopped")
}

func TestServiceIsAnnouncedWhereItListens(t *testing.T) {
	here, there := lantest.Two(t, "192.168.77.1/24", "192.168.77.2/24")
	start(t, here, "announce", MQTT+"=1@127.0.0.1", HTTP+"=8080@192.168.77.1").wait("services are announced")
	if got := output(t, there, "find", HTTP, patience.String()); got != "192.168.77.1:8080" {
		t.Errorf("got %q, want 192.168.77.1:8080", got)
	}
	if got := output(t, there, "find", MQTT, "2s"); got != "error: nobody answers" {
		t.Errorf("loopback: got %q, want it not announced", got)
	}
}

func TestFindWithoutANetworkSaysSo(t *testing.T) {
	here, _ := lantest.Two(t, "192.168.77.1/24", "192.168.77.2/24")
	here.Run("ip", "link", "set", lantest.Interface, "down")
	if got := output(t, here, "find", MQTT, patience.String()); !strings.HasPrefix(got, "error: cannot ask the local network: ") {
		t.Errorf("got %q, want it to say that there is no network", got)
	}
}

func TestAnnounceEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	Announce(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)), time.Hour, Service{Type: MQTT, Instance: "x", Port: 1, Addr: netip.MustParseAddr("127.0.0.1")})
}

func TestInstanceIsOneLabel(t *testing.T) {
	for _, what := range []string{"Gateway (8080)", strings.Repeat("x", 100)} {
		if got := Instance(what); len(got) == 0 || len(got) > 63 || strings.ContainsAny(got, `.\`) {
			t.Errorf("got %q, want 1 to 63 bytes without dots", got)
		}
	}
}

func TestUsableAddressesLeadToAnotherMachine(t *testing.T) {
	for addr, want := range map[string]bool{
		"192.168.1.10": true, "169.254.1.1": true, "203.0.113.5": true, "fd00::1": true,
		"0.0.0.0": false, "127.0.0.1": false, "224.0.0.251": false, "::": false, "::1": false, "fe80::1": false,
	} {
		if got := usable(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %v, want %v", addr, got, want)
		}
	}
	if usable(netip.Addr{}) {
		t.Error("no address: got true, want false")
	}
}
