package api

import (
	"context"
	"net/http"
	"sync"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/device"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/stream"
	"github.com/vulturepi/gateway/wire"
)

// Query parameters of /events?devices=true.
var deviceParams = append([]string{wire.FieldDevices, wire.FieldSnapshot, "ticket", paramFormat, paramKeepAlive}, lastEventIDParams...)

// getDeviceEvents is GET /events?devices=true: the changes of devices.
func (s *Server) getDeviceEvents(w http.ResponseWriter, r *http.Request) {
	snapshot := false
	query, bad := queryOnce(r, deviceParams...)
	if bad == nil && query.Get(wire.FieldDevices) != "true" {
		bad = invalidDevices()
	}
	if bad == nil && query.Has(wire.FieldSnapshot) {
		snapshot, bad = snapshotOption(query.Get(wire.FieldSnapshot))
	}
	var response stream.Response
	if bad == nil {
		response, bad = responseOptions(r)
	}
	if bad == nil && response.Format == stream.FormatText {
		bad = fieldProblem(wire.CodeInvalidParameter, "/format", "Devices come as sse or ndjson.")
	}
	if bad == nil {
		bad = s.mayAskForDevices(callerOf(w))
	}
	s.respond(w, r, response, bad, func(_ context.Context, g *guest) (stop func()) {
		return s.watchDevices(g, nil, snapshot)
	})
}

func invalidDevices() *wire.Problem {
	return fieldProblem(wire.CodeInvalidParameter, "/devices", "devices must be true, and stands without topics and their options.")
}

// watchDevices has a stream sent the changes of devices, and all that are known
// first with snapshot, until stop is called.
func (s *Server) watchDevices(g *guest, id hub.ID, snapshot bool) (stop func()) {
	feed := s.devices.Feed(snapshot)
	yes := true
	g.client.Acknowledge(&wire.Ack{ID: id, Results: []wire.Result{}, Devices: &yes})
	ctx, cancel := context.WithCancel(context.Background())
	g.watchesDevices(cancel)
	var running sync.WaitGroup
	running.Go(func() { s.feed(ctx, g, feed, id) })
	return func() {
		cancel()
		running.Wait()
		g.watchesDevices(nil)
	}
}

// feed sends the changes, as fast as the client takes them: what changes more
// often, it sees the newest of.
func (s *Server) feed(ctx context.Context, g *guest, feed *device.Feed, id hub.ID) {
	defer feed.Close()
	var class access.Class
	for ctx.Err() == nil {
		p := g.now().principal
		if p.Rights.Class() != class {
			class = p.Rights.Class()
			feed.Only(p.Rights.Grants().Subscribe, knowsAll(p))
		}
		some, more := feed.Next()
		for _, c := range some {
			kind, frame := s.deviceFrame(p, c, id)
			if frame == nil {
				continue
			}
			// Drained, so that no number of them, however long, is too much for the client's queue.
			if !g.client.WaitDrained() || ctx.Err() != nil {
				return
			}
			g.client.Send(kind, frame)
		}
		if more == nil {
			continue
		}
		select {
		case <-more:
		case <-g.changed:
		case <-ctx.Done():
		}
	}
}

// deviceFrame is what a principal is sent of a change; nil: nothing.
func (s *Server) deviceFrame(p *access.Principal, c device.Change, id hub.ID) (kind string, frame any) {
	switch {
	case c.Device != nil:
		if d, ok := known(p, *c.Device); ok {
			object := deviceObject(d)
			object.Type = wire.TypeDevice
			return wire.TypeDevice, object
		}
	case c.Silence != nil:
		if p.Via == access.ViaNone || p.Rights.MaySubscribe(c.Silence.Topic) {
			kind = wire.TypeBack
			if c.Silence.Silent {
				kind = wire.TypeSilent
			}
			return kind, &wire.Silence{Type: kind, Topic: c.Silence.Topic, Since: micro(c.Silence.Since)}
		}
	case c.Forgotten > 0:
		return wire.TypeForgotten, &wire.Forgotten{Type: wire.TypeForgotten, Count: c.Forgotten}
	case c.Complete:
		return wire.TypeSnapshotEnd, &wire.SnapshotEnd{Type: wire.TypeSnapshotEnd, ID: id}
	}
	return "", nil
}

// devices carries out a subscribe or unsubscribe op for devices.
func (ws *wsSession) devices(id hub.ID, f *opFields, subscribe bool) *wire.Problem {
	s := ws.server
	if string(f.devices) != "true" || f.topics != nil || f.since != nil || f.overflow != nil || f.minInterval != nil {
		return invalidDevices()
	}
	snapshot := false
	if f.snapshot != nil {
		var bad *wire.Problem
		if snapshot, bad = snapshotOption(string(f.snapshot)); bad != nil {
			return bad
		}
	}
	c := ws.guest.now()
	if subscribe {
		if bad := s.mayAskForDevices(c); bad != nil {
			ws.fail(id, bad)
			return nil
		}
	}
	ws.endDevices()
	if subscribe {
		ws.stopDevices = s.watchDevices(&ws.guest, id, snapshot)
		ws.guest.settle(c)
		return nil
	}
	no := false
	ws.client.Acknowledge(&wire.Ack{ID: id, Results: []wire.Result{}, Devices: &no})
	return nil
}

// endDevices ends the changes of devices, if they are sent.
func (ws *wsSession) endDevices() {
	if ws.stopDevices != nil {
		ws.stopDevices()
		ws.stopDevices = nil
	}
}
