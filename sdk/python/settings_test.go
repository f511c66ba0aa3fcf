package devicecom_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/config"
)

// reader is a Python that reads settings.ini files: base64 in, host:port or
// what is wrong out.
const reader = `
import base64, sys
import device_com

for line in sys.stdin:
    try:
        s = device_com._Settings(device_com._system(base64.b64decode(line)))
        print(f"[{s.address}]:{s.port}" if ":" in s.address else f"{s.address}:{s.port}", flush=True)
    except device_com.DeviceError as e:
        print("refused:", e, flush=True)
`

// The gateway and the SDK read the same file, so they must find the same
// broker in it, or both refuse it.
func TestSettingsAreReadAsTheGatewayReadsThem(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), python(), "-B", "-c", reader)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	path := filepath.Join(t.TempDir(), "settings.ini")
	t.Setenv("GATEWAY_SETTINGS_FILE", path)

	agree := func(t rapid.TB, text string) (accepted bool) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		want := "refused"
		cfg, _, loadErr := config.Load()
		if loadErr == nil {
			u, _ := cfg.Broker()
			want = u.Host
		}
		_, _ = fmt.Fprintln(in, base64.StdEncoding.EncodeToString([]byte(text)))
		got, err := answers.ReadString('\n')
		if err != nil {
			t.Fatalf("the Python has ended: %v", err)
		}
		short, _, _ := strings.Cut(strings.TrimSpace(got), ": ")
		if short != want {
			t.Errorf("%q:\ngot  %s\nwant %s (%v)", text, got, want, loadErr)
		}
		return loadErr == nil
	}

	pieces := func(words ...string) *rapid.Generator[string] { return rapid.SampledFrom(words) }
	sections := pieces("[system]", "[ system ]", "[system", "[System]", "[db]", "[]", " [system] ; x", "[system]x", "#[system]")
	keys := pieces("ip_address", "mqtt_port", "IP_Address", "name", "debug", " ip_address", "")
	delimiters := pieces("=", " = ", ":", " : ", " ", "==")
	addresses := []string{"10.0.0.1", "fd00::1", "Broker.lan", "a_b", "999.1.1.1", "0.0.0.0", "::", "", "a b", "a..b", "-a", "a-", "x.0x7f",
		"10.0.0.1:1", "[fd00::1]", "fe80::1%eth0", "[x]"}
	ports := []string{"1883", "1", "65535", "0", "65536", "01", "+1", "0x7", "1_0", "", "a"}
	address, port := pieces(addresses...), pieces(ports...)
	values := pieces(append(addresses, ports...)...)
	quotes := pieces("", "", "", `"`, `'`)
	comments := pieces("", "", "", " ; c", "\t# c", "#c", " #", ";", " # a = b", ` # "`)
	ends := pieces("\n", "\r\n", "\n\n", "")
	settings := rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		b.WriteString(pieces("", "", "\ufeff").Draw(t, "start"))
		for range rapid.IntRange(0, 6).Draw(t, "lines") {
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				b.WriteString(sections.Draw(t, "section"))
			} else {
				q := quotes.Draw(t, "quote")
				b.WriteString(keys.Draw(t, "key") + delimiters.Draw(t, "delimiter") + q + values.Draw(t, "value") + q)
			}
			b.WriteString(comments.Draw(t, "comment") + ends.Draw(t, "end"))
		}
		return b.String()
	})
	accepted := 0
	t.Run("any file", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { agree(t, settings.Draw(t, "file")) })
	})
	t.Run("two lines of the section", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			q, r := quotes.Draw(t, "quote"), quotes.Draw(t, "quote")
			if agree(t, "[system]\nip_address"+delimiters.Draw(t, "delimiter")+q+address.Draw(t, "address")+q+comments.Draw(t, "comment")+
				"\nmqtt_port = "+r+port.Draw(t, "port")+r+comments.Draw(t, "comment")) {
				accepted++
			}
		})
	})
	if accepted == 0 {
		t.Error("no file was accepted: does the test still draw good ones?")
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the Python: %v", err)
	}
}
