package api

import (
	"cmp"
	"time"
)

// Timing says how long a request may be slow. A zero value gives the default
// in brackets.
type Timing struct {
	Body     time.Duration // how long a body may take to arrive [5m]
	Progress time.Duration // how long it may take to bring steadyBytes [10s]
	Line     time.Duration // how long a batch stream may bring nothing, and leave its results [1m]

	Answer time.Duration // how long an answer may take to be read [1m]
	Stall  time.Duration // a client that takes nothing of its answer for so long is cut off [10s]
	Last   time.Duration // what is left of both when the gateway goes down [5s]
	Log    time.Duration // refused requests are logged one by one up to loggedLines in each [10s]
	Room   time.Duration // how long a list or a value waits for room among the others [2s]
	Auth   time.Duration // how long a WebSocket may take to say who it is [5s]
	Expiry time.Duration // how often the end of a stream's credentials is compared with the wall clock, which may be set [1m]
}

// withDefaults fills in what is zero.
func (t Timing) withDefaults() Timing {
	return Timing{
		Body:     cmp.Or(t.Body, 5*time.Minute),
		Progress: cmp.Or(t.Progress, 10*time.Second),
		Line:     cmp.Or(t.Line, time.Minute),
		Answer:   cmp.Or(t.Answer, time.Minute),
		Stall:    cmp.Or(t.Stall, 10*time.Second),
		Last:     cmp.Or(t.Last, 5*time.Second),
		Log:      cmp.Or(t.Log, 10*time.Second),
		Room:     cmp.Or(t.Room, 2*time.Second),
		Auth:     cmp.Or(t.Auth, 5*time.Second),
		Expiry:   cmp.Or(t.Expiry, time.Minute),
	}
}
