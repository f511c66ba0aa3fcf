package lantest

import (
	"strings"
	"testing"
)

func TestHostsReachEachOtherAndNothingElse(t *testing.T) {
	a, b := Two(t, "192.168.77.1/24", "192.168.77.2/24")
	for host, peer := range map[*Host]string{a: "192.168.77.2", b: "192.168.77.1"} {
		if got := host.Run("ip", "route", "get", peer); !strings.Contains(got, "dev "+Interface) {
			t.Errorf("the way to %s: got %q, want %s", peer, got, Interface)
		}
		if got := host.Run("ip", "-o", "link"); strings.Count(got, "\n") != 2 {
			t.Errorf("interfaces: got %q, want loopback and %s", got, Interface)
		}
	}
	a.Readdress("192.168.77.1/24", "192.168.77.9/24")
	if got := a.Run("ip", "-o", "-4", "addr", "show", "dev", Interface); !strings.Contains(got, "192.168.77.9/24") || strings.Contains(got, "192.168.77.1/24") {
		t.Errorf("got %q, want 192.168.77.9 alone", got)
	}
}
