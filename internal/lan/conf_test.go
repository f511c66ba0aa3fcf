package lan

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var target = netip.MustParseAddr("192.168.1.10")

func TestMendFindsTheListener(t *testing.T) {
	for _, tc := range []struct{ name, content, want, old string }{
		{"the placeholder", "\nlistener 1883 <your_ip_address>\nlog_dest syslog\n", "\nlistener 1883 192.168.1.10\nlog_dest syslog\n", "<your_ip_address>"},
		{"a placeholder in words", "listener 1883 <your ip address>", "listener 1883 192.168.1.10", "<your ip address>"},
		{"an old address", "# c\r\nlistener  1884\t10.0.0.3 \r\n", "# c\r\nlistener  1884\t192.168.1.10 \r\n", "10.0.0.3"},
		{"loopback beside it", "listener 1883 127.0.0.1\nlistener 1883 10.0.0.3\n", "listener 1883 127.0.0.1\nlistener 1883 192.168.1.10\n", "10.0.0.3"},
		{"all interfaces beside it", "listener 1884\nlistener 1885 0.0.0.0\nlistener 1883 10.0.0.3\n", "listener 1884\nlistener 1885 0.0.0.0\nlistener 1883 192.168.1.10\n", "10.0.0.3"},
		{"two of the same address", "listener 1883 10.0.0.3\nlistener 9001 10.0.0.3\nprotocol websockets\n", "listener 1883 192.168.1.10\nlistener 9001 192.168.1.10\nprotocol websockets\n", "10.0.0.3"},
		{"commented out", "#listener 1883 10.0.0.1\nlistener 1883 10.0.0.3\n", "#listener 1883 10.0.0.1\nlistener 1883 192.168.1.10\n", "10.0.0.3"},
		{"a socket and names", "listener 0 /run/mosquitto.sock\nlistener 1 localhost\nlistener 1883 10.0.0.3\n", "listener 0 /run/mosquitto.sock\nlistener 1 localhost\nlistener 1883 192.168.1.10\n", "10.0.0.3"},
		{"no line end", "listener 1883 10.0.0.3", "listener 1883 192.168.1.10", "10.0.0.3"},
		{"a settings.ini", "[system]\nip_address = 10.0.0.3\n", "[system]\nip_address = 192.168.1.10\n", "10.0.0.3"},
	} {
		out, change, err := Mend([]byte(tc.content), target)
		if err != nil || string(out) != tc.want || change.Old != tc.old || len(change.Lines) == 0 {
			t.Errorf("%s: got %q, %+v, %v, want %q", tc.name, out, change, err, tc.want)
		}
		again, change, err := Mend(out, target)
		if err != nil || !bytes.Equal(again, out) || len(change.Lines) != 0 {
			t.Errorf("%s: again: got %q, %+v, %v, want no change", tc.name, again, change, err)
		}
	}
}

// An address that was named by hand need not be private, and is known again.
func TestMendKnowsTheAddressThatItHasWritten(t *testing.T) {
	public := netip.MustParseAddr("203.0.113.5")
	conf := []byte("listener 1883 203.0.113.5\n")
	if out, change, err := Mend(conf, public); err != nil || !bytes.Equal(out, conf) || len(change.Lines) != 0 {
		t.Errorf("got %q, %+v, %v, want no change", out, change, err)
	}
}

func TestMendRefusesWhatItCannotTell(t *testing.T) {
	for _, tc := range []struct{ name, content, want string }{
		{"empty", "", "neither a section [system] nor a line that begins with listener"},
		{"something else", "port 1883\n", "neither a section [system] nor"},
		{"loopback alone", "listener 1883 127.0.0.1\n", "no listener with a LAN address or <your_ip_address>; write for example listener 1883 192.168.1.10"},
		{"all interfaces", "listener 1883\n", "no listener with a LAN address"},
		{"public", "listener 1883 203.0.113.5\n", "no listener with a LAN address"},
		{"two addresses", "listener 1 10.0.0.3\n\nlistener 2 10.0.0.4\n", "the listeners of line 1 (10.0.0.3) and line 3 (10.0.0.4) have different LAN addresses"},
		{"one is right", "listener 1 192.168.1.10\nlistener 2 10.0.0.4\n", "line 1 (192.168.1.10) and line 2 (10.0.0.4)"},
		{"no address in settings.ini", "[system]\nmqtt_port = 1\n", "has no ip_address"},
		{"another ini", "[db]\nlistener 1883 10.0.0.3\n", "has no section [system]"},
	} {
		out, change, err := Mend([]byte(tc.content), target)
		if err == nil || !strings.Contains(err.Error(), tc.want) || string(out) != tc.content || len(change.Lines) != 0 {
			t.Errorf("%s: got %q, %+v, %v, want the file as it is and %q", tc.name, out, change, err, tc.want)
		}
	}
}

// The conf that ships, and whatever stands around a listener, keep every other
// byte.
func TestMendKeepsEveryOtherByte(t *testing.T) {
	shipped, err := os.ReadFile("../../mosquitto/server_settings.conf")
	if err != nil {
		t.Fatal(err)
	}
	lines := rapid.SampledFrom(append(strings.Split(strings.ReplaceAll(string(shipped), "\nlistener", "\n# listener"), "\n"),
		"listener 1883 127.0.0.1", "listener 1884", "  listener\t1885 ::1", "allow_anonymous true", "\t", "#\x00\xff"))
	end := rapid.SampledFrom([]string{"\n", "\r\n"})
	space := rapid.SampledFrom([]string{" ", "\t", "   "})
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) string {
			var b strings.Builder
			for _, l := range rapid.SliceOf(lines).Draw(t, name) {
				b.WriteString(l + end.Draw(t, "end"))
			}
			return b.String()
		}
		before := draw("before") + "listener" + space.Draw(t, "a") + "1883" + space.Draw(t, "b")
		after := rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "trailing")
		if rapid.Bool().Draw(t, "more") {
			after += end.Draw(t, "end") + draw("after")
		}
		old := rapid.SampledFrom([]string{"<your_ip_address>", "10.0.0.3", "172.31.255.1", "169.254.1.1"}).Draw(t, "old")
		out, change, err := Mend([]byte(before+old+after), target)
		if err != nil || change.Old != old {
			t.Fatalf("got %+v, %v, want old %q", change, err, old)
		}
		if want := before + target.String() + after; string(out) != want {
			t.Fatalf("got %q, want %q", out, want)
		}
	})
}
