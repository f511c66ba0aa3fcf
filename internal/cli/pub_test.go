package cli

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// MQTT counts an expiry in whole seconds. Straight to a broker one of half a
// second would be 0, and the message over as soon as it comes; a gateway refuses
// the same.
func TestExpiryIsWholeSeconds(t *testing.T) {
	for d, want := range map[time.Duration]uint32{time.Second: 1, 12 * time.Hour: 43200, math.MaxUint32 * time.Second: math.MaxUint32} {
		p, err := (&Pub{Expiry: d}).properties()
		if err != nil || !p.Expires || p.Expiry != want {
			t.Errorf("%v: got %+v and the error %v, want %d seconds", d, p, err, want)
		}
	}
	for _, d := range []time.Duration{time.Nanosecond, 500 * time.Millisecond, 1500 * time.Millisecond, -time.Second, (math.MaxUint32 + 1) * time.Second} {
		p, err := (&Pub{Expiry: d}).properties()
		var known *Error
		if !errors.As(err, &known) || known.Status != StatusUsage || !strings.Contains(known.Text, "--expiry") {
			t.Errorf("%v: got %+v and the error %v, want a wrong --expiry", d, p, err)
		}
	}
}
