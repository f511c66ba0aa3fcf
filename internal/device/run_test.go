package device

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vulturepi/gateway/internal/topic"
)

// denying is a broker side that keeps some messages, and grants one filter only
// when it is told to.
type denying struct {
	kept
	filter  string
	granted atomic.Bool
}

func (d *denying) Hold(_ context.Context, filter string) error {
	if filter == d.filter && !d.granted.Load() {
		return errors.New("denied")
	}
	return nil
}

func (d *denying) Kept(_ context.Context, filter string, each func(string, []byte)) error {
	if filter == d.filter && !d.granted.Load() {
		return nil // as a broker does that denies it
	}
	for name, payload := range d.kept {
		if topic.Match(filter, name) {
			each(name, []byte(payload))
		}
	}
	return nil
}

// A filter that the broker denies keeps the devices of no other out, and has its
// own when it is granted.
func TestDeniedFilterHurtsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, patterns(t, "no/{id}/LWT=Online|Offline,{id}/LWT=Online|Offline"))
		up := &denying{kept: kept{"no/a/LWT": "Online", "b/LWT": "Online"}, filter: "no/+/LWT"}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); g.Run(ctx, up) }()
		synctest.Wait()
		g.want("b", Online, ReasonReported)
		g.unheard("a")
		up.granted.Store(true)
		time.Sleep(time.Minute) // of the bubble's clock
		synctest.Wait()
		g.want("a", Online, ReasonReported)
		cancel()
		<-done
	})
}
