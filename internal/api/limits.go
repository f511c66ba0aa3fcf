package api

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/wire"
)

// Kinds of limits, as metrics and headers name them.
const (
	limitPublish  = "publish"
	limitRequests = "requests"
	limitStreams  = "streams"
	limitLogins   = "logins"
	limitTickets  = "tickets"
)

var limitKinds = []string{limitPublish, limitRequests, limitStreams, limitLogins, limitTickets}

// takePublish uses one of the messages that the caller may publish.
func (s *Server) takePublish(c *caller) *wire.Problem {
	if s.opts.RatePublish == 0 {
		return nil
	}
	return s.within(c, limitPublish, s.publishRates.Take(c.client(), 1))
}

// takeRequest uses one of the requests that the caller may send.
func (s *Server) takeRequest(c *caller) *wire.Problem {
	if s.opts.RateRequests == 0 {
		return nil
	}
	return s.within(c, limitRequests, s.requestRates.Take(c.client(), 1))
}

func (s *Server) within(c *caller, kind string, q access.Quota) *wire.Problem {
	if q.Allowed {
		return nil
	}
	return s.limited(c, kind, q)
}

// takeStream takes a place among the caller's streams; leave gives it back.
func (s *Server) takeStream(c *caller) (leave func(), bad *wire.Problem) {
	leave, ok := s.perClient.Acquire(c.client())
	if !ok {
		return nil, s.limited(c, limitStreams, access.Quota{Limit: s.opts.StreamsPerClient, Retry: time.Second})
	}
	return leave, nil
}

// limited says that the caller is over a limit, and in the answer's header how
// far.
func (s *Server) limited(c *caller, kind string, q access.Quota) *wire.Problem {
	s.metrics.limited(kind)
	seconds := func(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
	if c.header != nil {
		c.header.Set("Retry-After", strconv.Itoa(max(1, seconds(q.Retry))))
		switch { // draft-ietf-httpapi-ratelimit-headers
		case q.Limit == 0:
		case q.Window == 0: // how many at once
			c.header.Set("RateLimit-Policy", fmt.Sprintf(`%q;q=%d;qu="concurrent-requests"`, kind, q.Limit))
			c.header.Set("RateLimit", fmt.Sprintf("%q;r=0", kind))
		default:
			c.header.Set("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=%d", kind, q.Limit, seconds(q.Window)))
			c.header.Set("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", kind, q.Remaining, seconds(q.Reset)))
		}
	}
	return problem(wire.CodeRateLimited, limitDetails[kind])
}

var limitDetails = map[string]string{
	limitPublish:  "More messages a second than GATEWAY_RATE_PUBLISH allows.",
	limitRequests: "More requests a second than GATEWAY_RATE_REQUESTS allows.",
	limitStreams:  "As many streams as GATEWAY_MAX_STREAMS_PER_CLIENT allows are open.",
	limitLogins:   "Too many logins from this address have failed.",
	limitTickets:  "As many tickets as may be are waiting to be used.",
}
