package manifests

import (
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// Compose v2 takes docker-compose.yml, and each service stands in its profile.
func TestComposeTakesTheFile(t *testing.T) {
	for profile, want := range map[string][]string{"": {"gateway", "mosquitto"}, "monitoring": {"gateway", "grafana", "mosquitto", "prometheus"}} {
		var profiles []string
		if profile != "" {
			profiles = []string{profile}
		}
		options, err := cli.NewProjectOptions([]string{"../../docker-compose.yml"}, cli.WithName("gateway"), cli.WithProfiles(profiles), cli.WithResolvedPaths(true))
		if err != nil {
			t.Fatal(err)
		}
		project, err := options.LoadProject(t.Context())
		if err != nil {
			t.Fatalf("profile %q: %v", profile, err)
		}
		if got := slices.Sorted(slices.Values(project.ServiceNames())); !slices.Equal(got, want) {
			t.Errorf("profile %q: got the services %v, want %v", profile, got, want)
		}
		for name, s := range project.Services {
			for _, p := range s.Ports {
				if p.HostIP != "127.0.0.1" {
					t.Errorf("%s: port %s is published on %q", name, p.Published, p.HostIP)
				}
			}
			for _, v := range s.Volumes {
				if v.Type == types.VolumeTypeBind && !v.ReadOnly {
					t.Errorf("%s can write to %s", name, v.Source)
				}
			}
		}
	}
}
