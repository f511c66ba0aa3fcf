package manifests

import (
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Grafana's own types take the dashboard, its panels and its queries: no field
// is unknown or of another kind. ../dashboard_test.go runs the queries.
func TestDashboardIsOfGrafanasTypes(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	text, err := os.ReadFile("../../deploy/grafana/gateway.json")
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 the next version of dashboards is not what Grafana 9 to 12 read from files
	var d dashboard.Dashboard
	if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" { // a list without errors is no nil
		t.Fatal(err)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	panels, rows := 0, 0
	for _, p := range d.Panels {
		switch {
		case p.Panel != nil:
			if panels++; len(p.Panel.Targets) == 0 {
				t.Errorf("%s has no queries", *p.Panel.Title)
			}
		case p.RowPanel != nil:
			rows++
		}
	}
	if panels < 20 || rows < 5 {
		t.Errorf("got %d panels in %d rows, want 20 in 5 at least", panels, rows)
	}
}
