package bridge

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// denying is a mosquitto whose access list has these lines, and its configuration those.
func denying(t *testing.T, lines string, conf ...string) *brokertest.Broker {
	file := filepath.Join(t.TempDir(), "acl")
	if err := os.WriteFile(file, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	return brokertest.Start(t, brokertest.Conf(append(conf, "acl_file "+file)...))
}

// An access list that denies everything lets the gateway connect, publish and subscribe, and nothing comes of it. A
// message to itself shows it.
func TestSelfTestShowsAnAccessListThatDenies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		acl  string
		warn bool
	}{
		"everything denied": {"topic deny #\n", true},
		"read denied":       {"topic write #\ntopic write $gateway/#\n", true},
		"write denied":      {"topic read #\ntopic read $gateway/#\n", true},
		"all granted":       {"topic readwrite #\ntopic readwrite $gateway/#\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			broker := denying(t, test.acl)
			bothVersions(t, func(t *testing.T, v mqtt.Version) {
				b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}, func(b *Bridge) {
					b.timing.selfTest = 300 * time.Millisecond
				})
				b.waitStatus(t, "tested", func(s Status) bool { return s.Tested })
				got := b.Status()
				if warned := strings.Contains(got.Warning, "$gateway/#"); warned != test.warn || (got.Warning == "") == test.warn {
					t.Errorf("got %q, want a warning: %t", got.Warning, test.warn)
				}
				if strings.Contains(b.logs.String(), "level=WARN") != test.warn {
					t.Errorf("log: want a warning: %t", test.warn)
				}
			})
		})
	}
}

// A gateway that stops before its message has come back has found nothing out, and says nothing.
func TestSelfTestThatIsCutShortSaysNothing(t *testing.T) {
	t.Parallel()
	broker := denying(t, "topic write #\ntopic write $gateway/#\n", "log_type debug")
	b := launch(t, broker.URL(), Config{Pool: 1, Watch: []string{"#"}}, func(b *Bridge) { b.timing.selfTest = time.Hour })
	broker.WaitLogCount("Received PUBLISH from", 1)
	b.stop()
	if got := b.Status(); got.Tested || got.Warning != "" {
		t.Errorf("got tested %t and the warning %q, want neither", got.Tested, got.Warning)
	}
	if strings.Contains(b.logs.String(), "level=WARN") {
		t.Error("log: want no warning")
	}
}
