package api

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// loggedLines is how many refused requests are logged one by one in each
// Timing.Log, and how many failed ones.
const loggedLines = 200

// logLimit bounds how much of the log requests can write: one connection can
// be refused ten thousand times a second. Lines beyond loggedLines are counted,
// and summed up in one. Its methods may be called concurrently.
type logLimit struct {
	log    *slog.Logger
	level  slog.Level
	window time.Duration

	mu    sync.Mutex // guards the rest
	until time.Time  // the end of this window
	lines int        // logged in it
	more  int        // not logged, and not summed up yet
}

// allow reports whether there may be another line.
func (l *logLimit) allow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !now.Before(l.until) {
		l.until, l.lines = now.Add(l.window), 0
	}
	if l.lines++; l.lines <= loggedLines {
		return true
	}
	if l.more++; l.more == 1 {
		time.AfterFunc(l.until.Sub(now), l.sum)
	}
	return false
}

// sum logs how many lines there were not.
func (l *logLimit) sum() {
	l.mu.Lock()
	n := l.more
	l.more = 0
	l.mu.Unlock()
	if n > 0 {
		l.log.Log(context.Background(), l.level, "more requests like these", "requests", n)
	}
}
