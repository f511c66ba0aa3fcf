package test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// traffic publishes numbered messages straight to the broker, each publisher on
// its own topic load/<p>, QoS 1, until stop is called. A message counts as
// sent when the broker acknowledged it.
type traffic struct {
	acked []atomic.Int64 // by publisher: how many in a row
	quit  chan struct{}
	done  sync.WaitGroup
}

func startTraffic(t *testing.T, addr string, publishers int, every time.Duration) *traffic {
	t.Helper()
	l := &traffic{acked: make([]atomic.Int64, publishers), quit: make(chan struct{})}
	for p := range publishers {
		c := brokertest.Dial(t, addr, brokertest.ClientID(fmt.Sprint("load-", p)), brokertest.AutoReconnect())
		l.done.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for n := int64(1); ; {
				select {
				case <-l.quit:
					return
				case <-tick.C:
				}
				if c.Publish(fmt.Sprint("load/", p), []byte(strconv.FormatInt(n, 10)), 1, false) == nil {
					l.acked[p].Store(n)
					n++
				}
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *traffic) stop() {
	select {
	case <-l.quit:
	default:
		close(l.quit)
	}
	l.done.Wait()
}

// audit reads the frames of one client, over all its connections, in order.
// Every hole in a publisher's numbers must have a gap in it, and no number may
// come after a higher one, unless a reconnect repeats what was sent.
type audit struct {
	last   map[string]int64 // by topic
	gapped map[string]bool  // a gap was told since the topic's last message
	cursor string           // to resume from
	gaps   map[string]int   // by reason
	dups   int
	holes  int // messages missing where a gap was told
	silent []string
	inv    []string
	got    int
	seen   map[string]bool
	recent []string
}

func newAudit() *audit {
	return &audit{seen: map[string]bool{}, last: map[string]int64{}, gapped: map[string]bool{}, gaps: map[string]int{}}
}

func (a *audit) read(frames []frame) {
	for _, f := range frames {
		a.recent = append(a.recent, f.Type+" "+f.Topic+" "+string(f.Payload)+f.Reason+" "+f.Cursor+f.Before)
		a.recent = a.recent[max(0, len(a.recent)-12):]
		switch f.Type {
		case "gap":
			a.gaps[f.Reason]++
			a.cursor = f.Before
			a.tell()
		case "ack":
			if f.Cursor != "" {
				a.cursor = f.Cursor
			}
		case "message":
			if f.Cursor == "" || !strings.HasPrefix(f.Topic, "load/") {
				continue
			}
			a.cursor = f.Cursor
			a.message(f)
		}
	}
}

// tell notes that every topic may have a hole here.
func (a *audit) tell() {
	for topic := range a.last {
		a.gapped[topic] = true
	}
}

func (a *audit) message(f frame) {
	var n int64
	if err := json.Unmarshal(f.Payload, &n); err != nil {
		a.silent = append(a.silent, "unreadable "+f.raw)
		return
	}
	a.got++
	key := f.Topic + " " + string(f.Payload)
	switch last := a.last[f.Topic]; {
	case a.seen[key]:
		a.dups++
	case n == last+1 || last == 0:
	case n > last+1 && a.gapped[f.Topic]:
		a.holes += int(n - last - 1)
	case n > last+1:
		a.silent = append(a.silent, fmt.Sprintf("%s: %d after %d, behind %s", f.Topic, n, last, strings.Join(a.recent, "; ")))
	case n < last:
		a.inv = append(a.inv, fmt.Sprintf("%s: %d after %d", f.Topic, n, last))
	}
	a.seen[key] = true
	a.last[f.Topic] = max(a.last[f.Topic], n)
	a.gapped[f.Topic] = false
}

// verdict fails the test unless the promise was kept.
func (a *audit) verdict(t *testing.T, who string) {
	t.Helper()
	if len(a.silent) > 0 {
		t.Errorf("%s: %d silent holes, want none: %v", who, len(a.silent), head(a.silent))
	}
	if len(a.inv) > 0 {
		t.Errorf("%s: %d inversions, want none: %v", who, len(a.inv), head(a.inv))
	}
	if a.got == 0 {
		t.Errorf("%s received nothing", who)
	}
}

func head(s []string) []string { return s[:min(5, len(s))] }

// follow reads s until it has the newest acknowledged message of each publisher.
func (a *audit) follow(s *socket, l *traffic) {
	s.t.Helper()
	seen := 0
	s.until("the newest messages", func(frames []frame) bool {
		a.read(frames[seen:])
		seen = len(frames)
		return a.behind(l) == ""
	})
}

// behind names a publisher whose newest acknowledged message is still missing.
func (a *audit) behind(l *traffic) string {
	for p := range l.acked {
		topic := fmt.Sprint("load/", p)
		if want := l.acked[p].Load(); a.last[topic] < want {
			return fmt.Sprintf("%s is at %d, want %d", topic, a.last[topic], want)
		}
	}
	return ""
}
