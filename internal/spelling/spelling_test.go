package spelling

import "testing"

func TestTyposAreCounted(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "abc", 0},
		{"abc", "abd", 1},
		{"abc", "ab", 1},
		{"abc", "xabc", 1},
		{"mqtt_prot", "mqtt_port", 1}, // one swap
		{"ca", "ac", 1},
		{"ip_adress", "ip_address", 1},
		{"kitten", "sitting", 3},
	} {
		if got := Typos(tc.a, tc.b); got != tc.want {
			t.Errorf("Typos(%q, %q): got %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := Typos(tc.b, tc.a); got != tc.want {
			t.Errorf("Typos(%q, %q): got %d, want %d", tc.b, tc.a, got, tc.want)
		}
	}
}

func TestClosestKnowsTyposAndEndings(t *testing.T) {
	known := []string{"GATEWAY_MQTT_URL", "GATEWAY_MQTT_POOL", "GATEWAY_MAX_PAYLOAD_BYTES"}
	for _, tc := range [][2]string{
		{"GATEWAY_MQQT_URL", "GATEWAY_MQTT_URL"},
		{"GATEWAY_MQTT_URI", "GATEWAY_MQTT_URL"},
		{"GATEWAY_MQTT_POOLS", "GATEWAY_MQTT_POOL"},
		{"GATEWAY_MQTT_POOLSIZE", "GATEWAY_MQTT_POOL"},
		{"GATEWAY_MQTT_POOL_SIZE", ""},
		{"GATEWAY_COLOUR", ""},
		{"", ""},
	} {
		if got := Closest(tc[0], known); got != tc[1] {
			t.Errorf("Closest(%q): got %q, want %q", tc[0], got, tc[1])
		}
	}
}
