package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Packages depend on each other one way only. What a package must never come
// to need, and why.
func TestArrowsPointOneWay(t *testing.T) {
	const module = "github.com/vulturepi/gateway/"
	const paho, prometheus, chi = "github.com/eclipse/paho.mqtt.golang", "github.com/prometheus/", "github.com/go-chi/chi"
	for pkg, forbidden := range map[string]map[string]string{
		"internal/topic":    {module: "it is pure", ".": "it needs nothing but the standard library"},
		"wire":              {module: "clients share it", ".": "it needs nothing but the standard library"},
		"internal/decode":   {module + "internal/hub": "it knows payloads only", module + "internal/bridge": "it knows payloads only", module + "internal/api": "it knows payloads only", module + "internal/config": "cmd alone reads configuration", paho: "it knows no MQTT", chi: "nor HTTP", prometheus: "it counts nothing"},
		"internal/hub":      {module + "internal/decode": "cmd puts them together", module + "internal/bridge": "the hub knows no MQTT", module + "internal/api": "nor HTTP", module + "internal/config": "cmd alone reads configuration", paho: "the hub knows no MQTT", chi: "nor HTTP", "net/http": "nor HTTP", prometheus: "it counts, api publishes"},
		"internal/bridge":   {module + "internal/hub": "cmd puts them together", module + "internal/api": "cmd puts them together", module + "wire": "the bridge knows no JSON", module + "internal/config": "cmd alone reads configuration", chi: "the bridge knows no HTTP routes", prometheus: "it counts, api publishes"},
		"internal/api":      {module + "internal/bridge": "cmd puts them together", module + "internal/config": "cmd alone reads configuration", module + "internal/embedded": "cmd starts the broker", paho: "the api knows no MQTT"},
		"internal/config":   {module + "internal/api": "it is read by cmd", module + "internal/bridge": "it is read by cmd", module + "internal/hub": "it is read by cmd", module + "internal/decode": "cmd makes rules of the file"},
		"internal/settings": {module + "internal/config": "devices read it, too", module + "internal/bridge": "it knows no MQTT"},
		"devicecom":         {module + "internal/bridge": "a device speaks to the broker, not to the gateway", module + "internal/hub": "nor to the gateway", module + "internal/api": "nor to the gateway", module + "internal/config": "its settings are settings.ini alone", module + "wire": "nor the gateway's JSON", chi: "it knows no HTTP", prometheus: "it counts for its caller"},
		"internal/lan":      {module + "internal/config": "cmd puts them together", module + "internal/bridge": "it knows no MQTT", module + "internal/mdns": "it says nothing to the network"},
		"internal/mdns":     {module + "internal/config": "cmd puts them together", module + "internal/bridge": "it knows no MQTT", module + "internal/embedded": "the broker announces itself"},
		"internal/embedded": {module + "internal/bridge": "the broker is a process of its own", module + "internal/hub": "the broker is a process of its own", module + "internal/api": "the broker is a process of its own", paho: "the broker's guard is judged by other people's clients"},

		"internal/embedded/packet": {module: "the guard is pure", ".": "it needs nothing but the standard library"},
		"internal/embedded/store":  {module: "the store knows keys and bytes only"},
	} {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+pkg).Output()
		if err != nil {
			t.Fatalf("go list %s: %v", pkg, err)
		}
		if pkg == "internal/hub" {
			std, err := exec.Command("go", "list", "-deps", module+pkg).Output()
			if err != nil {
				t.Fatalf("go list %s: %v", pkg, err)
			}
			out = std
		}
		for dep := range strings.FieldsSeq(string(out)) {
			if dep == module+pkg {
				continue
			}
			for prefix, why := range forbidden {
				if strings.HasPrefix(dep, prefix) || prefix == "." && strings.Contains(strings.Split(dep, "/")[0], ".") {
					t.Errorf("%s depends on %s: %s", pkg, dep, why)
				}
			}
		}
	}
}

// Of each package that speaks MQTT, one file knows the library.
func TestOneFileOfAPackageImportsPaho(t *testing.T) {
	out, err := exec.Command("grep", "-rl", "--include=*.go", "--exclude=*_test.go", "eclipse/paho", "../..").Output()
	if err != nil {
		t.Fatalf("grep: %v", err)
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	if want := []string{"../../devicecom/session.go", "../../internal/bridge/paho.go"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
