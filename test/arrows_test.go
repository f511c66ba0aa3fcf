package test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/vulturepi/gateway/"

// Libraries that only some packages may come to need.
const (
	paho       = "github.com/eclipse/paho"
	prometheus = "github.com/prometheus/"
	chi        = "github.com/go-chi/chi"
	netHTTP    = "net/http"
	anything   = "" // everything but the standard library
)

// rule is what one package may import.
type rule struct {
	may   []string          // of this module's packages, directly
	never map[string]string // what it must not even need through others, with the reason: the beginning of an import path
}

const (
	wired    = "internal/gateway puts them together"
	oneTruth = "Run gets a configuration that is loaded, and hands out what is needed of it"
	noMQTT   = "it knows no MQTT"
	noHTTP   = "it knows no HTTP"
	counts   = "it counts, internal/api publishes"
)

// arrows has a row for every package; they all point down. The directories of
// tests and documents import nothing.
var arrows = map[string]rule{
	"cmd/gateway": {may: []string{"internal/access", "internal/certificate", "internal/cli", "internal/config", "internal/embedded", "internal/gateway", "internal/lan", "internal/mdns"}},
	"internal/cli": {
		may:   []string{"client", "internal/mqtt", "internal/topic", "wire"},
		never: map[string]string{module + "internal/hub": "it is a client like any other", module + "internal/api": "likewise", module + "internal/bridge": "likewise", module + "internal/config": oneTruth},
	},
	"internal/gateway": {may: []string{
		"internal/access", "internal/api", "internal/bridge", "internal/config", "internal/console", "internal/decode", "internal/device", "internal/embedded", "internal/gauge", "internal/hub", "internal/lan", "internal/mdns", "internal/mqtt", "internal/topic", "wire",
	}},
	"internal/api": {
		may:   []string{"api", "internal/access", "internal/device", "internal/gauge", "internal/hub", "internal/hub/message", "internal/hub/outbox", "internal/list", "internal/stream", "internal/topic", "sdk/js", "wire"},
		never: map[string]string{module + "internal/bridge": wired, module + "internal/embedded": wired, module + "internal/config": oneTruth, paho: noMQTT},
	},
	"internal/console": {never: map[string]string{module: "it is a page like any other, and uses the public routes"}},
	"internal/stream": {
		may:   []string{"internal/hub/message", "internal/hub/outbox", "wire"},
		never: map[string]string{module + "internal/api": "handlers make streams, streams know no routes", module + "internal/topic": "it frames what it is given", chi: noHTTP, prometheus: counts},
	},
	"internal/hub": {
		may:   []string{"internal/hub/memory", "internal/hub/message", "internal/hub/outbox", "internal/list", "internal/topic", "wire"},
		never: map[string]string{module + "internal/decode": wired, module + "internal/config": oneTruth, paho: noMQTT, netHTTP: noHTTP, chi: noHTTP, prometheus: counts},
	},
	"internal/hub/memory":  {may: []string{"internal/hub/message", "internal/topic"}, never: map[string]string{module + "internal/hub/outbox": "what is remembered is nobody's", netHTTP: noHTTP}},
	"internal/hub/outbox":  {may: []string{"internal/hub/message", "wire"}, never: map[string]string{module + "internal/topic": "what matches is decided before", netHTTP: noHTTP}},
	"internal/hub/message": {may: []string{"wire"}},
	"internal/mqtt":        {never: map[string]string{module: "one connection has no policy", chi: noHTTP, prometheus: counts}},
	"internal/bridge": {
		may:   []string{"internal/mqtt", "internal/topic"},
		never: map[string]string{module + "wire": "it knows no JSON", module + "internal/config": oneTruth, chi: noHTTP, prometheus: counts},
	},
	"internal/decode": {
		may:   []string{"internal/topic", "internal/yamlfile", "wire"},
		never: map[string]string{module + "internal/config": oneTruth, paho: noMQTT, netHTTP: noHTTP, chi: noHTTP, prometheus: "it is pure"},
	},
	"internal/device":           {may: []string{"internal/list", "internal/topic"}, never: map[string]string{module + "internal/hub": "it is told, and asked", paho: noMQTT, netHTTP: noHTTP, chi: noHTTP, prometheus: counts}},
	"internal/gauge":            {may: []string{"internal/list", "internal/topic", "internal/yamlfile"}, never: map[string]string{module + "internal/hub": "it is told, and asked", module + "internal/decode": wired, paho: noMQTT, netHTTP: noHTTP, chi: noHTTP, prometheus: counts}},
	"internal/config":           {may: []string{"internal/address", "internal/device", "internal/settings", "internal/spelling", "internal/topic"}, never: map[string]string{module + "internal/decode": "a configuration names the file, internal/gateway makes rules of it"}},
	"internal/settings":         {may: []string{"internal/address", "internal/spelling"}, never: map[string]string{module + "internal/config": "devices read it, too", paho: noMQTT}},
	"internal/lan":              {may: []string{"internal/settings"}, never: map[string]string{paho: noMQTT, module + "internal/mdns": "it says nothing to the network"}},
	"internal/mdns":             {may: []string{"internal/lan"}, never: map[string]string{paho: noMQTT, module + "internal/embedded": "the broker announces itself"}},
	"internal/access":           {may: []string{"internal/topic"}, never: map[string]string{module + "internal/hub": "it decides, others ask", module + "internal/config": oneTruth, chi: noHTTP, prometheus: counts}},
	"internal/embedded/broker":  {may: []string{"internal/embedded/packet", "internal/embedded/store", "internal/topic"}},
	"internal/embedded/packet":  {never: map[string]string{anything: "the guard is pure"}},
	"internal/embedded/store":   {never: map[string]string{module: "it knows keys and bytes only"}},
	"internal/embedded/rawtest": {never: map[string]string{module: "it must not share a mistake with what it tests"}},
	"internal/embedded": {may: []string{"internal/address", "internal/embedded/broker", "internal/lan", "internal/mdns"}, never: map[string]string{
		paho:                       "the broker's guard is judged by other people's clients",
		module + "internal/bridge": "the broker is a process of its own", module + "internal/hub": "likewise", module + "internal/api": "likewise", module + "internal/config": "likewise",
	}},
	"devicecom": {may: []string{"internal/mdns", "internal/settings", "internal/topic"}, never: map[string]string{
		module + "internal/config": "its settings are settings.ini alone", module + "wire": "a device speaks MQTT, not the gateway's JSON", chi: noHTTP, prometheus: "it counts for its caller",
	}},
	"client": {may: []string{"wire"}, never: map[string]string{
		module + "internal": "it is for other people's programs", paho: noMQTT, chi: noHTTP, prometheus: "it counts for its caller",
	}},
	"internal/certificate": {never: map[string]string{anything: "it is pure"}},
	"internal/address":     {never: map[string]string{anything: "it is pure"}},
	"internal/yamlfile":    {never: map[string]string{module: "it knows no rules"}},
	"internal/list":        {never: map[string]string{anything: "it is pure"}},
	"internal/spelling":    {never: map[string]string{anything: "it is pure"}},
	"internal/topic":       {never: map[string]string{anything: "it is pure"}},
	"wire":                 {never: map[string]string{anything: "clients share it"}},
	"api":                  {never: map[string]string{anything: "it holds two files"}},
	"sdk/js":               {never: map[string]string{anything: "it holds one file"}},

	"internal/brokertest": {never: map[string]string{module: "it must not share a mistake with what it tests"}},
	"internal/lantest":    {never: map[string]string{module: "it must not share a mistake with what it tests"}},
	"internal/spectest":   {may: []string{"api"}, never: map[string]string{module + "internal": "it must not share a mistake with what it tests", module + "wire": "likewise"}},
	"examples":            {may: []string{"client"}, never: map[string]string{module + "internal": "they are models for other people's programs"}},
	"deploy":              {}, "docs": {}, "mosquitto": {}, "sdk/python": {}, "test": {},
}

type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

func TestArrowsPointOneWay(t *testing.T) {
	standard := map[string]bool{}
	var own []listed
	for _, p := range goList(t, "-deps", "../...") {
		standard[p.ImportPath] = p.Standard
		if strings.HasPrefix(p.ImportPath, module) {
			own = append(own, p)
		}
	}
	seen := map[string]bool{}
	for _, p := range own {
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		r, ok := arrows[name]
		if !ok {
			t.Errorf("%s has no row in the table of arrows; it imports %v", name, p.Imports)
		}
		for _, i := range p.Imports {
			if target, isOwn := strings.CutPrefix(i, module); isOwn && !slices.Contains(r.may, target) {
				t.Errorf("%s imports %s, which its row does not list: %v", name, target, r.may)
			}
		}
		for _, dep := range p.Deps {
			for start, why := range r.never {
				if strings.HasPrefix(dep, start) && (start != anything || !standard[dep]) {
					t.Errorf("%s comes to need %s: %s", name, dep, why)
				}
			}
		}
	}
	for name := range arrows {
		if !seen[name] {
			t.Errorf("the table of arrows has a row for %s, which does not exist", name)
		}
	}
}

func goList(t *testing.T, args ...string) (all []listed) {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,Deps"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

// A library that is used for one thing is imported in one place.
func TestLibrariesAreImportedInOnePlace(t *testing.T) {
	want := map[string][]string{
		paho:                                   {"devicecom/session.go", "internal/mqtt/packets4.go", "internal/mqtt/packets5.go"}, // a device is no gateway
		"github.com/kelseyhightower/envconfig": {"internal/config/config.go"},
	}
	got := map[string][]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path == "../bench" { // a module of its own
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for library := range want {
			if slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool {
				name, _ := strconv.Unquote(i.Path.Value)
				return strings.HasPrefix(name, library)
			}) {
				got[library] = append(got[library], filepath.ToSlash(strings.TrimPrefix(path, "../")))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for library, files := range want {
		if slices.Sort(got[library]); !slices.Equal(got[library], files) {
			t.Errorf("%s is imported by %v, want %v alone", library, got[library], files)
		}
	}
}

// What is measured in Unix time goes wrong when the wall clock is set; it is for
// what people read, and for what outlives the process.
func TestUnixTimeMeasuresNothing(t *testing.T) {
	may := []string{
		"internal/api/metrics_devices.go", // Prometheus reads it
		"internal/device/",                // clients read it
		"internal/embedded/broker/",       // it stands in a file
	}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		name := filepath.ToSlash(strings.TrimPrefix(path, "../"))
		if err == nil && d.IsDir() && (name == "bench" || name == "test") {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		if slices.ContainsFunc(may, func(start string) bool { return strings.HasPrefix(name, start) }) {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "Unix") && s.Sel.Name != "Unix" {
				t.Errorf("%s: %s, want a duration since a time.Time", files.Position(s.Pos()), s.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
