package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// What /readyz and the log say about a connection is not in this program's own
// words for its insides.
func TestGivenUpConnectionIsSaidInPlainWords(t *testing.T) {
	t.Parallel()
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		for _, err := range []error{err, fmt.Errorf("SUBSCRIBE: %w", err)} {
			if got := newWords(nil, "").of(err); got == "" || strings.Contains(got, "context") {
				t.Errorf("%v: got %q, want plain words", err, got)
			}
		}
	}
}

// A broker that sends the gateway elsewhere is not followed; whoever reads it is told where the address stands.
func TestBrokerThatSendsElsewhereIsSaid(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		&mqtt.ConnectError{Version: mqtt.V5, Code: 0x9C}, &mqtt.ConnectError{Version: mqtt.V5, Code: 0x9D},
		&mqtt.DisconnectError{Code: 0x9C}, &mqtt.DisconnectError{Code: 0x9D},
	} {
		if got := newWords(nil, "").of(err); !strings.HasPrefix(got, err.Error()) || !strings.Contains(got, "GATEWAY_MQTT_URL") {
			t.Errorf("%v: got %q, want what to set", err, got)
		}
	}
}

// A broker whose words differ with each attempt does not fill the memory of what was said.
func TestTroublesOfLongAgoAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStatus(1, slog.New(slog.DiscardHandler), nil, "")
		for n := range 10 {
			s.down(partControl, "control", fmt.Errorf("trouble %d", n))
			time.Sleep(repeatLog) // of the bubble's clock
		}
		if len(s.logged) > 1 {
			t.Errorf("%d troubles are remembered, want the last one", len(s.logged))
		}
	})
}
