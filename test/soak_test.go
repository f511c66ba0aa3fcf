package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// soakRounds is how often what is left is measured; the first quarter warms up.
const soakRounds = 12

// measured is what a gateway has when nobody is there.
type measured struct{ heap, descriptors, goroutines int64 }

func (m measured) String() string {
	return fmt.Sprintf("heap %d KiB, %d descriptors, %d goroutines", m.heap>>10, m.descriptors, m.goroutines)
}

// growing says what grows in a series: the middle of its last third is above
// the middle of its first, by more than pools, tables and the runtime make up.
func growing(series []measured) (what []string) {
	third := len(series) / 3
	compare := func(name string, of func(measured) int64, slack func(first int64) int64) {
		middle := func(part []measured) int64 {
			values := make([]int64, len(part))
			for i, m := range part {
				values[i] = of(m)
			}
			slices.Sort(values)
			return values[len(values)/2]
		}
		first, last := middle(series[:third]), middle(series[len(series)-third:])
		if last > first+slack(first) {
			what = append(what, fmt.Sprintf("%s: from %d to %d", name, first, last))
		}
	}
	few := func(int64) int64 { return 4 }
	compare("heap, in bytes", func(m measured) int64 { return m.heap }, func(first int64) int64 { return max(256<<10, first/20) })
	compare("descriptors", func(m measured) int64 { return m.descriptors }, few)
	compare("goroutines", func(m measured) int64 { return m.goroutines }, few)
	return what
}

func TestGrowthIsFound(t *testing.T) {
	t.Parallel()
	var flat, heap, descriptors, goroutines []measured
	for i := range int64(soakRounds) {
		noise := i * 7 % 3
		flat = append(flat, measured{5<<20 + noise<<15, 40 + noise, 90 - noise})
		heap = append(heap, measured{5<<20 + i*100<<10, 40, 90})
		descriptors = append(descriptors, measured{5 << 20, 40 + i, 90})
		goroutines = append(goroutines, measured{5 << 20, 40, 90 + i})
	}
	if got := growing(flat); got != nil {
		t.Errorf("flat: got %q, want nothing", got)
	}
	for name, series := range map[string][]measured{"heap": heap, "descriptors": descriptors, "goroutines": goroutines} {
		if got := growing(series); len(got) != 1 || !strings.HasPrefix(got[0], name) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// rest waits until nobody is there any more, and measures. What lingers gets a
// while to end.
func (g *gateway) rest(before *measured) measured {
	g.t.Helper()
	g.waitReady(http.StatusOK)
	eventually(g.t, "all streams have ended", func() bool { return g.metric("gateway_subscriptions") == 0 })
	var now measured
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		all := g.metrics()
		now.descriptors, now.goroutines = int64(all["process_open_fds"]), int64(all["go_goroutines"])
		settled := before == nil || now.descriptors <= before.descriptors && now.goroutines <= before.goroutines
		if settled || time.Now().After(deadline) {
			break
		}
	}
	now.heap = g.heapInUse()
	return now
}

// soaked are all that comes and goes, each of which must work now and then.
func soaked(file string) []leak {
	all := leaks()
	key := operatorKey
	login := func(name, authorization string, status int) {
		all = append(all, leak{name, func(g *gateway) error {
			client := newClient(1)
			defer client.CloseIdleConnections()
			a, err := g.try(client, request{method: "GET", path: "/auth/whoami", header: map[string]string{"Authorization": authorization}})
			if err == nil && a.status != status {
				err = fmt.Errorf("got %d %s, want %d", a.status, a.body, status)
			}
			return err
		}})
	}
	login("failing login", "Bearer gwk_wrong", http.StatusTooManyRequests) // after ten others
	cut := func(name, head string) {
		all = append(all, leak{name, func(g *gateway) error {
			c, err := net.Dial("tcp", g.host())
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = fmt.Fprintf(c, head, g.host())
			return err
		}})
	}
	cut("aborted head", "GET /topics HTTP/1.1\r\nHost: %s\r\nX-")
	cut("aborted body", "POST /topics/leak/a HTTP/1.1\r\nHost: %s\r\nContent-Length: 10000\r\n\r\nhalf of ")
	cut("aborted batch", "POST /publish/batch HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{\"topic\":\"leak/a\",")
	cut("long poll whose client leaves", "GET /topics/leak/a HTTP/1.1\r\nHost: %s\r\nIf-None-Match: \"x\"\r\nPrefer: wait=30\r\n\r\n")
	var turns atomic.Int64
	all = append(all, leak{"long poll", func(g *gateway) error {
		return g.brief(request{method: "GET", path: "/topics/leak/never", header: map[string]string{"Prefer": "wait=1"}}, true)
	}}, leak{"reload of the access file", func(*gateway) error {
		turn := turns.Add(1)
		if err := os.WriteFile(file+".new", []byte(soakRules(turn%7)), 0o600); err != nil {
			return err
		}
		return os.Rename(file+".new", file)
	}}, leak{"publish with a key", func(g *gateway) error {
		a, err := g.try(g.client, request{method: "POST", path: "/topics/leak/b", header: bearer(key), body: "1"})
		if err == nil && a.status >= 500 {
			err = fmt.Errorf("got %d", a.status)
		}
		return err
	}})
	return all
}

// soakRules let everybody do what leaks do; they differ, so that streams are
// looked at again.
func soakRules(turn int64) string {
	return strings.Replace(accessRules(""), `subscribe: ["public/#"]`, fmt.Sprintf(`subscribe: ["leak/#", "turn/%d"]
  publish: ["leak/#"]`, turn), 1)
}

// Whatever comes and goes, and however often the broker restarts meanwhile:
// what the gateway has when nobody is there stays the same. SOAK says how long;
// make soak sets it. Without, the test sees that everything works.
func TestSoak(t *testing.T) {
	t.Parallel()
	duration, rounds := 4*time.Second, 2
	if s := os.Getenv("SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d < time.Minute {
			t.Fatalf("SOAK: got %q, want a duration of 1m or more", s)
		}
		duration, rounds = d, soakRounds
	}
	broker := brokertest.Start(t)
	env, file := withAccess(t, soakRules(0))
	for name, value := range map[string]string{
		"GATEWAY_MQTT_URL": broker.URL(), "GATEWAY_PPROF": "true", "GATEWAY_HISTORY_BYTES": "65536", "GATEWAY_LOG_LEVEL": "info",
		"GODEBUG": "memprofilerate=0", // a profile grows with the stacks that it knows, and is garbage in what is measured
	} {
		env[name] = value
	}
	_, g := launchReady(t, env)
	kinds := soaked(file)
	worked, failed := make([]atomic.Int64, len(kinds)), make([]atomic.Value, len(kinds))
	var series []measured
	for round := range rounds {
		g.soakRound(kinds, worked, failed, duration/time.Duration(rounds), broker)
		var before *measured
		if len(series) > 0 {
			before = &series[0]
		}
		m := g.rest(before)
		t.Logf("round %2d of %d: %s", round+1, rounds, m)
		if round >= rounds/4 {
			series = append(series, m)
		}
	}
	for i, k := range kinds {
		if worked[i].Load() == 0 {
			t.Errorf("%s: it never worked: %v", k.name, failed[i].Load())
		}
	}
	if rounds < soakRounds {
		return
	}
	if what := growing(series); what != nil {
		var all strings.Builder
		for i, m := range series {
			fmt.Fprintf(&all, "\n  %2d: %s", i+rounds/4+1, m)
		}
		t.Errorf("the gateway grows: %s; after each round it had:%s", strings.Join(what, "; "), &all)
	}
}

// soakRound does everything at once for so long, and restarts the broker
// meanwhile.
func (g *gateway) soakRound(kinds []leak, worked []atomic.Int64, failed []atomic.Value, long time.Duration, broker *brokertest.Broker) {
	ended := make(chan struct{})
	var all sync.WaitGroup
	for i, k := range kinds {
		all.Go(func() {
			pace := time.NewTicker(50 * time.Millisecond)
			defer pace.Stop()
			for {
				if err := k.do(g); err == nil {
					worked[i].Add(1)
				} else { // the broker may be away
					failed[i].Store(err.Error())
				}
				select {
				case <-ended:
					return
				case <-pace.C:
				}
			}
		})
	}
	end := time.After(long)
	restart := time.NewTicker(min(20*time.Second, long/2))
	defer restart.Stop()
	for going := true; going; {
		select {
		case <-restart.C:
			broker.Restart()
		case <-end:
			going = false
		}
	}
	close(ended)
	all.Wait()
}
