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
	if err := d.Validate(); err != nil && err.Error() != "" {
		t.Error(err)
	}
	if len(d.Panels) < 20 {
		t.Errorf("got %d panels, want 20 at least", len(d.Panels))
	}
}
