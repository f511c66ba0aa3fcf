package settings

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMendChangesTheAddressAlone(t *testing.T) {
	for _, tc := range []struct{ name, content, want, old string }{
		{"plain", plain, strings.ReplaceAll(plain, "192.168.1.10", "10.0.0.7"), "192.168.1.10"},
		{"CRLF and a BOM", "\ufeff; c\r\n[system]\r\nIP_ADDRESS\t:  1.2.3.4 \t; now\r\n", "\ufeff; c\r\n[system]\r\nIP_ADDRESS\t:  10.0.0.7 \t; now\r\n", "1.2.3.4"},
		{"quotes", "[system]\nip_address='x'\n", "[system]\nip_address='10.0.0.7'\n", "x"},
		{"placeholder", "[system]\nip_address = <your_ip_address>", "[system]\nip_address = 10.0.0.7", "<your_ip_address>"},
		{"empty", "[system]\nip_address =\nmqtt_port = 1\n", "[system]\nip_address =10.0.0.7\nmqtt_port = 1\n", ""},
		{"other sections", "[a]\nip_address = 1\n[system]\nip_address = 1\n[b]\nip_address = 1\n", "[a]\nip_address = 1\n[system]\nip_address = 10.0.0.7\n[b]\nip_address = 1\n", "1"},
		{"the same", "[system]\nip_address = 10.0.0.7\n", "[system]\nip_address = 10.0.0.7\n", "10.0.0.7"},
		{"auto", "[system]\nip_address = Auto\n", "[system]\nip_address = Auto\n", "Auto"},
	} {
		out, old, line, err := Mend([]byte(tc.content), "10.0.0.7")
		if err != nil || string(out) != tc.want || old != tc.old || (line == 0) != (tc.content == tc.want) {
			t.Errorf("%s: got %q, old %q, line %d, %v, want %q, old %q", tc.name, out, old, line, err, tc.want, tc.old)
		}
	}
	for content, want := range map[string]string{
		"[system]\nmqtt_port = 1\n":     "has no ip_address",
		"[system]\nip_adress = 1.2.3\n": "did you mean ip_address?",
		"[System]\nip_address = 1\n":    "write [system]",
	} {
		out, _, _, err := Mend([]byte(content), "10.0.0.7")
		if err == nil || !strings.Contains(err.Error(), want) || string(out) != content {
			t.Errorf("%q: got %q, %v, want the file as it is and an error with %q", content, out, err, want)
		}
	}
}

// Whatever the file looks like, Mend replaces one value and nothing else.
func TestMendKeepsEveryOtherByte(t *testing.T) {
	lines := rapid.SampledFrom([]string{"", " ", "; c", "# ip_address = 9", "[a]", "[b]", "x = 1", "mqtt_port: 7 ; p", "password = a # b", "no key in another section"})
	end := rapid.SampledFrom([]string{"\n", "\r\n"})
	space := rapid.SampledFrom([]string{"", " ", "\t", "  "})
	rapid.Check(t, func(t *rapid.T) {
		var before, after strings.Builder
		before.WriteString(rapid.SampledFrom([]string{"", "\ufeff"}).Draw(t, "BOM"))
		for _, l := range rapid.SliceOf(lines).Draw(t, "before") {
			before.WriteString(l + end.Draw(t, "end"))
		}
		quote := rapid.SampledFrom([]string{"", `"`, "'"}).Draw(t, "quote")
		before.WriteString("[system]" + end.Draw(t, "end") + space.Draw(t, "indent") + "ip_address" + space.Draw(t, "a") + rapid.SampledFrom([]string{"=", ":"}).Draw(t, "delimiter") + space.Draw(t, "b") + quote)
		after.WriteString(quote + rapid.SampledFrom([]string{"", " ", " ; c", "\t# c"}).Draw(t, "comment"))
		if rapid.Bool().Draw(t, "more") {
			after.WriteString(end.Draw(t, "end") + "[c]" + end.Draw(t, "end"))
			for _, l := range rapid.SliceOf(lines).Draw(t, "after") {
				after.WriteString(l + end.Draw(t, "end"))
			}
		}
		old := rapid.SampledFrom([]string{"192.168.1.10", "broker.lan", "<your_ip_address>", "fd00::1"}).Draw(t, "old")
		content := before.String() + old + after.String()
		out, was, line, err := Mend([]byte(content), "10.0.0.7")
		if err != nil || was != old || line != strings.Count(before.String(), "\n")+1 {
			t.Fatalf("Mend(%q): got old %q, line %d, %v, want %q", content, was, line, err, old)
		}
		if want := before.String() + "10.0.0.7" + after.String(); !bytes.Equal(out, []byte(want)) {
			t.Fatalf("got %q, want %q", out, want)
		}
	})
}
