package api

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/list"
)

// minConnections are held for requests, however few streams there may be.
const minConnections = 1000

// ConnectionsFor is how many connections are held for requests where there may
// be so many streams.
func ConnectionsFor(streams int) int { return max(streams, minConnections) }

// connections bounds the connections that have not become streams. When there
// are too many, the one that has waited longest for a request is closed: it is
// the one least likely to get it, and a head that is sent in one piece never
// waits long.
type connections struct {
	limit  int
	log    *slog.Logger
	window time.Duration // between two lines of the log

	mu      sync.Mutex
	all     map[net.Conn]*connection
	waiting list.List[connection] // for a head, the longest first
	closed  uint64                // to make room
	logged  time.Time             // when the log was told so last
}

type connection struct {
	conn  net.Conn
	waits bool
	place list.Place[connection]
}

func newConnections(streams int, log *slog.Logger, window time.Duration) *connections {
	return &connections{limit: ConnectionsFor(streams), log: log, window: window, all: map[net.Conn]*connection{}}
}

// ConnState is told by net/http what becomes of each connection, as
// [http.Server.ConnState].
func (s *Server) ConnState(conn net.Conn, state http.ConnState) { s.connections.turn(conn, state) }

func (c *connections) turn(conn net.Conn, state http.ConnState) {
	old, say := c.note(conn, state)
	if say {
		c.log.Warn("connections that wait for a request are closed to make room for new ones", "limit", c.limit)
	}
	if old != nil {
		end(old)
	}
}

// note gives the connection that is to be closed, nil if there is room, and
// whether it is time for a line of the log.
func (c *connections) note(conn net.Conn, state http.ConnState) (old net.Conn, say bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.all[conn]
	if one == nil {
		if state != http.StateNew {
			return nil, false // was closed to make room, and is still ending
		}
		one = &connection{conn: conn}
		c.all[conn] = one
	}
	waits := state == http.StateNew || state == http.StateIdle
	switch {
	case waits && !one.waits:
		c.waiting.Push(&one.place, one)
	case !waits && one.waits:
		c.waiting.Remove(&one.place)
	}
	one.waits = waits
	if state == http.StateHijacked || state == http.StateClosed {
		delete(c.all, conn)
	}
	if len(c.all) <= c.limit {
		return nil, false
	}
	longest := c.waiting.First() // the newest at least: before it there was room
	c.waiting.Remove(&longest.place)
	delete(c.all, longest.conn)
	c.closed++
	if say = time.Since(c.logged) > c.window; say {
		c.logged = time.Now()
	}
	return longest.conn, say
}

// end closes a connection without a word: one over TLS would wait to say it.
func end(conn net.Conn) {
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	_ = conn.Close()
}

func (c *connections) stats() (open int, closed uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all), c.closed
}
