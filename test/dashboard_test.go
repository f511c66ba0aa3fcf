package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// dashboard is the part of deploy/grafana/gateway.json that is looked at.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name       string      `json:"name"`
			Type       string      `json:"type"`
			Definition string      `json:"definition"`
			Datasource *dataSource `json:"datasource"`
		} `json:"list"`
	} `json:"templating"`
	Panels []dashboardPanel `json:"panels"`
}

type dataSource struct{ Type, UID string }

type dashboardPanel struct {
	ID          int         `json:"id"`
	Type        string      `json:"type"`
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Datasource  *dataSource `json:"datasource"`
	GridPos     struct{ H, W, X, Y int }
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		RefID        string      `json:"refId"`
		Datasource   *dataSource `json:"datasource"`
		Expr         string      `json:"expr"`
		LegendFormat string      `json:"legendFormat"`
		Instant      bool        `json:"instant"`
		Range        bool        `json:"range"`
	} `json:"targets"`
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile("../deploy/grafana/gateway.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) < 20 {
		t.Fatalf("the dashboard has %d panels, want 20 at least", len(d.Panels))
	}
	return d
}

// grafanaUnits are those of Grafana that a panel may have.
var grafanaUnits = map[string]bool{"none": true, "short": true, "percentunit": true, "s": true, "bytes": true, "mps": true, "cps": true, "reqps": true}

func TestDashboardIsSound(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	chosen := dataSource{"prometheus", "${datasource}"}
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 {
		t.Errorf("got uid %q, title %q and schemaVersion %d, want all, and a version of Grafana 9 at least", d.UID, d.Title, d.SchemaVersion)
	}
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
		if v.Type == "query" && (v.Datasource == nil || *v.Datasource != chosen) {
			t.Errorf("variable %s asks %v, want %v", v.Name, v.Datasource, chosen)
		}
	}
	if variables["datasource"] != "datasource" {
		t.Errorf("got the variables %v, want datasource to choose the data source", variables)
	}
	ids, titles := map[int]bool{}, map[string]bool{}
	cells := map[[2]int]string{}
	for _, p := range d.Panels {
		if p.ID <= 0 || ids[p.ID] || p.Title == "" || titles[p.Title] && p.Type != "row" {
			t.Errorf("panel %d, %q: its id or title is there twice, or missing", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X < 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s lies outside of the grid: %+v", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" {
					t.Errorf("%s lies on %s", p.Title, other)
					x = 24
					break
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Type != "stat" && p.Type != "timeseries" || p.Description == "" || !grafanaUnits[p.FieldConfig.Defaults.Unit] || len(p.Targets) == 0 {
			t.Errorf("%s: got type %q, description %q, unit %q and %d queries", p.Title, p.Type, p.Description, p.FieldConfig.Defaults.Unit, len(p.Targets))
		}
		if p.Datasource == nil || *p.Datasource != chosen {
			t.Errorf("%s asks %v, want %v", p.Title, p.Datasource, chosen)
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if q.Datasource == nil || *q.Datasource != chosen || refs[q.RefID] || q.RefID == "" || q.Instant == q.Range {
				t.Errorf("%s: query %q asks %v, stands there twice, or is neither instant nor a range", p.Title, q.RefID, q.Datasource)
			}
			refs[q.RefID] = true
			for _, m := range regexp.MustCompile(`\$\{?([a-z]+)`).FindAllStringSubmatch(q.Expr, -1) {
				if variables[m[1]] == "" {
					t.Errorf("%s: there is no variable %s", p.Title, m[0])
				}
			}
		}
	}
}

// prometheusServer is Debian's Prometheus, which scrapes a gateway every second
// and has the alerts that are shipped.
type prometheusServer struct {
	t   *testing.T
	url string
}

func startPrometheus(t *testing.T, g *gateway) *prometheusServer {
	t.Helper()
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("%v: run scripts/test-deps.sh", err)
	}
	alerts, err := filepath.Abs("../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs: [{job_name: gateway, static_configs: [{targets: [%q]}]}]\n",
		alerts, strings.TrimPrefix(g.admin, "http://"))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	running := spawn(t, "prometheus", nil, exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr))
	t.Cleanup(func() {
		if running.kill(); t.Failed() {
			t.Logf("prometheus (end):\n%s", tail(running.err.String(), 3000))
		}
		<-running.ended // before its directory goes
	})
	return &prometheusServer{t, "http://" + addr}
}

// query returns the label sets of what has a value.
func (p *prometheusServer) query(expr string) (series []map[string]string) {
	p.t.Helper()
	res, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil // not up yet
	}
	defer res.Body.Close()
	var answer struct {
		Error string
		Data  struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil && res.StatusCode == http.StatusOK || res.StatusCode == http.StatusBadRequest {
		p.t.Fatalf("%s: %d %v %s", expr, res.StatusCode, err, answer.Error)
	}
	for _, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		if v, err := strconv.ParseFloat(text, 64); err == nil && v == v {
			series = append(series, r.Metric)
		}
	}
	return series
}

// somewhatBusy has a gateway do a little of everything until the test ends.
func somewhatBusy(t *testing.T, g *gateway) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			for _, body := range []string{`{"topic":"pi/3/battery","payload":3.7,"qos":1}`, `{"topic":"pi/3/LWT","payload":"Online","qos":0}`, `{"topic":"a/+","payload":1}`} {
				req, _ := http.NewRequestWithContext(ctx, "POST", g.url+"/publish", strings.NewReader(body))
				req.Header.Set("Content-Type", "application/json")
				if res, err := g.client.Do(req); err == nil {
					res.Body.Close()
				}
			}
			if c, _, err := websocket.Dial(ctx, g.ws, nil); err == nil {
				_ = c.Close(websocket.StatusNormalClosure, "")
			}
		}
	}()
}

// Every query of the dashboard has an answer where a gateway does a little of
// everything, and every label of a legend is one of the answer.
func TestDashboardShowsARealGateway(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), map[string]string{
		"GATEWAY_VALUE_METRICS": valuesFile(t, valueRules), "GATEWAY_SILENT": "pi/+/battery=1h", "GATEWAY_DEVICE_TOPICS": "pi/{id}/LWT=Online|Offline",
	})
	ws := g.dial("")
	ws.subscribe("pi/#")
	somewhatBusy(t, g)
	p := startPrometheus(t, g)
	fill := strings.NewReplacer("$job", "gateway", "$instance", ".*", "$__rate_interval", "10s")
	d := readDashboard(t)
	label := regexp.MustCompile(`\{\{(\w+)\}\}`)
	queries := 0
	for _, panel := range d.Panels {
		for _, q := range panel.Targets {
			queries++
			var series []map[string]string
			eventually(t, panel.Title+" has data for "+q.Expr, func() bool {
				series = p.query(fill.Replace(q.Expr))
				return len(series) > 0
			})
			for _, m := range label.FindAllStringSubmatch(q.LegendFormat, -1) {
				if series[0][m[1]] == "" {
					t.Errorf("%s: the legend has %s, the answer the labels %v", panel.Title, m[0], series[0])
				}
			}
		}
	}
	if queries < 30 {
		t.Errorf("found %d queries, want 30 at least", queries)
	}
	for _, v := range d.Templating.List {
		values := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if v.Type != "query" {
			continue
		}
		if values == nil {
			t.Errorf("variable %s: %q is no label_values", v.Name, v.Definition)
		} else if found := p.query(fill.Replace(values[1])); len(found) == 0 || found[0][values[2]] == "" {
			t.Errorf("variable %s: got %v, want a value", v.Name, found)
		}
	}
	eventually(t, "all alerts are evaluated", func() bool { return p.healthy() >= 15 })
}

// healthy is how many alerts have been evaluated. None may fail on what a real
// gateway shows.
func (p *prometheusServer) healthy() (n int) {
	p.t.Helper()
	res, err := http.Get(p.url + "/api/v1/rules")
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		p.t.Fatal(err)
	}
	for _, group := range answer.Data.Groups {
		for _, r := range group.Rules {
			switch r.Health {
			case "ok":
				n++
			case "err":
				p.t.Fatalf("%s: %s", r.Name, r.LastError)
			}
		}
	}
	return n
}
