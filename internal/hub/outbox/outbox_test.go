package outbox

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/hub/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Whatever is pushed, whatever the socket does: messages come once and in
// order; what does not come stands in a gap, is named as skipped, or lies behind
// the last words; and what is counted is what is held.
func TestOutboxDeliversOrSaysWhatIsMissing(t *testing.T) {
	for policy, name := range map[Overflow]string{OverflowCatchup: "catchup", OverflowClose: "close", OverflowDrop: "drop", OverflowLatest: "latest"} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { outboxModel(t, policy) })
		})
	}
}

func outboxModel(t *rapid.T, policy Overflow) {
	r := newRig(rapid.SampledFrom([]int{2000, 20_000}).Draw(t, "limit"))
	defer r.close()
	o, raws, aborted := &r.out, 0, false
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		switch rapid.IntRange(0, 11).Draw(t, "what") {
		case 0:
			r.tap.set(func() { r.tap.blocked = true })
		case 1:
			r.tap.set(func() { r.tap.blocked = false })
		case 2:
			if !o.Ended() {
				raws++
			}
			o.PushRaw([]byte(`{"type":"pong"}` + "\n"))
		case 3:
			r.mu.Lock()
			at := uint64(len(r.all))
			for !o.PushPlaced([]byte(`{"type":"ack","cursor":"e-`+strconv.FormatUint(at, 10)+"\"}\n"), at) {
				at = min(at, o.Behind()-1)
			}
			r.mu.Unlock()
		case 4:
			r.mu.Lock()
			run := r.shared.Queued.NewRun()
			for range 3 {
				run.Append(message.New(message.In{Topic: "copy"}, time.Time{}))
			}
			o.PushRun(run, message.Form{Copy: true})
			run.Release()
			r.mu.Unlock()
		case 5:
			o.Shed()
		case 6:
			o.Hold(100)
			o.Note(50)
			o.Hold(-100)
			o.Note(-50)
		case 7:
			if rapid.IntRange(0, 5).Draw(t, "late") == 0 {
				r.tap.set(func() { r.tap.late = true })
			}
		case 8:
			if end := rapid.IntRange(0, 30).Draw(t, "end"); end == 0 {
				o.Finish([]byte("bye\n"))
			} else if end == 1 {
				aborted = true
				o.Abort()
			}
		default:
			for range rapid.IntRange(1, 40).Draw(t, "messages") {
				r.push(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "topic"), rapid.SampledFrom([]int{1, 200, 3000}).Draw(t, "size"), policy)
			}
		}
		o.Kick()
		r.audit(t)
	}
	r.tap.set(func() { r.tap.blocked, r.tap.late = false, false })
	o.Kick()
	eventually(t, "all is written", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return (o.writer == nobody || o.life == ended) && len(o.buf)+len(o.batch.run)+o.backlog.len() == 0
	})
	r.audit(t)
	eventually(t, "nothing is counted any more", func() bool { return r.shared.Queued.Bytes() == 0 })
	if !aborted {
		r.judge(t, policy)
	}
}

// judge reads what came out.
func (r *rig) judge(t *rapid.T, policy Overflow) {
	got, told := map[uint64]bool{}, map[uint64]bool{}
	last, skipped, final := uint64(0), 0, ""
	for i, x := range r.lines(t) {
		switch {
		case x.Type == "message" && x.Topic != "copy":
			at := place(t, x.Cursor)
			if at <= last {
				t.Fatalf("message %d comes behind %d", at, last)
			}
			last, got[at] = at, true
			skipped += x.Skipped
		case x.Type == "ack":
			if at := place(t, x.Cursor); at < last {
				t.Fatalf("ack %d comes behind message %d", at, last)
			}
		case x.Type == "gap":
			for at := place(t, x.After) + 1; at <= place(t, x.Before); at++ {
				told[at] = true
			}
			if final = x.After; place(t, final) < last && policy == OverflowCatchup {
				t.Fatalf("line %d: a last gap after %s behind message %d", i, final, last)
			}
		}
	}
	if ended := r.tap.end != ""; ended {
		return // what did not come lies behind the last cursor
	}
	missing := 0
	for at := uint64(1); at <= uint64(len(r.all)); at++ {
		if got[at] || told[at] {
			continue
		}
		missing++
		if policy != OverflowLatest {
			t.Fatalf("message %d of %d is missing and nothing was said", at, len(r.all))
		}
	}
	if missing > skipped {
		t.Fatalf("%d messages are missing, %d were named as skipped", missing, skipped)
	}
}

// A client that takes nothing for too long gets last words, if it takes those.
func TestStalledClientGetsLastWords(t *testing.T) {
	for _, policy := range []Overflow{OverflowCatchup, OverflowClose, OverflowDrop, OverflowLatest} {
		r := newRig(100_000)
		r.push("a", 1, policy)
		eventually(t, "the first is written", func() bool { r.tap.mu.Lock(); defer r.tap.mu.Unlock(); return r.tap.got.Len() > 0 })
		r.tap.set(func() { r.tap.blocked = true })
		r.push("a", 1, policy)
		eventually(t, "the socket is full", r.out.Busy)
		r.push("b", 1, policy)
		r.push("c", 1, policy)
		r.tap.set(func() { r.tap.late = true })
		eventually(t, "it is being ended", r.out.Ended)
		r.tap.set(func() { r.tap.blocked = false })
		eventually(t, "it has ended", func() bool { r.tap.mu.Lock(); defer r.tap.mu.Unlock(); return r.tap.end != "" })
		r.tap.mu.Lock()
		got := strings.Split(strings.TrimSpace(r.tap.got.String()), "\n")
		hurried, end := r.tap.hurried, r.tap.end
		r.tap.mu.Unlock()
		if len(got) != 4 || got[3] != "bye" || !strings.Contains(got[2], `"after":"e-2","before":"e-4","reason":"slow_consumer"`) || !hurried || end != "finished" {
			t.Errorf("policy %d: got %q, %s, hurried %t; want two messages, a gap from 2 to 4, and bye", policy, got, end, hurried)
		}
		if n := r.shared.Queued.Bytes(); n != 0 {
			t.Errorf("%d bytes are still counted", n)
		}
		r.close()
	}
}

// A client that takes not even its last words is cut off.
func TestStalledClientThatTakesNoLastWordsIsCutOff(t *testing.T) {
	r := newRig(100_000)
	defer r.close()
	r.tap.set(func() { r.tap.blocked = true })
	r.push("a", 1, OverflowClose)
	eventually(t, "the socket is full", r.out.Busy)
	r.tap.set(func() { r.tap.late = true })
	eventually(t, "it is being ended", r.out.Ended)
	r.tap.set(func() { r.tap.late = true })
	eventually(t, "it is cut off", func() bool { r.tap.mu.Lock(); defer r.tap.mu.Unlock(); return r.tap.end == "aborted" })
	eventually(t, "nothing is counted", func() bool { return r.shared.Queued.Bytes() == 0 })
}

// A run counts once, however many wait for it, and is given up on every way out.
func TestRunCountsOnceAndIsGivenUp(t *testing.T) {
	for way, end := range map[string]func(*rig){
		"written":  func(r *rig) { r.tap.set(func() { r.tap.blocked = false }) },
		"aborted":  func(r *rig) { r.out.Abort() },
		"finished": func(r *rig) { r.out.Finish(nil); r.tap.set(func() { r.tap.blocked = false }) },
		"detached": func(r *rig) { r.out.Detach() },
		"stalled":  func(r *rig) { r.tap.set(func() { r.tap.late = true }) },
		"shed":     func(r *rig) { r.out.Shed(); r.tap.set(func() { r.tap.blocked = false }) },
	} {
		a, b := newRig(100_000), newRig(100_000)
		b.shared.Queued = a.shared.Queued
		run := a.shared.Queued.NewRun()
		for range 200 {
			run.Append(message.New(message.In{Topic: "t", Payload: []byte(strings.Repeat("x", 1000))}, time.Time{}))
		}
		for _, r := range []*rig{a, b} {
			r.tap.set(func() { r.tap.blocked = true })
			r.push("a", 1, OverflowClose)
			eventually(t, "the socket is full", r.out.Busy)
			r.out.PushRun(run, message.Form{})
		}
		run.Release()
		if n := a.shared.Queued.Bytes(); n < run.Bytes() || n > run.Bytes()+4*reportEvery {
			t.Errorf("%s: %d bytes are counted for a run of %d", way, n, run.Bytes())
		}
		for _, r := range []*rig{a, b} {
			end(r)
			r.out.Kick()
		}
		a.tap.set(func() {})
		eventually(t, way+": the run is given up", func() bool { return run.holders.Load() == 0 })
		a.close()
		b.close()
		eventually(t, way+": nothing is counted", func() bool { return a.shared.Queued.Bytes() == 0 })
	}
}
