package test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// lines opens an NDJSON stream over plain TCP and shows each line until look
// says that it is the last, or that it is wrong.
func (g *gateway) lines(query string, look func(line []byte) (last bool, err error)) error {
	addr := g.host()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	fmt.Fprintf(c, "GET /events?%s HTTP/1.1\r\nHost: %s\r\n\r\n", query, addr)
	res, err := http.ReadResponse(bufio.NewReaderSize(c, 64<<10), nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	// The body is not closed: that would read an endless stream to its end.
	s := bufio.NewScanner(res.Body)
	s.Buffer(make([]byte, 0, 32<<10), 1<<20)
	for s.Scan() {
		if last, err := look(s.Bytes()); last || err != nil {
			return err
		}
	}
	return fmt.Errorf("the stream ends: %w", s.Err())
}

// publishAll publishes n messages and waits for the broker's answers.
func publishAll(t *testing.T, raw *brokertest.Client, n int, name func(int) string, retain bool) {
	t.Helper()
	acks := make([]<-chan error, n)
	for i := range n {
		acks[i] = raw.PublishAsync(name(i), strconv.AppendInt(nil, int64(i), 10), 1, retain)
	}
	for _, ack := range acks {
		if err := <-ack; err != nil {
			t.Fatal(err)
		}
	}
}

// stormJoiner counts the retained copies until the first live message.
type stormJoiner struct {
	seen  []bool
	count int
	all   *sync.WaitGroup // counts the copies that no joiner has seen yet
}

func (j *stormJoiner) look(line []byte) (last bool, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"type":"message","topic":"shelf/`))
	switch {
	case !ok && bytes.HasPrefix(line, []byte(`{"type":"ack"`)):
		return false, nil
	case !ok:
		return false, fmt.Errorf("got %s", line)
	case bytes.HasPrefix(rest, []byte(`end"`)):
		if j.count != len(j.seen) {
			err = fmt.Errorf("got %d retained messages, want %d", j.count, len(j.seen))
		}
		return true, err
	}
	i := 0
	for _, d := range rest {
		if d < '0' || d > '9' {
			break
		}
		i = i*10 + int(d-'0')
	}
	if i >= len(j.seen) || j.seen[i] || !bytes.Contains(line, []byte(`"retain":true`)) || bytes.Contains(line, []byte(`"cursor"`)) {
		return false, fmt.Errorf("got %s, want every topic once, retained, without a cursor", line)
	}
	j.seen[i] = true
	j.count++
	j.all.Done()
	return false, nil
}

func TestThousandJoinersAtOnceGetAllRetainedOnce(t *testing.T) {
	t.Parallel()
	const topics = 5000
	joiners := sized(1000, 100)
	broker := brokertest.Start(t)
	raw := brokertest.Dial(t, broker.Addr())
	publishAll(t, raw, topics, func(i int) string { return fmt.Sprintf("shelf/%d/value", i) }, true)
	g := startReady(t, broker.URL(), nil)
	before := g.dial("?topic=shelf/%23")
	before.waitMessages(topics)

	var copies sync.WaitGroup
	copies.Add(joiners * topics)
	results := make(chan error, joiners)
	start := time.Now()
	for range joiners {
		go func() {
			j := &stormJoiner{seen: make([]bool, topics), all: &copies}
			results <- g.lines("topic=shelf/%23", j.look)
		}()
	}
	all := make(chan struct{})
	go func() {
		copies.Wait()
		close(all)
	}()
	select {
	case err := <-results:
		t.Fatalf("a joiner ended early: %v", err)
	case <-all:
	case <-time.After(2 * patience):
		t.Fatal("timed out: not all joiners have all copies")
	}
	t.Logf("%d joiners had %d messages each after %v", joiners, topics, time.Since(start))
	if err := raw.Publish("shelf/end", []byte("1"), 1, false); err != nil {
		t.Fatal(err)
	}
	for range joiners {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	before.wait("the last message", func(f frame) bool { return f.Topic == "shelf/end" })
	if got := len(before.messages()); got != topics+1 {
		t.Errorf("the client that was there before: got %d messages, want %d", got, topics+1)
	}
}

// snapshotJoiner checks that each topic comes once, then snapshot_end, then
// the hot topic number by number.
type snapshotJoiner struct {
	topics int
	seen   map[string]bool
	ended  bool
	hot    int // its last number
	live   int
}

func (j *snapshotJoiner) look(line []byte) (last bool, err error) {
	name, payload, ok := topicAndPayload(line)
	switch {
	case !ok && bytes.HasPrefix(line, []byte(`{"type":"ack"`)):
		return false, nil
	case !ok && bytes.HasPrefix(line, []byte(`{"type":"snapshot_end"`)) && !j.ended && len(j.seen) == j.topics:
		j.ended = true
		return false, nil
	case !ok:
		return false, fmt.Errorf("got %s behind %d topics of %d", line, len(j.seen), j.topics)
	}
	if hasCursor := bytes.Contains(line, []byte(`"cursor"`)); hasCursor != j.ended || !j.ended && j.seen[string(name)] {
		return false, fmt.Errorf("got %s, want each topic once without a cursor, then live ones", line)
	}
	j.seen[string(name)] = true
	if string(name) != "snap/hot" {
		return false, nil
	}
	n, err := strconv.Atoi(string(payload))
	if err != nil || j.ended && n != j.hot+1 {
		return false, fmt.Errorf("got %s behind number %d", line, j.hot)
	}
	j.hot = n
	if j.ended {
		j.live++
	}
	return j.live == 100, nil
}

func TestSnapshotsOfAChangingTopicNeverRunBackwards(t *testing.T) {
	t.Parallel()
	const joiners, still = 100, 50
	broker := brokertest.Start(t)
	raw := brokertest.Dial(t, broker.Addr())
	publishAll(t, raw, still, func(i int) string { return fmt.Sprint("snap/still/", i) }, true)
	g := startReady(t, broker.URL(), nil)
	stop, stopped := make(chan struct{}), make(chan error, 1)
	published := &atomic.Int64{}
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-stop:
				stopped <- nil
				return
			case <-tick.C:
			}
			if err := <-raw.PublishAsync("snap/hot", strconv.AppendInt(nil, int64(n), 10), 0, true); err != nil {
				stopped <- err
				return
			}
			published.Store(int64(n))
		}
	}()
	eventually(t, "the topic changes", func() bool { return published.Load() > 10 })
	results := make(chan error, joiners)
	for range joiners {
		go func() {
			j := &snapshotJoiner{topics: still + 1, seen: map[string]bool{}}
			results <- g.lines("topic=snap/%23&snapshot=true", j.look)
		}()
	}
	for range joiners {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
