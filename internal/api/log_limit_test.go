package api

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// One connection with pipelined requests that are refused must not fill the
// disk with what the log says about them.
func TestRefusedRequestsAreLoggedAtABoundedRate(t *testing.T) {
	g := startRig(t, func(o *Options) { o.Timing.Log = time.Hour })
	c := connect(t, g.public)
	const n = 5 * loggedLines
	_, _ = io.WriteString(c, strings.Repeat(request("GET", "/nothing", ""), n-1)+request("GET", "/nothing", "", "Connection: close"))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Fatal(err)
	}
	counted := func() (lines, more int) {
		for _, line := range g.log.lines() {
			var v map[string]any
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatalf("got the line %q: %v", line, err)
			}
			switch v["msg"] {
			case "request":
				lines++
			case "more requests like these":
				more += int(v["requests"].(float64))
			}
		}
		return lines, more
	}
	eventuallyTrue(t, "all requests have ended", func() bool {
		g.server.refusedLog.mu.Lock()
		defer g.server.refusedLog.mu.Unlock()
		return g.server.refusedLog.more == n-loggedLines
	})
	g.server.Drain() // what was not told is told at the end
	if lines, more := counted(); lines != loggedLines || lines+more != n {
		t.Errorf("got %d lines and %d summed up, want %d and the rest of %d", lines, more, loggedLines, n)
	}
	// What fails is not hidden by what is refused.
	g.get("/readyz") // a probe, which is not logged
	exchange(t, g.public, request("POST", "/topics/a", "x", "X-Request-Id: failed")).wantProblem(t, http.StatusServiceUnavailable, "shutting_down")
	g.loggedRequest(t, "failed")
}

func TestLogSumsUpWhatItDoesNotTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := &logLimit{log: slog.New(slog.NewTextHandler(&out, nil)), level: slog.LevelWarn, window: 10 * time.Second}
		for range 3 { // windows
			allowed := 0
			for range loggedLines + 50 {
				if l.allow() {
					allowed++
				}
			}
			if allowed != loggedLines {
				t.Errorf("got %d lines, want %d", allowed, loggedLines)
			}
			time.Sleep(l.window) // no wait: the clock of the bubble
			synctest.Wait()
		}
		if got := strings.Count(out.String(), `level=WARN msg="more requests like these" requests=50`); got != 3 {
			t.Errorf("got %d sums in %q, want one for each window", got, out.String())
		}
	})
}
